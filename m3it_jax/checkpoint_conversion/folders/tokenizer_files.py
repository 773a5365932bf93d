"""The tokenizer files of an exported folder: what `transformers` loads, with the placeholder of pictures in them."""

import shutil
from pathlib import Path
from typing import Any

from m3it_jax.checkpoint_conversion.files import hf_folder, new_folder
from m3it_jax.tokenizer import IMAGE, Tokenizer, conversion, probe_texts, settings

# Tokenizers under the names that a folder of ours gives them -> names in Hugging Face folders, the first found.
TOKENIZERS: dict[str, tuple[str, ...]] = {
    "tokenizer.model": ("tokenizer.model", "spiece.model"),
    "tokenizer.json": ("tokenizer.json",),
    "qformer_tokenizer.json": ("qformer_tokenizer/tokenizer.json",),
}
_JSON, _SENTENCEPIECE = "tokenizer.json", "tokenizer.model"


def give(run: Path, out: Path) -> None:
    """Copies the tokenizers of a folder of ours, and what lies beside them, to where Hugging Face looks for them.

    What transformers would have to guess, the class and the special tokens, is written where no file says it.
    """
    for name, theirs in TOKENIZERS.items():
        path = run / name
        if not path.is_file():
            continue
        own = Tokenizer.load(path)
        # T5 has no begin id, and its class looks for another name than LLaMA's.
        target = out / (theirs[-1] if own.bos_id < 0 else theirs[0])
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, target)
        for file in settings.files(path):
            shutil.copyfile(file, target.parent / file.name)
        if name == _SENTENCEPIECE and not (run / _JSON).is_file():
            # transformers guesses a class for a bare SentencePiece file, and guesses wrongly for ours.
            for other, values in (conversion.transformers_files(path.read_bytes(), probe_texts.TEXTS) or {}).items():
                new_folder.write_json(out / other, values)
        if not (target.parent / settings.CONFIG).is_file():
            new_folder.write_json(target.parent / settings.CONFIG, _config(own, is_json=name != _SENTENCEPIECE))


def _config(own: Tokenizer, *, is_json: bool) -> dict[str, Any]:
    """Returns the tokenizer_config.json of a vocabulary's file that lay alone."""
    kind = "PreTrainedTokenizerFast" if is_json else "T5Tokenizer" if own.bos_id < 0 else "LlamaTokenizer"
    ids = {"bos": own.bos_id, "eos": own.eos_id, "pad": own.pad_id}
    roles = {f"{role}_token": own.piece(index) for role, index in ids.items() if index >= 0}
    values = {"clean_up_tokenization_spaces": False, **roles, "tokenizer_class": kind}
    # `legacy` as it is read here where no file denies it; T5's class would add a hundred tokens.
    more: dict[str, dict[str, Any]] = {
        "LlamaTokenizer": {"add_bos_token": True, "legacy": True},
        "T5Tokenizer": {"extra_ids": 0, "legacy": True},
    }
    return values | more.get(kind, {"model_input_names": ["input_ids", "attention_mask"]})


def add_placeholder(folder: Path, image_id: int) -> None:
    """Names the placeholder in the files of an exported folder that do not know it, so that nobody has to add it."""
    flags = ("single_word", "lstrip", "rstrip", "normalized")
    token: dict[str, Any] = {**dict.fromkeys(flags, False), "special": True}
    path = folder / _JSON
    if path.is_file():
        values = hf_folder.read_json(path)
        listed = values.get("added_tokens") or []
        if all(one.get("content") != IMAGE for one in listed):
            values["added_tokens"] = [*listed, {"id": image_id, "content": IMAGE, **token}]
            new_folder.write_json(path, values)
    path = folder / settings.CONFIG
    if path.is_file():
        values = hf_folder.read_json(path)
        added = values.get("added_tokens_decoder") or {}
        if all(one.get("content") != IMAGE for one in added.values()):
            values["added_tokens_decoder"] = added | {str(image_id): {"content": IMAGE, **token}}
            new_folder.write_json(path, values)
