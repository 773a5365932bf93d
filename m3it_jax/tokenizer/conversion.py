"""A SentencePiece unigram model as a `tokenizer.json`, which transformers reads without guessing a class.

Vocabularies that are trained here are exported so; imported ones keep their own files. Pieces have real spaces there,
and not the character U+2581 that SentencePiece writes for them: one that stands in a text would come out as a space.
"""

import json
from collections.abc import Iterable
from typing import Any

import sentencepiece

from m3it_jax.tokenizer.json_file import JsonFile
from m3it_jax.tokenizer.sentencepiece_file import SentencePieceFile
from m3it_jax.tokenizer.settings import Settings
from m3it_jax.tokenizer.vocabulary import SPACE_MARK

_ROLES = ("unk", "bos", "eos", "pad")

# `<0x0A>` in a text is text: it is cut behind its first character, so that no piece of a byte is found in it.
_SPLIT_BYTE_SPELLINGS = {
    "type": "Split",
    "pattern": {"Regex": "<(?=0x[0-9A-F]{2}>)"},
    "behavior": "MergedWithPrevious",
    "invert": False,
}


def transformers_files(model: bytes, probes: Iterable[str]) -> dict[str, dict[str, Any]] | None:
    """Returns {file name: values} of tokenizer.json and tokenizer_config.json.

    Args:
      model: The bytes of a SentencePiece model file.
      probes: Texts on which both must give the same ids.

    Returns:
      None if the model is of another kind (BPE, with a normalisation of its own): they differ on a probe.
    """
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    ids = {role: getattr(processor, f"{role}_id")() for role in _ROLES}
    pieces = {role: processor.id_to_piece(index) for role, index in ids.items() if index >= 0}
    spec = _spec(processor, ids, pieces)
    config: dict[str, Any] = {f"{role}_token": piece for role, piece in pieces.items()}
    config |= {"clean_up_tokenization_spaces": False, "tokenizer_class": "PreTrainedTokenizerFast"}
    config["model_input_names"] = ["input_ids", "attention_mask"]  # the class would have the models take one more
    none = Settings(specials={}, added={}, is_legacy=False)
    theirs, ours = JsonFile(json.dumps(spec).encode(), none), SentencePieceFile(model, none)
    if any(theirs.encode(text, "start") != ours.encode(text, "start") for text in probes):
        return None
    return {"tokenizer.json": spec, "tokenizer_config.json": config}


def _spec(processor: Any, ids: dict[str, int], pieces: dict[str, str]) -> dict[str, Any]:
    size = processor.vocab_size()
    has_bytes = any(processor.is_byte(index) for index in range(size))
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    begin = {"id": pieces.get("bos"), "ids": [ids["bos"]], "tokens": [pieces.get("bos")]}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    first = [{"SpecialToken": {"id": begin["id"], "type_id": 0}}] if begin["id"] else []
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": ids[role], "content": piece, **flags} for role, piece in pieces.items()],
        "normalizer": None,
        "pre_tokenizer": _SPLIT_BYTE_SPELLINGS if has_bytes else None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [*first, text],
            "pair": [*first, text, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {begin["id"]: begin} if begin["id"] else {},
        },
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": {
            "type": "Unigram",
            "unk_id": ids["unk"],
            "vocab": [
                [processor.id_to_piece(index).replace(SPACE_MARK, " "), processor.get_score(index)]
                for index in range(size)
            ],
            "byte_fallback": has_bytes,
        },
    }
