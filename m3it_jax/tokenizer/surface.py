"""The pieces of a text as SentencePiece spells them, for scorers that count them: unknown characters stay."""

from collections.abc import Callable
from pathlib import Path

import sentencepiece

from m3it_jax import errors


def pieces(path: Path) -> Callable[[str], list[str]]:
    """Returns the function text -> pieces of a SentencePiece model, as sacreBLEU's tokenizer `spm` has it.

    Raises:
      UserError: the file is missing or is no such model.
    """
    try:
        processor = sentencepiece.SentencePieceProcessor(model_proto=path.read_bytes())
    except OSError as error:
        raise errors.UserError(f"{path}: cannot be read ({error.strerror}); give a SentencePiece model") from error
    except RuntimeError as error:
        raise errors.UserError(f"{path}: is no SentencePiece model; copy it again") from error
    return lambda text: list(processor.encode(text, out_type=str))
