"""The files beside the weights: tokenizers, processors, licences. Carried as they are, checked against the model."""

import re
import shutil
from pathlib import Path

from m3it_jax import errors
from m3it_jax.checkpoint_conversion.configs import hf_processor
from m3it_jax.checkpoint_conversion.files import hf_folder
from m3it_jax.checkpoint_conversion.folders.tokenizer_files import TOKENIZERS
from m3it_jax.models.variants import Variant
from m3it_jax.tokenizer import Tokenizer

KEPT = "hf"  # folder of ours that holds them
_FOLDERS = ("qformer_tokenizer",)
_ENDINGS = (".json", ".txt", ".model", ".jinja")
_LICENCES = re.compile(r"(licen[cs]e|notice|use_policy)(\..*)?", re.IGNORECASE)
_OF_TOKENIZERS = re.compile(
    r"(tokenizer.*|special_tokens_map|added_tokens|vocab|merges|spiece)\.(json|model|txt|jinja)"
)
_MAX_BYTES = 64 << 20  # CHOICE: larger files are no settings


def kept_files(folder: Path) -> list[Path]:
    """Returns the files of a Hugging Face folder that are carried as they are, relative to it."""
    found = []
    for path in sorted([*folder.iterdir(), *(one for name in _FOLDERS for one in folder.glob(f"{name}/*"))]):
        plain = path.is_file() and path.stat().st_size <= _MAX_BYTES and not path.name.startswith(".")
        if plain and not path.name.endswith(hf_folder.INDEX_ENDING):
            if path.suffix in _ENDINGS or _LICENCES.fullmatch(path.name):
                found.append(path.relative_to(folder))
    return found


def copy(folder: Path | None, tokenizer: Path, out: Path) -> None:
    """Copies what is carried into a folder of ours.

    Args:
      folder: The Hugging Face folder of the whole model; None for a model put together from parts.
      tokenizer: Folder of the tokenizer.
      out: The folder of ours.
    """
    chosen = {path: folder / path for path in kept_files(folder)} if folder is not None else {}
    if folder is None and tokenizer.is_dir():
        of_tokenizer = [path for path in kept_files(tokenizer) if _is_of_tokenizer(path)]
        chosen = {path: tokenizer / path for path in of_tokenizer}
    for path, source in chosen.items():
        target = out / KEPT / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    for name in TOKENIZERS:
        found = find_tokenizer(tokenizer, name)
        if found is not None:
            shutil.copyfile(found, out / name)


def _is_of_tokenizer(path: Path) -> bool:
    return path.parts[0] in _FOLDERS or _OF_TOKENIZERS.fullmatch(path.name) is not None


def find_tokenizer(folder: Path, name: str) -> Path | None:
    """Returns the file of a Hugging Face folder that a tokenizer of ours is copied from, or None."""
    return next((folder / theirs for theirs in TOKENIZERS[name] if (folder / theirs).is_file()), None)


def processor(folder: Path) -> hf_processor.Processor:
    """Returns what the processor's files of a Hugging Face folder say; none of them has to exist.

    Raises:
      UserError: one is no JSON object, or they prepare pictures in two ways.
    """
    old, new = folder / hf_processor.PICTURES_FILE, folder / hf_processor.PROCESSOR_FILE
    pictures = hf_folder.read_json(old) if old.is_file() else None
    return hf_processor.of_files(folder, pictures, hf_folder.read_json(new) if new.is_file() else {})


def check_tokenizers(folder: Path, variant: Variant) -> None:
    """Checks that no tokenizer has ids beyond the embedding that it belongs to.

    Raises:
      UserError: one has; or a file is no tokenizer.
    """
    text_size = variant.qformer.text_vocab_size if variant.qformer is not None else 0
    for name in TOKENIZERS:
        path = find_tokenizer(folder, name)
        is_qformer = name.startswith("qformer")
        size = text_size if is_qformer else variant.decoder.vocab_size
        if path is None or not size:
            continue
        pieces = Tokenizer.load(path).vocab_size
        if pieces > size:
            part = "qformer/text_embedding" if is_qformer else "decoder/token_embedding"
            raise errors.UserError(
                f"{path}: has {pieces} pieces, {part} of the weights has room for {size}; take the tokenizer that "
                "belongs to them"
            )
