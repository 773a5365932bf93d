"""Hugging Face layout -> a folder of ours: parameters stacked and turned, nothing lost on the way.

    OUT/config.json, model.json      which model it is
    OUT/params/<part>.safetensors    parameters under our paths
    OUT/carried.safetensors          tensors that the model does not compute with, given back at export
    OUT/tokenizer.model|json         and qformer_tokenizer.json where there is one
    OUT/hf/                          the other files of the folder as they were, given back at export
    OUT/README.md                    what came from where

Everything is made under another name beside OUT and renamed at the end; what an interrupt leaves is removed.
"""

import codecs
import collections
import dataclasses
import math
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from m3it_jax import checkpointing, errors, safetensors_files
from m3it_jax.checkpoint_conversion.files import hf_folder, new_folder, sources, transfer
from m3it_jax.checkpoint_conversion.files.sources import Made, Source
from m3it_jax.checkpoint_conversion.files.transfer import Move
from m3it_jax.checkpoint_conversion.folders import cards, planning, remarks, side_files
from m3it_jax.checkpoint_conversion.folders.planning import Plan
from m3it_jax.checkpoint_conversion.names import mapping
from m3it_jax.models import abstract, variants

FORMAT = 1  # of the folder; raised when an older program could not read it


def describe(source: Path, *, dtype: np.dtype | None = None) -> Plan:
    """Returns what `convert` would do, from headers alone.

    Raises:
      UserError: as `planning.plan`.
    """
    with tempfile.TemporaryDirectory() as scratch:
        return _remarked(planning.plan(source, dtype=dtype, scratch=Path(scratch), is_dry=True))


def convert(
    source: Path,
    out: Path,
    *,
    dtype: np.dtype | None = None,
    finished: Callable[[int, int], None] = lambda done, total: None,
) -> Plan:
    """Makes the folder `out` from a Hugging Face folder or a file of parts, and returns what was done.

    Args:
      source: The folder, or the JSON file (`parts`).
      out: A folder that does not exist yet.
      dtype: Type of all parameters; None keeps what is stored.
      finished: Is told (bytes written, bytes in all), from any thread.

    Raises:
      UserError: files are missing, broken or of another model; `out` exists; the disk has too little room.
      ConfigError: the file of parts is wrong.
    """
    with new_folder.made_whole(out) as folder:
        work = folder.parent
        scratch = work / "scratch"
        scratch.mkdir()
        found = _remarked(planning.plan(source, dtype=dtype, scratch=scratch))
        total = _num_bytes(found)
        new_folder.check_room(work, total)
        moves = [*_create_params(found, folder / "params"), *_create_carried(found, folder)]
        transfer.run(moves, finished=transfer.counter(total, finished))
        _check_copies(found)
        side_files.copy(found.folder, found.tokenizer, folder)
        _without_marks(folder)
        variants.write(found.variant, folder)
        _write_config(found, folder)
        (folder / "README.md").write_text(cards.of_import(found), "utf-8")
    return found


def _remarked(found: Plan) -> Plan:
    """Returns the plan with what is to be told beside it, after a look at the tokenizers."""
    for place in dict.fromkeys(filter(None, (found.folder, found.tokenizer))):
        for path in side_files.kept_files(place):
            hf_folder.check_fetched(place / path)
    side_files.check_tokenizers(found.tokenizer, found.variant)
    notes = remarks.of_folder(found.folder or found.tokenizer, found.tokenizer, found.variant, stop_ids=found.stop_ids)
    return dataclasses.replace(found, notes=(*found.notes, *notes))


def _num_bytes(found: Plan) -> int:
    params = sum(math.prod(shape) * found.dtypes[path].itemsize for path, shape in found.shapes.items())
    return params + sum(_size(found.tensors[key]) for key in _carried(found))


def _size(source: Source) -> int:
    return math.prod(source.shape) * source.dtype.itemsize


def _carried(found: Plan) -> list[str]:
    """Returns the keys that are carried: what is unused and no copy of something else."""
    return [key for key, row in found.unused.items() if not row.copy_of]


def _create_params(found: Plan, folder: Path) -> Iterator[Move]:
    """Makes the files of all parts at their size, and yields the moves that fill them in the order of the tensors."""
    folder.mkdir()
    places: dict[str, safetensors_files.Tensor] = {}
    parts: dict[str, list[str]] = collections.defaultdict(list)
    for path in found.shapes:
        parts[planning.part_of(path)].append(path)
    for part, paths in parts.items():
        layout = [(path, found.dtypes[path], found.shapes[path]) for path in paths]
        places |= safetensors_files.create(folder / f"{part}.safetensors", layout)
    order = {key: number for number, key in enumerate(found.tensors)}
    for entry in sorted(found.entries, key=lambda entry: order[entry.key]):
        size = math.prod(entry.piece_shape)
        for number, path in enumerate(entry.paths):
            place = places[path]
            yield Move(
                source=found.tensors[entry.key],
                begin=number * size,
                shape=entry.piece_shape,
                axes=entry.axes,
                path=place.path,
                offset=place.offset + (entry.layer or 0) * size * place.dtype.itemsize,
                dtype=place.dtype,
                name=entry.key,
            )
    values = abstract.fresh(found.variant, found.fresh, seed=found.seed) if found.fresh else {}
    for path, value in values.items():
        yield transfer.whole_move(Made(value.dtype, value.shape, folder, value.copy), places[path])


def _create_carried(found: Plan, folder: Path) -> Iterator[Move]:
    carried = {key: found.tensors[key] for key in _carried(found)}
    if carried:
        layout = [(key, source.dtype, source.shape) for key, source in carried.items()]
        places = safetensors_files.create(folder / checkpointing.CARRIED_FILE, layout)
        for key, source in carried.items():
            yield transfer.whole_move(source, places[key])


def _check_copies(found: Plan) -> None:
    """Refuses a tied weight whose copy holds other numbers: the model would compute with one of the two alone."""
    for key, row in found.unused.items():
        original = mapping.original_of(key, row)
        if original and not _same(found.tensors[key], found.tensors[original]):
            raise errors.UserError(
                f"{found.tensors[key].origin}: {key} must hold the same numbers as {original} ({row.reason}), and does "
                "not; the file belongs to another model"
            )


def _same(first: Source, second: Source) -> bool:
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    size, step = math.prod(first.shape), 1 << 20
    with first.opened() as one, second.opened() as other:
        for begin in range(0, size, step):
            ours, theirs = (sources.block(terms, begin, min(begin + step, size)) for terms in (one, other))
            if not np.array_equal(ours.view(np.uint8), theirs.view(np.uint8)):
                return False
    return True


def _without_marks(folder: Path) -> None:
    """Takes byte order marks off JSON files: transformers reads none that has one, so an export could not be opened."""
    for path in folder.rglob("*.json"):
        with open(path, "rb") as file:
            is_marked = file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8
        if is_marked:
            path.write_bytes(path.read_bytes().removeprefix(codecs.BOM_UTF8))


def _write_config(found: Plan, folder: Path) -> None:
    copies = {key: mapping.original_of(key, row) for key, row in found.unused.items() if row.copy_of}
    config = {
        "model": {"variant": found.variant_name, "compute_dtype": "float32"},
        "weights": {
            "format": FORMAT,
            "family": found.family,
            "origins": found.origins,
            "carried": {key: found.unused[key].reason for key in _carried(found)},
            "copies": copies,
            "stop_ids": list(found.stop_ids),
        },
    }
    new_folder.write_json(folder / checkpointing.CONFIG_FILE, config)


def told(found: Plan) -> dict[str, Any]:
    """Returns what an import does or did, as JSON values."""
    parts: dict[str, Any] = {}
    for path, shape in found.shapes.items():
        part = planning.part_of(path)
        origin = found.origins.get(part, found.origins.get("all", ""))
        row = parts.setdefault(part, {"parameters": 0, "dtypes": [], "origin": origin})
        row["parameters"] += math.prod(shape)
        row["dtypes"] = sorted({*row["dtypes"], safetensors_files.NAMES[found.dtypes[path]]})
    return {
        "variant": found.variant_name,
        "family": found.family,
        "parts": parts,
        "bytes": _num_bytes(found),
        "unused": {key: row.reason for key, row in found.unused.items()},
        "notes": list(found.notes),
    }
