"""What is sent back for a chat completion, whole or as a stream of events, in OpenAI's form."""

import json
import secrets
import time
from collections.abc import Sequence
from typing import Any

from m3it_jax.generation.answers import TokenScore
from m3it_jax.serving.engine import Update
from m3it_jax.tokenizer import Tokenizer

DONE = b"data: [DONE]\n\n"
WAITING = (
    b": waiting\n\n"  # a comment of server-sent events: clients skip it, and what lies between keeps the line open
)


class Completion:
    """The response to one request, built from updates of its answers."""

    def __init__(self, model: str, *, num_prompt_tokens: int, num_choices: int, tokenizer: Tokenizer):
        """Takes what stands in every part of it."""
        self._head = {"id": f"chatcmpl-{secrets.token_hex(12)}", "created": int(time.time()), "model": model}
        self._tokenizer, self._num_prompt_tokens = tokenizer, num_prompt_tokens
        self._texts = [""] * num_choices
        self._scores: list[list[TokenScore]] = [[] for _ in range(num_choices)]
        self._finish: list[str | None] = [None] * num_choices
        self._num_tokens, self._num_shared = [0] * num_choices, [0] * num_choices

    def add(self, update: Update) -> None:
        """Takes an update in."""
        number = update.number
        self._texts[number] += update.piece
        self._scores[number] += update.scores
        self._num_tokens[number], self._num_shared[number] = update.num_tokens, update.num_shared
        self._finish[number] = update.finish or None

    @property
    def usage(self) -> dict[str, Any]:
        """How many tokens were read and made."""
        new = sum(self._num_tokens)
        return {
            "prompt_tokens": self._num_prompt_tokens,
            "completion_tokens": new,
            "total_tokens": self._num_prompt_tokens + new,
            "prompt_tokens_details": {"cached_tokens": self._num_shared[0]},
        }

    def whole(self, *, has_scores: bool) -> dict[str, Any]:
        """Returns the response of a request without a stream."""
        choices = [
            {
                "index": number,
                "message": {"role": "assistant", "content": text, "refusal": None},
                "logprobs": self._logprobs(self._scores[number]) if has_scores else None,
                "finish_reason": self._finish[number],
            }
            for number, text in enumerate(self._texts)
        ]
        return {**self._head, "object": "chat.completion", "choices": choices, "usage": self.usage}

    def first_event(self, number: int) -> bytes:
        """Returns the event that begins an answer."""
        return self._event([_choice(number, {"role": "assistant", "content": ""})])

    def event(self, update: Update, *, has_scores: bool) -> bytes:
        """Returns the event of an update; nothing if it says nothing."""
        if not (update.piece or update.finish or (has_scores and update.scores)):
            return b""
        delta = {"content": update.piece} if update.piece else {}
        scores = self._logprobs(update.scores) if has_scores else None
        return self._event([_choice(update.number, delta, scores=scores, finish=update.finish or None)])

    def usage_event(self) -> bytes:
        """Returns the event that tells what a stream used."""
        return self._event([], usage=self.usage)

    def _event(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        return event({**self._head, "object": "chat.completion.chunk", "choices": choices, **more})

    def _logprobs(self, scores: Sequence[TokenScore]) -> dict[str, Any]:
        content = [
            {**self._token(score.token, score.log_p), "top_logprobs": [self._token(*pair) for pair in score.best]}
            for score in scores
        ]
        return {"content": content, "refusal": None}

    def _token(self, index: int, log_p: float) -> dict[str, Any]:
        own = index < self._tokenizer.vocab_size
        data = self._tokenizer.token_bytes(index) if own else b""
        # A control id, such as the end of an answer, adds no bytes to the text: it is called by its name.
        text = data.decode("utf-8", "replace") if data or not own else self._tokenizer.piece(index)
        # OpenAI's own least value for what cannot be: JSON has no infinity.
        return {"token": text, "logprob": max(log_p, -9999.0), "bytes": list(data)}


def _choice(number: int, delta: dict[str, Any], *, scores: Any = None, finish: str | None = None) -> dict[str, Any]:
    return {"index": number, "delta": delta, "logprobs": scores, "finish_reason": finish}


def event(content: Any) -> bytes:
    """Returns an event that holds JSON."""
    return b"data: " + json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8") + b"\n\n"
