"""SentencePiece: encode, decode, special ids, and training of the small edition's vocabulary.

Text given to `encode` is always ordinary text: the spellings `<s>`, `</s>`, `<pad>`, `<Img>` or `<0x0A>` in it give
the pieces of those characters, never a control id.
"""

import collections
import hashlib
import io
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import sentencepiece

from m3it_jax import errors

UNK_ID, BOS_ID, EOS_ID, PAD_ID = 0, 1, 2, 3

# Where a text stands: at the start of all text, behind a special token or a picture, or behind other text.
Place = Literal["start", "after_mark", "inside"]

# Protocol buffers merge a message that comes twice: `normalizer_spec.add_dummy_prefix = false` of
# sentencepiece_model.proto (field 3 in field 3), put behind a model file.
_NO_SPACE_BEFORE = b"\x1a\x02\x18\x00"

# SentencePiece writes a space as this character, so the character itself would come back as a space.
_SPACE_MARK = "\u2581"


class Tokenizer:
    """A loaded vocabulary. Use `Tokenizer.load`; encoding and decoding are safe from several threads."""

    def __init__(self, model: bytes):
        """Takes the bytes of a SentencePiece model file."""
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        # Some vocabularies put a space before every text; within a text there must be none.
        self._inside = sentencepiece.SentencePieceProcessor(model_proto=model + _NO_SPACE_BEFORE)
        self.fingerprint = hashlib.sha256(model).hexdigest()
        self.vocab_size = self._processor.vocab_size()
        self.bos_id = self._processor.bos_id()
        self.eos_id = self._processor.eos_id()
        # A model trained elsewhere may have no padding id (-1), which must never be used as an index.
        self.pad_id = self._processor.pad_id() if self._processor.pad_id() >= 0 else self._processor.unk_id()
        self._special = {index for index in range(self.vocab_size) if self._processor.is_control(index)}
        self._special |= {self._processor.unk_id(), self.pad_id}
        mark_bytes = [f"<0x{byte:02X}>" for byte in _SPACE_MARK.encode("utf-8")]
        self._mark_ids = [self._processor.piece_to_id(piece) for piece in mark_bytes]

    @classmethod
    def load(cls, path: str | pathlib.Path) -> "Tokenizer":
        """Returns the tokenizer stored at `path`.

        Raises:
          UserError: the file is missing, is no SentencePiece model, or has no begin or end id.
        """
        try:
            tokenizer = cls(pathlib.Path(path).read_bytes())
        except OSError as error:
            raise errors.UserError(f"{path}: cannot be read ({error.strerror}); give a .model file") from error
        except RuntimeError as error:
            raise errors.UserError(f"{path}: is no SentencePiece model; copy or train it again") from error
        if tokenizer.bos_id < 0 or tokenizer.eos_id < 0:
            raise errors.UserError(f"{path}: the vocabulary has no begin or end id; take one that has both")
        return tokenizer

    def encode(self, text: str, place: Place = "start") -> list[int]:
        """Returns the ids of `text`, without begin and end ids; `decode` gives exactly the same text back."""
        processor = self._inside if place == "inside" else self._processor
        ids: list[int] = []
        for number, part in enumerate(text.split(_SPACE_MARK)):
            if number:
                ids.extend(self._mark_ids)
            if part:
                ids.extend((self._inside if number else processor).encode(part))
        return ids

    def piece(self, token_id: int) -> str:
        """Returns the spelling of one id as the vocabulary has it, for pages that show tokens."""
        return self._processor.id_to_piece(token_id)

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of `ids`; special ids are skipped, broken UTF-8 from byte pieces becomes U+FFFD."""
        return self._processor.decode([int(index) for index in ids if int(index) not in self._special])


def _weighted_lines(texts: Mapping[str, int]) -> Iterator[str]:
    """Yields `line<tab>weight` for the lines of `texts`, then for every different word alone and doubled.

    The trainer's candidates for pieces are strings that two different characters follow. In text made from templates
    a word may have the same neighbour everywhere (`column` always a space) and would be cut up, however common it is.
    """
    lines: collections.Counter[str] = collections.Counter()
    for text, count in texts.items():
        for line in filter(None, text.replace("\t", " ").split("\n")):
            lines[line] += count
    words: dict[str, None] = {}
    for line, count in lines.items():
        yield f"{line}\t{count}"
        first, *others = line.split(" ")
        words.update(dict.fromkeys((first, *(f" {word}" for word in others))))
    for word in filter(str.strip, words):
        yield f"{word}\t1"
        yield f"{word} {word.strip()}\t1"


def train(texts: Iterable[str] | Mapping[str, int], path: str | pathlib.Path, vocab_size: int) -> Tokenizer:
    """Trains a vocabulary on `texts`, writes it to `path` and returns it; the same texts give the same bytes.

    `texts` may be a mapping from text to how often it occurs.

    `vocab_size` is a soft limit: little text gives fewer pieces. Characters that are too rare for a piece of their own
    are written with the 256 byte pieces, and so is the newline, hence no piece ever spans two lines and text may be
    encoded line by line.

    Raises:
      UserError: there is too little text to train on, or `vocab_size` cannot hold its characters.
    """
    model = io.BytesIO()
    counted = texts if isinstance(texts, Mapping) else collections.Counter(texts)
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_weighted_lines(counted),
            input_format="tsv",
            model_writer=model,
            model_type="unigram",
            vocab_size=vocab_size,
            hard_vocab_limit=False,
            byte_fallback=True,
            # Without the rarest 2 of 1,000 characters: an alphabet of many scripts would take the place of whole words.
            character_coverage=0.998,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            # Lines of a template begin without a space, and byte-exact round trips need none added.
            add_dummy_prefix=False,
            # Otherwise `<human>:` could never be one piece: brackets and letters are different scripts.
            split_by_unicode_script=False,
            unk_id=UNK_ID,
            bos_id=BOS_ID,
            eos_id=EOS_ID,
            pad_id=PAD_ID,
            num_threads=1,  # more threads sum in another order and so may choose other pieces
            minloglevel=2,
        )
    except RuntimeError as error:
        raise errors.UserError(f"{path}: cannot train a vocabulary of {vocab_size} pieces: {error}") from error
    path = pathlib.Path(path)
    path.write_bytes(model.getvalue())
    return Tokenizer(model.getvalue())
