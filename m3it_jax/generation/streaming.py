"""An answer while it is made: tokens in small groups, and text whose pieces no later token can change."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import jax

from m3it_jax.generation import decoding
from m3it_jax.prompts import PromptFormat

# One call of the device makes the tokens of about so many seconds: a reader sees no step, and what a call costs the
# host (a third of a millisecond) is shared where tokens are quick.
_CALL_SECONDS = 0.02

_BROKEN = "\ufffd"  # what an unfinished character of several byte pieces decodes to


def groups(
    state: decoding.State, advance: Callable[[decoding.State, int], decoding.State]
) -> Iterator[tuple[list[int], decoding.State | None]]:
    """Yields the new tokens of a row as groups of at least one, the last with the state at the end.

    Args:
      state: Of one row, with its first token; used up.
      advance: Uses up a state and returns the one after at most so many more tokens.
    """
    given, num_steps = 0, 1
    while True:
        new_tokens, num_new, done = jax.device_get((state["new_tokens"], state["num_new"], state["done"]))
        tokens, is_done = new_tokens[0, given : num_new[0]].tolist(), bool(done[0])
        del new_tokens, num_new, done  # on a CPU they are the state's own memory, which could not be used up
        given += len(tokens)
        yield tokens, state if is_done else None
        if is_done:
            return
        began = time.perf_counter()
        state = jax.block_until_ready(advance(state, num_steps))
        seconds = time.perf_counter() - began
        num_steps = num_steps * 2 if seconds < _CALL_SECONDS / 2 else max(num_steps // 2, 1)


class Text:
    """The text of an answer whose tokens come in groups; what it gives out, no later token can change.

    Attributes:
      is_cut: Whether the text has come to one of its stops.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], prompt_format: PromptFormat):
        """Takes the tokenizer's `decode` and what says where the answer is cut.

        An end that may be the beginning of a stop text is held back.
        """
        self._decode, self._format = decode, prompt_format
        self._ids: list[int] = []
        self._said = ""
        self.is_cut = False

    def add(self, tokens: Iterable[int]) -> str:
        """Returns the text that new tokens add, which may be none yet."""
        self._ids += tokens
        whole = self._decode(self._ids)
        text = self._format.settled(whole)
        self.is_cut = self._format.cut(whole) != whole
        return "" if text.endswith(_BROKEN) else self._grown(text)

    def end(self) -> str:
        """Returns what was held back, when no token follows."""
        return self._grown(self._format.cut(self._decode(self._ids)))

    def _grown(self, text: str) -> str:
        if len(text) <= len(self._said) or not text.startswith(self._said):
            return ""
        before, self._said = self._said, text
        return text[len(before) :]


def pieces(tokens: Iterable[int], decode: Callable[[Sequence[int]], str], prompt_format: PromptFormat) -> Iterator[str]:
    """Yields the pieces of an answer; joined and stripped they are the answer.

    Args:
      tokens: Its new token ids, as they are made.
      decode: The tokenizer's.
      prompt_format: Says where the answer is cut.
    """
    text = Text(decode, prompt_format)
    for token in tokens:
        piece = text.add([token])
        if piece:
            yield piece
    rest = text.end()  # what looked like the beginning of a stop
    if rest:
        yield rest
