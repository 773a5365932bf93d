"""The tokenizer: a vocabulary of any kind and the ids that mean begin, end and padding."""

import codecs
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from m3it_jax import errors
from m3it_jax.tokenizer import settings as settings_files
from m3it_jax.tokenizer.sentencepiece_file import SentencePieceFile
from m3it_jax.tokenizer.vocabulary import Place, Vocabulary

__all__ = ["IMAGE", "Place", "Tokenizer", "files", "find", "find_qformer"]

# The token that stands for a picture's positions in the ids of every family (transformers models/*/processing_*.py).
IMAGE = "<image>"

# By what the files are called in a run folder or an imported folder; the first that is there counts. What transformers
# reads is first, since both may be there.
_FILES = ("tokenizer.json", "tokenizer.model")
_QFORMER_FILES = ("qformer_tokenizer.json", "qformer_tokenizer/tokenizer.json")


class Tokenizer:
    """A loaded vocabulary. Use `Tokenizer.load`; encoding and decoding are safe from several threads.

    Attributes:
      vocab_size: Number of ids, those of added tokens counted.
      bos_id: Begin of a text; -1 if the vocabulary has none (T5).
      eos_id: End of a text.
      pad_id: Padding; a vocabulary without it has its unknown id here, which is never negative.
      image_id: What stands for a picture's positions in transformers' ids: the vocabulary's own `<image>`, or the
        first id behind it, where transformers' processors put one.
      fingerprint: SHA-256 of the file, and of what the files beside it change.
    """

    def __init__(self, data: bytes, settings: settings_files.Settings):
        """Takes the bytes of a vocabulary's file and what lies beside it.

        Raises:
          RuntimeError: it is no SentencePiece model.
          ValueError: it is JSON, and no tokenizer's.
        """
        self._vocabulary = _vocabulary(data, settings)
        ids = {role: self._id(role, settings) for role in settings_files.ROLES}
        self.vocab_size = max(self._vocabulary.size, max(self._vocabulary.added, default=0) + 1)
        self.bos_id, self.eos_id = ids["bos"], ids["eos"]
        own = self._token_id(IMAGE)
        self.image_id = self.vocab_size if own is None else own
        # A vocabulary may have no padding id (-1), which must never be used as an index.
        self.pad_id = next((index for index in (ids["pad"], ids["unk"], ids["eos"]) if index >= 0), 0)
        special = {index for index, added in self._vocabulary.added.items() if added.special}
        self._special = {*special, *self._vocabulary.special_ids, *(index for index in ids.values() if index >= 0)}
        self._special.add(self.pad_id)
        self.fingerprint = self._fingerprint(data, ids)

    def _id(self, role: str, settings: settings_files.Settings) -> int:
        if role not in settings.specials:
            return self._vocabulary.own_ids[role]
        content = settings.specials[role]
        index = None if content is None else self._token_id(content)
        return -1 if index is None else index

    def _token_id(self, content: str) -> int | None:
        """Returns the id of a piece or an added token that is spelled so, or None."""
        added = {token.content: index for index, token in self._vocabulary.added.items()}
        return added.get(content, self._vocabulary.token_id(content))

    def _fingerprint(self, data: bytes, ids: dict[str, int]) -> str:
        changed: dict[str, Any] = {
            "ids": {role: index for role, index in ids.items() if index != self._vocabulary.own_ids[role]},
            "added": {
                index: [token.content, token.special]
                for index, token in sorted(self._vocabulary.added.items())
                if index >= self._vocabulary.size
            },
            "marks": self._vocabulary.has_own_marks,
        }
        digest = hashlib.sha256(data).hexdigest()
        if not any(changed.values()):
            return digest
        return hashlib.sha256(json.dumps([digest, changed], sort_keys=True).encode()).hexdigest()

    @classmethod
    def load(cls, path: str | Path) -> "Tokenizer":
        """Returns the tokenizer stored at `path`: a SentencePiece model or a `tokenizer.json`, told by the content.

        Files of the Hugging Face layout beside it (`settings.NAMES`) say which tokens are special and which were added.

        Raises:
          UserError: the file is missing, is no such vocabulary, or has no end id; or a file beside it is damaged.
        """
        path = Path(path)
        try:
            tokenizer = cls(path.read_bytes(), settings_files.read(path))
        except OSError as error:
            raise errors.UserError(
                f"{path}: cannot be read ({error.strerror}); give a SentencePiece model or a tokenizer.json"
            ) from error
        except RuntimeError as error:
            raise errors.UserError(f"{path}: is no SentencePiece model; copy or train it again") from error
        except ValueError as error:
            reason = (str(error).splitlines() or [""])[0][:200]
            raise errors.UserError(f"{path}: is no tokenizer.json of use here ({reason}); copy it again") from error
        if tokenizer.eos_id < 0:
            raise errors.UserError(f"{path}: the vocabulary has no end id; take one that has it")
        return tokenizer

    def encode(self, text: str, place: Place = "start") -> list[int]:
        """Returns the ids of ordinary text, without begin and end ids.

        Args:
          text: Spellings of special tokens in it are text.
          place: `start` of all text, `after_mark` (behind a special token or a picture) or `inside`, behind other text.
            Many vocabularies put a space before the first, some before the second.
        """
        return self._vocabulary.encode(text, place)

    def piece(self, token_id: int) -> str:
        """Returns the spelling of one id as the vocabulary has it, for pages that show tokens."""
        return self._vocabulary.piece(token_id)

    def token_bytes(self, token_id: int) -> bytes:
        """Returns the UTF-8 that one id adds to a text: a part of a character for byte pieces, nothing for special ids.

        The texts of ids joined are that of `decode`, but for a space which some vocabularies begin every text with.
        """
        return b"" if token_id in self._special else self._vocabulary.piece_bytes(token_id)

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of `ids`; broken UTF-8 from byte pieces becomes U+FFFD.

        Special ids are skipped, and so are those behind the vocabulary's, which a model may have spare rows for.
        """
        known = (int(index) for index in ids if int(index) < self.vocab_size)
        return self._vocabulary.decode([index for index in known if index not in self._special])


def _vocabulary(data: bytes, settings: settings_files.Settings) -> Vocabulary:
    if data.removeprefix(codecs.BOM_UTF8).lstrip()[:1] != b"{":
        return SentencePieceFile(data, settings)
    from m3it_jax.tokenizer.json_file import JsonFile  # most runs need no second engine

    return JsonFile(data, settings)


def find(folder: Path) -> Path:
    """Returns the tokenizer's file of a run folder or an imported folder; it may be missing."""
    return next((folder / name for name in _FILES if (folder / name).is_file()), folder / _FILES[-1])


def find_qformer(tokenizer_path: Path) -> Path:
    """Returns the Q-Former's vocabulary beside the language model's; it may be missing."""
    paths = [tokenizer_path.parent / name for name in _QFORMER_FILES]
    return next((path for path in paths if path.is_file()), paths[0])


def files(path: Path) -> dict[str, Path]:
    """Returns what has to be copied for a tokenizer to be the same elsewhere: name in a run folder -> file."""
    with path.open("rb") as file:
        is_json = file.read(64).removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"{"
    copies = {_FILES[0 if is_json else 1]: path} | {file.name: file for file in settings_files.files(path)}
    qformer = find_qformer(path)
    return copies | ({_QFORMER_FILES[0]: qformer} if qformer.is_file() else {})
