"""A vocabulary in a SentencePiece model file, as LLaMA and T5 publish it, and as ours is trained."""

import re
from collections.abc import Sequence

import sentencepiece

from m3it_jax.tokenizer.settings import Added, Settings
from m3it_jax.tokenizer.vocabulary import SPACE_MARK, Place, byte_of

# Protocol buffers merge a message that comes twice: `normalizer_spec.add_dummy_prefix = false` of
# sentencepiece_model.proto (field 3 in field 3), put behind a model file.
_NO_SPACE_BEFORE = b"\x1a\x02\x18\x00"


class SentencePieceFile:
    """See `vocabulary.Vocabulary`. Text comes back exactly, the character U+2581 included.

    SentencePiece writes a space as that character, so it is written with its bytes where it stands in a text.
    """

    def __init__(self, model: bytes, settings: Settings):
        """Takes the bytes of the file.

        Raises:
          RuntimeError: they are no model.
        """
        start = sentencepiece.SentencePieceProcessor(model_proto=model)
        # Some vocabularies put a space before every text; within a text there must be none.
        inside = sentencepiece.SentencePieceProcessor(model_proto=model + _NO_SPACE_BEFORE)
        after_mark = start if settings.is_legacy else inside
        self._by_place = {"start": start, "after_mark": after_mark, "inside": inside}
        self._processor = start
        self.size = start.vocab_size()
        self.has_own_marks = not settings.is_legacy and start.encode("a") != inside.encode("a")
        controls = {index for index in range(self.size) if start.is_control(index)}
        self.own_ids = {"bos": start.bos_id(), "eos": start.eos_id(), "pad": start.pad_id(), "unk": start.unk_id()}
        self.special_ids = frozenset(controls | {self.own_ids["unk"]})
        self.added = {index: added for index, added in settings.added.items() if index >= self.size}
        self._plain = {added.content: index for index, added in self.added.items() if not added.special}
        longest_first = sorted(self._plain, key=len, reverse=True)
        self._pattern = re.compile(f"({'|'.join(map(re.escape, longest_first))})") if self._plain else None
        marks = [f"<0x{byte:02X}>" for byte in SPACE_MARK.encode("utf-8")]
        self._mark_ids = [start.piece_to_id(mark) for mark in marks]

    def token_id(self, content: str) -> int | None:
        """See `Vocabulary`."""
        index = self._processor.piece_to_id(content)
        return index if self._processor.id_to_piece(index) == content else None

    def encode(self, text: str, place: Place) -> list[int]:
        """See `Vocabulary`."""
        if self._pattern is None:
            return self._encode(text, place)
        ids: list[int] = []
        for number, part in enumerate(self._pattern.split(text)):
            if number % 2:
                ids.append(self._plain[part])
                place = "after_mark"
            else:
                ids += self._encode(part, place)
        return ids

    def _encode(self, text: str, place: Place) -> list[int]:
        ids: list[int] = []
        processor = self._by_place[place]
        for number, part in enumerate(text.split(SPACE_MARK)):
            if number:
                ids.extend(self._mark_ids)
                processor = self._by_place["inside"]
            if part:
                ids.extend(processor.encode(part))
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """See `Vocabulary`."""
        if not self._plain:
            return self._processor.decode(list(ids))
        text = ""
        waiting: list[int] = []
        for index in [*ids, None]:
            if index is None or index >= self.size:
                text += self._processor.decode(waiting) + (self.added[index].content if index is not None else "")
                waiting = []
            else:
                waiting.append(index)
        return text

    def piece(self, index: int) -> str:
        """See `Vocabulary`."""
        if index < self.size:
            return self._processor.id_to_piece(index)
        return self.added.get(index, Added("", special=True)).content

    def piece_bytes(self, index: int) -> bytes:
        """See `Vocabulary`."""
        if index >= self.size:
            return self.piece(index).encode("utf-8")
        piece = self._processor.id_to_piece(index)
        if self._processor.is_byte(index):
            return byte_of(piece)
        return piece.replace(SPACE_MARK, " ").encode("utf-8")
