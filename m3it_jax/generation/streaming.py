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


def pieces(tokens: Iterable[int], decode: Callable[[Sequence[int]], str], prompt_format: PromptFormat) -> Iterator[str]:
    """Yields the pieces of an answer; joined and stripped they are the answer.

    Args:
      tokens: Its new token ids, as they are made.
      decode: The tokenizer's.
      prompt_format: Says where the answer is cut; an end that may be the beginning of a stop text is held back.
    """
    ids: list[int] = []
    said = ""
    for token in tokens:
        ids.append(token)
        text = prompt_format.settled(decode(ids))
        if len(text) > len(said) and text.startswith(said) and not text.endswith(_BROKEN):
            yield text[len(said) :]
            said = text
    rest = prompt_format.cut(decode(ids))  # what looked like the beginning of a stop
    if len(rest) > len(said) and rest.startswith(said):
        yield rest[len(said) :]
