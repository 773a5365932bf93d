"""A tokenizer used directly, in the way that transformers' wrappers use it, without begin and end ids."""

from collections.abc import Callable
from pathlib import Path

import sentencepiece
import tokenizers

FAST_FILE = "tokenizer.json"
SENTENCEPIECE_FILES = ("tokenizer.model", "spiece.model")  # LLaMA's and T5's name of it

Encode = Callable[[str], list[int]]


def read_encoder(path: Path) -> Encode | None:
    """Returns the function from text to ids of a folder's tokenizer, None where it has none.

    The spelling of a special token in a text counts as text, as with `split_special_tokens=True` there: what a user
    writes must never turn into a control id.
    """
    if (path / FAST_FILE).is_file():
        fast = tokenizers.Tokenizer.from_file(str(path / FAST_FILE))
        fast.encode_special_tokens = True
        return lambda text: fast.encode(text, add_special_tokens=False).ids
    for name in SENTENCEPIECE_FILES:
        if (path / name).is_file():
            processor = sentencepiece.SentencePieceProcessor(model_file=str(path / name))
            return processor.encode
    return None
