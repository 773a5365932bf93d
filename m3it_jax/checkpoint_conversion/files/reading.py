"""A place with weights -> {canonical key: tensor}, whatever its files are: safetensors, pickles, LLaMA's own shards."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from m3it_jax import errors, safetensors_files
from m3it_jax.checkpoint_conversion.files import derived, hf_folder, pickles
from m3it_jax.checkpoint_conversion.files.sources import Made, Source, Stored
from m3it_jax.checkpoint_conversion.names import mapping

_LLAMA_SHARD = re.compile(r"consolidated\.\d\d\.(pth|pt|safetensors)")


def tensors(
    place: Path, aliases: Sequence[tuple[str, str]], *, scratch: Path, is_dry: bool = False
) -> dict[str, Source]:
    """Returns the tensors of a folder or of one file, in the order of their bytes.

    Args:
      place: The folder or file.
      aliases: See `mapping.canonical_keys`.
      scratch: Folder that takes what is made of pickled files.
      is_dry: True reads headers alone: the tensors of pickled files have shapes and no numbers.

    Raises:
      UserError: files are missing or broken, would run code, or hold one tensor under two names.
    """
    files = hf_folder.weight_files(place)
    if files[0].suffix in hf_folder.PICKLED:
        shards = _unpickled(files, scratch, is_dry=is_dry)
        index = hf_folder.index_of(files) if place.is_dir() else None
        if index is not None:
            _check_listed(index, shards)
    elif _LLAMA_SHARD.fullmatch(files[0].name) and len(files) > 1:
        shards = [_stored(hf_folder.tensors([path])) for path in files]
    else:
        shards = [_stored(hf_folder.tensors(files, index=hf_folder.index_of(files) if place.is_dir() else None))]
    if _LLAMA_SHARD.fullmatch(files[0].name):
        shards = [derived.from_llama_shards(shards)]
    found: dict[str, Source] = {}
    for shard in shards:
        for key, source in shard.items():
            if key in found:
                raise errors.UserError(
                    f"{source.origin}: holds {mapping.short(key)}, which {found[key].origin.name} holds too; keep one"
                )
            found[key] = source
    spelled = mapping.canonical_keys(found, aliases, where=str(place))
    return derived.with_fused_biases({key: found[name] for key, name in spelled.items()})


def _stored(found: Mapping[str, safetensors_files.Tensor]) -> dict[str, Source]:
    return {key: Stored(tensor) for key, tensor in found.items()}


def _unpickled(files: Sequence[Path], scratch: Path, *, is_dry: bool) -> list[dict[str, Source]]:
    out = None if is_dry else scratch / f"unpickled-{len(list(scratch.iterdir()))}"
    if out is not None:
        out.mkdir()
    shards: list[dict[str, Source]] = []
    for contents in pickles.convert(files, out, scratch=scratch):
        if contents.written is None:
            shards.append(
                {
                    key: Made(safetensors_files.DTYPES[dtype], shape, contents.file, _no_numbers)
                    for key, (dtype, shape) in contents.tensors.items()
                }
            )
        else:
            shards.append(_stored(safetensors_files.read_header(contents.written)))
    return shards


def _no_numbers() -> np.ndarray:
    raise ValueError("a dry run reads headers alone")


def _check_listed(index: Path, shards: Sequence[Mapping[str, Source]]) -> None:
    listed, found = hf_folder.read_index(index), {key for shard in shards for key in shard}
    for key in sorted(listed.keys() ^ found):
        what = "is in no file" if key in listed else "is in a file and not in the index"
        raise errors.UserError(f"{index}: {mapping.short(key)} {what}; fetch the files again")
