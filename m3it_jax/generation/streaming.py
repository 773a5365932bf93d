"""New tokens -> text while they are made: a piece is given out once no later token can change it."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from m3it_jax.prompts import PromptFormat

_BROKEN = "\ufffd"  # what an unfinished character of several byte pieces decodes to


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
