"""A vocabulary in a `tokenizer.json` file: BPE, Unigram or WordPiece with the steps around it, run by `tokenizers`."""

import functools
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import tokenizers

from m3it_jax.tokenizer.settings import Added, Settings
from m3it_jax.tokenizer.vocabulary import SPACE_MARK, Place, byte_of

# Spellings of roles in vocabularies that lie alone: those of LLaMA and T5, of BERT, of OPT and CLIP.
_USUAL = {
    "bos": ("<s>", "[CLS]", "<|startoftext|>"),
    "eos": ("</s>", "[SEP]", "<|endoftext|>"),
    "pad": ("<pad>", "[PAD]"),
    "unk": ("<unk>", "[UNK]"),
}
_BYTE_PIECE = re.compile(r"<0x[0-9A-F]{2}>")


class JsonFile:
    """See `vocabulary.Vocabulary`. The places of a text differ where the file puts a space before texts.

    Special tokens are not looked for in text. A spelling of one could still be a piece of the model, so it is cut after
    its first character; text without such spellings is cut as transformers cuts it.
    """

    def __init__(self, data: bytes, settings: Settings):
        """Takes the bytes of the file.

        Raises:
          ValueError: they are no such file, or an added token has another id in it.
        """
        spec = json.loads(data)
        if not isinstance(spec, dict) or not isinstance(spec.get("model"), dict):
            raise ValueError("it has no model")
        _add(spec, settings)
        start = _made(spec)
        never, none = _with_prefix(spec, "never"), _with_prefix(spec, None)
        after_mark = start if never is None else _made(never)
        inside = after_mark if none is None or none == never else _made(none)
        self._by_place = {"start": start, "after_mark": after_mark, "inside": inside}
        self._tokenizer = start
        self.size = start.get_vocab_size(with_added_tokens=False)
        self.has_own_marks = False  # the file alone says it
        self.added = {
            int(index): Added(token.content, token.special) for index, token in start.get_added_tokens_decoder().items()
        }
        for index, token in settings.added.items():
            if start.token_to_id(token.content) != index:
                raise ValueError(f"{token.content!r} should have id {index}, it has {start.token_to_id(token.content)}")
        self.special_ids = frozenset(index for index, added in self.added.items() if added.special)
        self.own_ids = {role: self._first_id(spellings) for role, spellings in _USUAL.items()}
        spellings = sorted((self.added[index].content for index in self.special_ids), key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, spellings))) if spellings else None
        self._has_bytes_as_letters = "ByteLevel" in json.dumps(spec.get("decoder"))
        self._has_byte_pieces = bool(spec["model"].get("byte_fallback"))
        self._continuing = spec["model"].get("continuing_subword_prefix") or ""

    def _first_id(self, spellings: Sequence[str]) -> int:
        found = (self._tokenizer.token_to_id(spelling) for spelling in spellings)
        return next((index for index in found if index is not None), -1)

    def token_id(self, content: str) -> int | None:
        """See `Vocabulary`."""
        return self._tokenizer.token_to_id(content)

    def encode(self, text: str, place: Place) -> list[int]:
        """See `Vocabulary`."""
        ids: list[int] = []
        for part in self._without_spellings(text):
            ids += self._by_place[place].encode(part, add_special_tokens=False).ids
            place = "inside"
        return ids

    def _without_spellings(self, text: str) -> list[str]:
        parts, begin = [], 0
        while self._special is not None and (found := self._special.search(text, begin)):
            parts.append(text[begin : found.start() + 1])
            begin = found.start() + 1
        return [*parts, text[begin:]]

    def decode(self, ids: Sequence[int]) -> str:
        """See `Vocabulary`."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=False)

    def piece(self, index: int) -> str:
        """See `Vocabulary`."""
        return self._tokenizer.id_to_token(index) or ""

    def piece_bytes(self, index: int) -> bytes:
        """See `Vocabulary`."""
        piece = self.piece(index)
        if index in self.added:
            return piece.encode("utf-8")
        if self._has_bytes_as_letters:
            return bytes(_byte_letters()[letter] for letter in piece)
        if self._has_byte_pieces and _BYTE_PIECE.fullmatch(piece):
            return byte_of(piece)
        if self._continuing:
            whole = f" {piece}" if not piece.startswith(self._continuing) else piece.removeprefix(self._continuing)
            return whole.encode("utf-8")
        return piece.replace(SPACE_MARK, " ").encode("utf-8")


def _made(spec: Mapping[str, Any]) -> tokenizers.Tokenizer:
    try:
        made = tokenizers.Tokenizer.from_str(json.dumps(spec))
    except Exception as error:  # the package raises nothing narrower
        raise ValueError(str(error)) from error
    made.no_truncation()
    made.no_padding()
    made.encode_special_tokens = True  # their spellings in a text are text
    return made


def _add(spec: dict[str, Any], settings: Settings) -> None:
    """Puts tokens that the settings add, and what they say is special, into the file's list of added tokens."""
    listed = {token["content"]: token for token in spec.setdefault("added_tokens", [])}
    specials = set(settings.specials.values())
    for index, added in sorted(settings.added.items()):
        token = listed.get(added.content)
        if token is None:
            flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
            spec["added_tokens"].append({"id": index, "content": added.content, **flags, "special": added.special})
        else:
            token["special"] = token["special"] or added.special
    for content, token in listed.items():
        token["special"] = token["special"] or content in specials


def _with_prefix(spec: dict[str, Any], scheme: str | None) -> dict[str, Any] | None:
    """Returns the file's steps for text that does not stand at the start; None if they are the same.

    Args:
      spec: The file.
      scheme: "never": a space that is put before the first text alone is left out, as behind a special token; None:
        every space that is put before a text, as within one.
    """
    steps = {name: _step(spec.get(name), scheme) for name in ("normalizer", "pre_tokenizer")}
    return None if all(steps[name] == spec.get(name) for name in steps) else {**spec, **steps}


def _step(step: Any, scheme: str | None) -> Any:
    """Returns one step without the space that it puts before texts."""
    if not isinstance(step, dict):
        return step
    kind = step.get("type")
    if kind == "Sequence":
        name = "normalizers" if "normalizers" in step else "pretokenizers"
        parts = step[name]
        if any(part.get("type") == "WhitespaceSplit" for part in parts):
            return step  # a space before every word, not before a text (T5)
        return {**step, name: [made for made in (_step(part, scheme) for part in parts) if made is not None]}
    if kind == "Metaspace" and (scheme is None or step.get("prepend_scheme") == "first"):
        kept = {name: step[name] for name in ("type", "replacement", "split") if name in step}
        return {**kept, "prepend_scheme": "never"}
    if kind == "Prepend" and scheme is None:
        return None
    if kind == "ByteLevel" and scheme is None:
        return {**step, "add_prefix_space": False}
    return step


@functools.cache
def _byte_letters() -> dict[str, int]:
    """Returns the letter that byte-level BPE writes for each byte (openai/gpt-2 encoder.py, bytes_to_unicode)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}
