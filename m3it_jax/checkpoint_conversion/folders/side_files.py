"""The files beside the weights: tokenizers, processors, licences. Carried as they are, checked against the model."""

import re
import shutil
from pathlib import Path

from m3it_jax import errors
from m3it_jax.checkpoint_conversion.files import hf_folder, new_folder
from m3it_jax.models.variants import Variant
from m3it_jax.tokenizer import Tokenizer, conversion, probe_texts

KEPT = "hf"  # folder of ours that holds them
# Tokenizers under the names that a folder of ours gives them -> names in Hugging Face folders, the first found.
TOKENIZERS: dict[str, tuple[str, ...]] = {
    "tokenizer.model": ("tokenizer.model", "spiece.model"),
    "tokenizer.json": ("tokenizer.json",),
    "qformer_tokenizer.json": ("qformer_tokenizer/tokenizer.json",),
}
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


def give_tokenizers(run: Path, out: Path) -> None:
    """Copies the tokenizers of a folder of ours to where Hugging Face looks for them."""
    for name, theirs in TOKENIZERS.items():
        if (run / name).is_file():
            target = out / theirs[0]
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(run / name, target)
    model = run / "tokenizer.model"
    if model.is_file() and not (run / "tokenizer.json").is_file():
        # transformers guesses a class for a bare SentencePiece file, and guesses wrongly for ours.
        for name, values in (conversion.transformers_files(model.read_bytes(), probe_texts.TEXTS) or {}).items():
            new_folder.write_json(out / name, values)


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
