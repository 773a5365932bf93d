"""A tokenizer used directly, in the way that transformers' wrappers use it, without begin and end ids."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import sentencepiece
import tokenizers

from m3it_jax import errors

FAST_FILE = "tokenizer.json"
SENTENCEPIECE_FILES = ("tokenizer.model", "spiece.model")  # LLaMA's and T5's name of it
QFORMER_FOLDER = "qformer_tokenizer"  # of InstructBLIP, beside the language model's


@dataclasses.dataclass(frozen=True)
class PlainTokenizer:
    """A function from text to ids.

    The spelling of a special token in a text counts as text, as with `split_special_tokens=True` in transformers.

    Attributes:
      path: Its file.
      encode: Text -> ids.
      special_ids: Ids that mean something else than text: begin, end, padding; not the unknown one.
    """

    path: Path
    encode: Callable[[str], list[int]]
    special_ids: frozenset[int]


def read_tokenizer(folder: Path) -> PlainTokenizer | None:
    """Returns the tokenizer of a Hugging Face folder, None where it has none.

    Raises:
      UserError: its file is damaged.
    """
    path = folder / FAST_FILE
    if path.is_file():
        return _fast(path)
    found = [folder / name for name in SENTENCEPIECE_FILES if (folder / name).is_file()]
    return _sentencepiece(found[0]) if found else None


def pieces(folder: Path) -> dict[str, int] | None:
    """Returns {spelling: id} of the vocabulary's file in a folder, added tokens included; None where it has none."""
    if (folder / FAST_FILE).is_file():
        return tokenizers.Tokenizer.from_file(str(folder / FAST_FILE)).get_vocab(with_added_tokens=True)
    found = [folder / name for name in SENTENCEPIECE_FILES if (folder / name).is_file()]
    if not found:
        return None
    model = sentencepiece.SentencePieceProcessor(model_file=str(found[0]))
    return {model.id_to_piece(index): index for index in range(model.vocab_size())}


def encode_with_specials(path: Path, text: str) -> list[int]:
    """Returns ids with the special ones that a `tokenizer.json` puts around a text, as a Q-Former's BERT reads it."""
    return tokenizers.Tokenizer.from_file(str(path)).encode(text).ids


def _fast(path: Path) -> PlainTokenizer:
    try:
        fast = tokenizers.Tokenizer.from_file(str(path))
        model = json.loads(path.read_text(encoding="utf-8"))["model"]
    except Exception as error:  # tokenizers raises nothing narrower
        raise errors.UserError(f"{path}: is no tokenizer ({error}); download it again") from error
    fast.encode_special_tokens = True
    unknown = {model.get("unk_id"), fast.token_to_id(model.get("unk_token") or "")}
    special = {index for index, token in fast.get_added_tokens_decoder().items() if token.special}
    return PlainTokenizer(
        path, lambda text: fast.encode(text, add_special_tokens=False).ids, frozenset(special - unknown)
    )


def _sentencepiece(path: Path) -> PlainTokenizer:
    try:
        processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    except (OSError, RuntimeError) as error:
        raise errors.UserError(f"{path}: is no SentencePiece model; download it again") from error
    special = {index for index in range(processor.vocab_size()) if processor.is_control(index)}
    return PlainTokenizer(path, processor.encode, frozenset(special))
