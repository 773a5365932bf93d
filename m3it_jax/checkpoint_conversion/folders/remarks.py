"""What an import tells its caller beside what it does: what of a folder is carried along and not used, and why."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from m3it_jax.checkpoint_conversion.configs import llava_config
from m3it_jax.checkpoint_conversion.files import hf_folder
from m3it_jax.checkpoint_conversion.folders import chat_templates, side_files
from m3it_jax.models.variant import Variant
from m3it_jax.tokenizer import Tokenizer

_BYTE_PAIRS = ("vocab.json", "merges.txt")
_ADAPTER = "adapter_config.json"


def of_folder(folder: Path, tokenizer: Path, variant: Variant, *, stop_ids: tuple[int, ...]) -> Iterator[str]:
    """Yields what to tell about a Hugging Face folder.

    Args:
      folder: Where the model comes from, or its language model.
      tokenizer: Folder of the tokenizer.
      variant: The model.
      stop_ids: Ids that end an answer, by the folder; () where it does not say.

    Raises:
      UserError: a file is no JSON, or no tokenizer.
    """
    yield from filter(
        None, (chat_templates.note(place, variant.prompt) for place in dict.fromkeys([folder, tokenizer]))
    )
    yield from _of_tokenizer(tokenizer, stop_ids)
    if (folder / _ADAPTER).is_file():
        yield f"{_ADAPTER}: the adapter beside the weights is not read; merge it into them (peft: merge_and_unload)"
    config = folder / hf_folder.CONFIG_FILE
    if config.is_file():
        yield from _of_authors(hf_folder.read_json(config))


def _of_tokenizer(folder: Path, stop_ids: tuple[int, ...]) -> Iterator[str]:
    path = side_files.find_tokenizer(folder, "tokenizer.json") or side_files.find_tokenizer(folder, "tokenizer.model")
    if path is None:
        is_pair = all((folder / name).is_file() for name in _BYTE_PAIRS)
        make = (
            "make a tokenizer.json of them: transformers.AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
            if is_pair
            else "fetch tokenizer.json or tokenizer.model"
        )
        has = f"{' and '.join(_BYTE_PAIRS)} are not read as a tokenizer" if is_pair else "there is no tokenizer"
        yield f"{folder.name}: {has}, so the model gives logits for ids and no answers; {make}"
        return
    end = Tokenizer.load(path).eos_id
    if stop_ids and end not in stop_ids:
        yield (
            f"{folder.name}: answers end at id {', '.join(map(str, stop_ids))} as its generation_config.json or "
            f"config.json says, not at the tokenizer's end id {end}"
        )


def _of_authors(config: Mapping[str, Any]) -> Iterator[str]:
    if llava_config.is_of_authors(config) and config.get("image_aspect_ratio") == "pad":
        yield (
            "config.json: image_aspect_ratio='pad': its authors pad a picture to a square, transformers' processor of "
            "this family cuts the middle out, and so does this program"
        )
