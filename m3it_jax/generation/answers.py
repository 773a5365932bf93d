"""One answer under way in the scheduler: what is asked, how far it is, and what has been said."""

import dataclasses
from collections.abc import Hashable, Sequence

import numpy as np

from m3it_jax.generation.batching import Prepared
from m3it_jax.generation.streaming import Text


@dataclasses.dataclass(frozen=True)
class TokenScore:
    """A token of an answer with its log-probability (natural, before temperature).

    Attributes:
      token: Its id.
      log_p: At most 0.
      best: (id, log p) of the likeliest tokens at its place, the likeliest first.
    """

    token: int
    log_p: float
    best: Sequence[tuple[int, float]]


class Answer:
    """An answer that the scheduler makes; its fields change within `Scheduler.step` alone.

    Attributes:
      prepared: What is asked, and how it is decoded.
      owner: Who asked; the queue is fair between owners.
      num_best: Likeliest tokens that are wanted beside each token; None: no scores are wanted.
      tokens: New ids so far, the end mark included.
      scores: Of the tokens, if they are wanted.
      said: The text so far that no later token changes.
      finish: "" while it is made; "stop", "length", "cancelled", or "error" with the reason in `error`.
      num_shared: Tokens of the prompt that were found computed.
    """

    def __init__(self, prepared: Prepared, text: Text, *, owner: Hashable, num_best: int | None):
        """Takes what `Scheduler.submit` has made of a request."""
        self.prepared, self.owner, self.num_best = prepared, owner, num_best
        self.tokens: list[int] = []
        self.scores: list[TokenScore] = []
        self.said = ""
        self.finish = ""
        self.error: Exception | None = None
        self.num_shared = 0
        # The scheduler's own.
        self.text = text
        self.row = -1  # of the cache; -1: it waits
        self.num_filled = 0  # tokens of the prompt in the cache
        self.embeds: dict[str, np.ndarray] = {}  # of its pictures that are encoded, by key
        self.block_keys: list[bytes] = []

    def __repr__(self) -> str:
        state = self.finish or (f"in row {self.row}" if self.row >= 0 else "waiting")
        return f"<Answer to {self.prepared.length} tokens, {state}, {len(self.tokens)} new>"

    @property
    def is_encoded(self) -> bool:
        """Whether all its pictures are encoded."""
        return all(picture.key in self.embeds for picture in self.prepared.pictures)

    @property
    def is_filled(self) -> bool:
        """Whether all of the prompt but its last token is in the cache."""
        return self.num_filled >= self.prepared.length - 1

    @property
    def num_left(self) -> int:
        """New tokens that may still be made."""
        return self.prepared.sampling.max_new_tokens - len(self.tokens)

    def shown(self, start: int, stop: int) -> np.ndarray:
        """Returns [stop - start, D], what stands at these tokens of the prompt where a picture does; else zeros."""
        index = self.prepared.row["image_token_index"][start:stop]
        some = next(iter(self.embeds.values()))
        out = np.zeros((stop - start, some.shape[1]), some.dtype)
        for number, place in enumerate(index):
            if place >= 0:
                picture = self.prepared.pictures[place // len(some)]
                out[number] = self.embeds[picture.key][place % len(some)]
        return out

    def keep_scores(self, log_p: np.ndarray, best: np.ndarray, best_scores: np.ndarray) -> None:
        """Notes the scores of new tokens: float32 [n], int32 [n, 20] and float32 [n, 20]."""
        if self.num_best is None:
            return
        start = len(self.scores)
        for number, token in enumerate(self.tokens[start:]):
            pairs = zip(best[number, : self.num_best].tolist(), best_scores[number].tolist(), strict=False)
            self.scores.append(TokenScore(token, float(log_p[number]), tuple(pairs)))
