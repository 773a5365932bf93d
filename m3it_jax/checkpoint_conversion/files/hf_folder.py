"""The files of a Hugging Face folder: which hold the weights, what their headers say, and the JSON beside them."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from m3it_jax import errors, safetensors_files
from m3it_jax.safetensors_files import Tensor, short

CONFIG_FILE = "config.json"
INDEX_ENDING = ".index.json"
# Endings of files that only a loader in a process of its own may open.
PICKLED = (".bin", ".pth", ".pt", ".ckpt")

# What transformers opens by name, in its order (modeling_utils.py, `_get_resolved_checkpoint_files`).
_OWN_NAMES = {".safetensors": "model.safetensors", ".bin": "pytorch_model.bin"}

_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<total>\d{5})\.(safetensors|bin)")
# What lies beside weights and is none of a model, and what transformers passes over: states of trainers
# (transformers/trainer.py, accelerate's checkpointing.py, DeepSpeed), adapters, copies in another precision, files that
# macOS and download tools leave.
_LEFTOVERS = re.compile(
    r"\..*|(training_args|(optimizer|scheduler|scaler|sampler|rng_state|random_states|adapter|adapter_model|ema)"
    r"([_.-].*)?|.*_optim_states)\.(bin|pt|pth|ckpt|safetensors)"
    r"|[^.]+\.(fp16|bf16|fp32|non_ema)([.-].+)?\.(bin|safetensors)(\.index\.json)?"
)
_COPY = re.compile(r"[^.]+\.(fp16|bf16|fp32|non_ema)([.-].+)?\.(bin|safetensors)")
_ADAPTER = re.compile(r"adapter_model\.(bin|safetensors)")
_MAX_JSON_BYTES = 64 << 20  # CHOICE: the largest tokenizer.json of the families has 12 MB
# github.com/git-lfs/git-lfs docs/spec.md: what stands in place of a large file; smaller than 1,024 bytes.
_POINTER, _MAX_POINTER_BYTES = b"version https://git-lfs.github.com/spec/", 1_024


def weight_files(folder: Path) -> list[Path]:
    """Returns the files that hold the weights of a folder, in order; safetensors before pickled files.

    A file or an index that transformers opens by its name comes before others; what it passes over is left out.

    Raises:
      UserError: there are none, a shard is missing, there are two whole sets, or a file is a Git LFS pointer.
    """
    if folder.is_file():
        found = [folder]
    elif folder.is_dir():
        found = _of_folder(folder)
    else:
        raise errors.UserError(f"{folder}: no such folder; give a folder with {CONFIG_FILE} and *.safetensors")
    for path in found:
        check_fetched(path)
    return found


def _of_folder(folder: Path) -> list[Path]:
    names = sorted(path for path in folder.iterdir() if not _LEFTOVERS.fullmatch(path.name))
    for endings in ((".safetensors",), PICKLED):
        indices = [path for path in names if path.name.endswith(tuple(f"{end}{INDEX_ENDING}" for end in endings))]
        own = _OWN_NAMES.get(endings[0], _OWN_NAMES[".bin"])
        if len(indices) > 1 and folder / f"{own}{INDEX_ENDING}" in indices:
            indices = [folder / f"{own}{INDEX_ENDING}"]
        if len(indices) > 1:
            raise errors.UserError(f"{folder}: has {indices[0].name} and {indices[1].name}; keep one of them")
        files = [path for path in names if path.suffix in endings]
        if folder / own in files:
            _check_alone(folder / own, files, indices)
            return [folder / own]
        if indices:
            return _indexed(indices[0])
        if files:
            return _complete(folder, files)
    others = sorted(path for path in folder.iterdir() if path.suffix in (".safetensors", *PICKLED))
    for path in others:
        if _ADAPTER.fullmatch(path.name):
            raise errors.UserError(
                f"{path}: is an adapter and no whole model; merge it into its base first (peft: merge_and_unload)"
            )
        if _COPY.fullmatch(path.name):
            raise errors.UserError(
                f"{path}: is a copy in another precision, and {path.name.split('.')[0]}{path.suffix} is not there; "
                "fetch that, or rename the copy"
            )
    raise errors.UserError(f"{folder}: holds no weights (*.safetensors, *.bin, *.pth); is the download complete?")


def _check_alone(whole: Path, files: Sequence[Path], indices: Sequence[Path]) -> None:
    """Refuses one file of weights beside shards or their index: one of the two is older, and nothing says which.

    Raises:
      UserError: both are there and the index does not name the file; both are named.
    """
    for index in indices:
        if set(read_index(index).values()) != {whole.name}:
            raise errors.UserError(
                f"{whole.parent}: has {whole.name} and {index.name}, two sets of weights; remove the older one"
            )
    shard = next(
        (path for path in files if (match := _SHARD.fullmatch(path.name)) and match["stem"] == whole.stem), None
    )
    if shard is not None:
        raise errors.UserError(
            f"{whole.parent}: has {whole.name} and the shard {shard.name}, two sets of weights; remove the older one"
        )


def check_fetched(path: Path) -> None:
    """Refuses the small file that Git keeps in place of a large one.

    Raises:
      UserError: it is one.
    """
    try:
        with open(path, "rb") as file:
            is_pointer = file.read(len(_POINTER)) == _POINTER and path.stat().st_size <= _MAX_POINTER_BYTES
    except OSError:
        return  # whoever reads it says what is wrong
    if is_pointer:
        raise errors.UserError(f"{path}: is a Git LFS pointer and not the file itself; fetch it with `git lfs pull`")


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


def index_of(files: Sequence[Path]) -> Path | None:
    """Returns the index that names files of weights, or None; one beside a whole file of weights says nothing new."""
    first = files[0]
    if first.name in _OWN_NAMES.values():
        return None
    own = first.parent / f"{_OWN_NAMES.get(first.suffix, '')}{INDEX_ENDING}"
    others = sorted(path for path in first.parent.glob(f"*{first.suffix}{INDEX_ENDING}"))
    return own if own in others else next((path for path in others if not _LEFTOVERS.fullmatch(path.name)), None)


def read_json(path: Path) -> dict[str, Any]:
    """Returns a JSON object of a folder.

    Raises:
      UserError: it is missing, too large, a Git LFS pointer or no JSON object in UTF-8.
    """
    check_fetched(path)
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise errors.UserError(f"{path}: has more than {_MAX_JSON_BYTES >> 20} MB; fetch it again")
        value = json.loads(path.read_text("utf-8-sig"))  # with or without a byte order mark
    except OSError as error:
        raise errors.UserError(f"{path}: cannot be read ({error.strerror}); fetch it") from error
    except (ValueError, RecursionError) as error:
        raise errors.UserError(f"{path}: is no JSON ({type(error).__name__}); fetch it again") from error
    if not isinstance(value, dict):
        raise errors.UserError(f"{path}: holds no JSON object; fetch it again")
    return value
