"""The files of a Hugging Face folder: which hold the weights, what their headers say, and the JSON beside them."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from m3it_jax import errors, safetensors_files
from m3it_jax.safetensors_files import Tensor, short

CONFIG_FILE = "config.json"
INDEX_ENDING = ".index.json"
# Endings of files that only a loader in a process of its own may open.
PICKLED = (".bin", ".pth", ".pt", ".ckpt")

_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<total>\d{5})\.(safetensors|bin)")
# What trainers leave beside the weights, of no use for a model (transformers/trainer.py).
_NO_WEIGHTS = {"training_args.bin", "optimizer.pt", "optimizer.bin", "scheduler.pt", "scaler.pt", "rng_state.pth"}
_MAX_JSON_BYTES = 64 << 20  # CHOICE: the largest tokenizer.json of the families has 12 MB


def weight_files(folder: Path) -> list[Path]:
    """Returns the files that hold the weights of a folder, in order; safetensors before pickled files.

    Raises:
      UserError: there are none, or a shard is missing.
    """
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise errors.UserError(f"{folder}: no such folder; give a folder with {CONFIG_FILE} and *.safetensors")
    for endings in ((".safetensors",), PICKLED):
        indices = sorted(path for end in endings for path in folder.glob(f"*{end}{INDEX_ENDING}"))
        if len(indices) > 1:
            raise errors.UserError(f"{folder}: has {indices[0].name} and {indices[1].name}; keep one of them")
        if indices:
            return _indexed(indices[0])
        files = sorted(path for path in folder.iterdir() if path.suffix in endings and path.name not in _NO_WEIGHTS)
        if files:
            return _complete(folder, files)
    raise errors.UserError(f"{folder}: holds no weights (*.safetensors, *.bin, *.pth); is the download complete?")


def _indexed(index: Path) -> list[Path]:
    """Returns the files that an index names, after looking that each lies beside it."""
    listed = read_index(index)
    folder = index.parent
    names = sorted(set(listed.values()))
    for name in names:
        if not (folder / name).is_file():
            raise errors.UserError(f"{index}: names {short(name)}, which is not there; fetch it")
    # A shard of the same series that the index does not know belongs to another download.
    series = [match for name in names if (match := _SHARD.fullmatch(name))]
    for path in sorted(folder.iterdir()):
        match = _SHARD.fullmatch(path.name)
        if match and path.name not in names and any(match["stem"] == one["stem"] for one in series):
            raise errors.UserError(f"{index}: does not name the shard {path.name} beside it; fetch both again")
    return [folder / name for name in names]


def read_index(index: Path) -> dict[str, str]:
    """Returns {key: file} of an index.

    Raises:
      UserError: it is no index.
    """
    listed = read_json(index).get("weight_map")
    if not isinstance(listed, dict) or not listed or not all(isinstance(name, str) for name in listed.values()):
        raise errors.UserError(f"{index}: has no weight_map from keys to files; fetch it again")
    for name in set(listed.values()):
        if Path(name).name != name or name.startswith("."):
            raise errors.UserError(f"{index}: names {short(name)}, which is no file beside it; fetch it again")
    return listed


def _complete(folder: Path, files: list[Path]) -> list[Path]:
    """Returns the files of a folder without index, after looking that no shard of a series is missing."""
    for path in files:
        match = _SHARD.fullmatch(path.name)
        for number in range(1, int(match["total"]) + 1) if match else ():
            wanted = f"{match['stem']}-{number:05d}-of-{match['total']}{path.suffix}" if match else ""
            if not (folder / wanted).is_file():
                raise errors.UserError(f"{folder}: lacks {wanted} beside {path.name}; fetch it")
    return files


def tensors(files: Iterable[Path], *, index: Path | None = None) -> dict[str, Tensor]:
    """Returns {key: where it lies} of safetensors files, in the order of their bytes.

    Args:
      files: From `weight_files`.
      index: The index that named them, which must agree with their headers.

    Raises:
      UserError: a header is wrong, a key stands in two files, or the index says something else.
    """
    found: dict[str, Tensor] = {}
    for path in files:
        for key, tensor in safetensors_files.read_header(path).items():
            if key in found:
                raise errors.UserError(f"{path}: holds {short(key)}, which {found[key].path.name} holds too; keep one")
            found[key] = tensor
    listed = read_index(index) if index else {}
    for key, name in listed.items():
        if key not in found or found[key].path.name != name:
            raise errors.UserError(f"{index}: puts {short(key)} into {short(name)}, which does not hold it")
    for key in found if index else ():
        if key not in listed:
            raise errors.UserError(f"{found[key].path}: holds {short(key)}, which {index} does not list; fetch both")
    return found


def index_of(files: Iterable[Path]) -> Path | None:
    """Returns the index beside safetensors files, or None."""
    first = next(iter(files))
    indices = list(first.parent.glob(f"*{first.suffix}{INDEX_ENDING}"))
    return indices[0] if indices else None


def read_json(path: Path) -> dict[str, Any]:
    """Returns a JSON object of a folder.

    Raises:
      UserError: it is missing, too large or no JSON object.
    """
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise errors.UserError(f"{path}: has more than {_MAX_JSON_BYTES >> 20} MB; fetch it again")
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise errors.UserError(f"{path}: cannot be read ({error.strerror}); fetch it") from error
    except (ValueError, RecursionError) as error:
        raise errors.UserError(f"{path}: is no JSON ({type(error).__name__}); fetch it again") from error
    if not isinstance(value, dict):
        raise errors.UserError(f"{path}: holds no JSON object; fetch it again")
    return value
