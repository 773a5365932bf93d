"""A checkpoint of ours -> Hugging Face layout, which `transformers` loads with `from_pretrained`.

    HF_DIR/model.safetensors, or model-00001-of-00003.safetensors ... and model.safetensors.index.json
    HF_DIR/config.json, generation_config.json, preprocessor_config.json, tokenizer files ...
    HF_DIR/README.md                 the model card
    HF_DIR/certificate.json          of `m3it weights verify`, where the checkpoint has one

Imported weights get their own files back, and tensors that the model does not compute with. A run gets what its variant
says. Everything is made under another name and renamed at the end.
"""

import dataclasses
import functools
import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from m3it_jax import checkpointing, errors, prompts, safetensors_files, tokenizer
from m3it_jax.checkpoint_conversion.configs import hf_export
from m3it_jax.checkpoint_conversion.files import hf_folder, new_folder, transfer
from m3it_jax.checkpoint_conversion.files.sources import Made, Source, Stored
from m3it_jax.checkpoint_conversion.files.transfer import Move
from m3it_jax.checkpoint_conversion.folders import cards, placeholder, side_files, tokenizer_files
from m3it_jax.checkpoint_conversion.names import families, mapping
from m3it_jax.checkpoint_conversion.names.mapping import Entry
from m3it_jax.config import stored_tiles
from m3it_jax.models import abstract, variants
from m3it_jax.models.variants import Variant

SHARD_BYTES = 5_000_000_000  # what the hub's own models have (transformers 4, max_shard_size "5GB")
CERTIFICATE = "certificate.json"
_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


@dataclasses.dataclass(frozen=True)
class Written:
    """One tensor of the export: what it is made of.

    Attributes:
      key: Its name there.
      shape: Its shape there.
      dtype: Its type there.
      entry: How our parameters make it; None if it is given back as it came.
      carried: The tensor that is given back.
      num_added: Rows at its end that our parameters do not have (`placeholder`).
    """

    key: str
    shape: tuple[int, ...]
    dtype: np.dtype
    entry: Entry | None = None
    carried: Source | None = None
    num_added: int = 0

    @property
    def num_bytes(self) -> int:
        """Size of its data."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclasses.dataclass(frozen=True)
class Plan:
    """An export before it is made.

    Attributes:
      location: The checkpoint.
      variant: The model.
      name: Of the variant, or of the folder.
      family: Which naming the tensors follow.
      origins: Where the weights come from, in words.
      shards: The files and what they hold, {name: tensors}.
      files: JSON files, {name: values}; none for imported weights, which have their own.
      ids: Special ids of the tokenizer; None for imported weights, whose files say them.
    """

    location: checkpointing.Location
    variant: Variant
    name: str
    family: str
    origins: dict[str, str]
    shards: dict[str, list[Written]]
    files: dict[str, dict[str, Any]]
    ids: hf_export.TokenIds | None


def plan(checkpoint: Path, *, dtype: np.dtype | None = None, shard_bytes: int = SHARD_BYTES) -> Plan:
    """Returns what an export will write, from headers alone.

    Args:
      checkpoint: As `checkpointing.locate` takes it.
      dtype: Type of all parameters; None keeps what is stored.
      shard_bytes: Most bytes of a file; a larger tensor has a file of its own.

    Raises:
      UserError: there is no checkpoint, it is damaged, or Hugging Face has no class for it.
    """
    location = checkpointing.locate(checkpoint)
    config = checkpointing.read_config(location)
    tiles = stored_tiles(config)
    if tiles > 1:
        raise errors.UserError(
            f"{location.run}: was trained with model.tiles={tiles}, and no family that is exported cuts pictures so: "
            "transformers would show it whole pictures; export a run with model.tiles=1"
        )
    name = str(config.get("model", {}).get("variant", ""))
    is_own = (location.run / variants.MODEL_FILE).is_file()
    variant = variants.read(location.run) if is_own else variants.named(name)
    entries = families.entries(variant)
    shapes = {path: tuple(leaf.shape) for path, leaf in abstract.parameters(variant).items()}
    mapping.check_map(entries, shapes)
    found = checkpointing.described(location)
    for path, shape in shapes.items():
        if path not in found or found[path][0] != shape:
            held = f"has shape {found[path][0]}" if path in found else "is missing"
            raise errors.UserError(f"{location.run}: parameter {path} {held}, the model needs {shape}")
    told = config.get("weights", {})
    has_files = (location.run / side_files.KEPT / hf_folder.CONFIG_FILE).is_file()
    ids = None if has_files else token_ids(location.run, variant)
    num_added = 0 if ids is None else placeholder.num_added(variant, ids.image)
    tensors = [_written(entry, dtype or found[entry.paths[0]][1], num_added) for entry in entries]
    tensors += _given_back(location, told.get("copies", {}), tensors)
    tensors += _filled_up(variant, tensors)
    grown = placeholder.grown_variant(variant, num_added)
    return Plan(
        location=location,
        variant=variant,
        name=name if name in variants.VARIANTS else location.run.name,
        family=told.get("family") or hf_export.export_family(variant),
        origins=dict(told.get("origins", {"all": f"{location.run.name}, step {location.step}"})),
        shards=_shards(tensors, shard_bytes),
        files={} if ids is None else hf_export.export_files(grown, ids, dtype="float32"),
        ids=ids,
    )


def _written(entry: Entry, dtype: np.dtype, num_added: int) -> Written:
    """Returns the tensor of an entry, with the rows that a vocabulary grows by."""
    if not num_added or entry.paths[0] not in placeholder.VOCABULARY:
        return Written(entry.key, entry.shape, dtype, entry=entry)
    rows, *rest = entry.shape
    return Written(entry.key, (rows + num_added, *rest), dtype, entry=entry, num_added=num_added)


def _given_back(location: checkpointing.Location, copies: dict[str, str], made: list[Written]) -> Iterator[Written]:
    """Yields the tensors that are carried along, and the copies of tied weights that the first files had."""
    carried = location.run / checkpointing.CARRIED_FILE
    if location.is_imported and carried.is_file():
        for key, tensor in safetensors_files.read_header(carried).items():
            yield Written(key, tensor.shape, tensor.dtype, carried=Stored(tensor))
    by_key = {tensor.key: tensor for tensor in made}
    for key, original in copies.items():
        yield dataclasses.replace(by_key[original], key=key)


def _filled_up(variant: Variant, made: list[Written]) -> Iterator[Written]:
    """Yields tensors that `transformers` asks for and the model never had."""
    keys, dtype = {tensor.key for tensor in made}, made[0].dtype
    for key, (shape, value) in hf_export.fillers(variant).items():
        if key not in keys:
            source = Made(dtype, shape, Path(key), functools.partial(np.full, shape, value, dtype))
            yield Written(key, shape, dtype, carried=source)


def token_ids(run: Path, variant: Variant) -> hf_export.TokenIds:
    """Returns the special ids of the tokenizer beside a checkpoint; without one those of LLaMA stand in the files."""
    path, size = tokenizer.find(run), variant.decoder.vocab_size
    own = tokenizer.Tokenizer.load(path) if path.is_file() else tokenizer.NoTokenizer(path, size)
    stops = prompts.FORMATS[variant.prompt].stops
    ends = [own.eos_id] + [
        index
        for index in range(own.vocab_size)
        if index != own.eos_id and any(stop.encode() in own.token_bytes(index) for stop in stops)
    ]
    bos = None if own.bos_id < 0 else own.bos_id
    return hf_export.TokenIds(bos=bos, eos=tuple(ends), pad=own.pad_id, image=own.image_id)


def _shards(tensors: list[Written], shard_bytes: int) -> dict[str, list[Written]]:
    groups: list[list[Written]] = [[]]
    size = 0
    for tensor in tensors:
        if groups[-1] and size + tensor.num_bytes > shard_bytes:
            groups.append([])
            size = 0
        groups[-1].append(tensor)
        size += tensor.num_bytes
    if len(groups) == 1:
        return {"model.safetensors": groups[0]}
    return {f"model-{number:05d}-of-{len(groups):05d}.safetensors": group for number, group in enumerate(groups, 1)}


def convert(found: Plan, out: Path, *, finished: Callable[[int, int], None] = lambda done, total: None) -> None:
    """Writes the folder of a plan.

    Args:
      found: The plan.
      out: A folder that does not exist yet.
      finished: Is told (bytes written, bytes in all), from any thread.

    Raises:
      UserError: `out` exists, or the disk has too little room.
    """
    total = sum(tensor.num_bytes for group in found.shards.values() for tensor in group)
    with new_folder.made_whole(out) as folder:
        new_folder.check_room(folder.parent, total)
        transfer.run(_moves(found, folder), finished=transfer.counter(total, finished))
        if len(found.shards) > 1:
            listed = {tensor.key: name for name, group in found.shards.items() for tensor in group}
            index = {"metadata": {"total_size": total}, "weight_map": listed}
            new_folder.write_json(folder / "model.safetensors.index.json", index)
        _write_side_files(found, folder)


def _moves(found: Plan, folder: Path) -> Iterator[Move]:
    """Makes the files at their size, and yields the moves that fill them."""
    params = _parameters(found.location)
    for name, group in found.shards.items():
        layout = [(tensor.key, tensor.dtype, tensor.shape) for tensor in group]
        places = safetensors_files.create(folder / name, layout, metadata={"format": "pt"})
        for tensor in group:
            place, entry = places[tensor.key], tensor.entry
            if entry is None:
                assert tensor.carried is not None
                yield transfer.whole_move(tensor.carried, place)
                continue
            size = math.prod(entry.piece_shape)
            axes = entry.axes or tuple(range(len(entry.piece_shape)))
            for number, path in enumerate(entry.paths):
                yield Move(
                    source=params[path],
                    begin=(entry.layer or 0) * size,
                    shape=tuple(entry.piece_shape[axis] for axis in axes),
                    axes=tuple(int(axis) for axis in np.argsort(axes)),
                    path=place.path,
                    offset=place.offset + number * size * place.dtype.itemsize,
                    dtype=place.dtype,
                )
            if tensor.num_added and found.ids is not None:
                (path,) = entry.paths
                new = placeholder.added_rows(params[path], path, count=tensor.num_added, pad_id=found.ids.pad)
                offset = place.offset + math.prod(entry.shape) * place.dtype.itemsize
                yield dataclasses.replace(transfer.whole_move(new, place), offset=offset)


def _parameters(location: checkpointing.Location) -> dict[str, Source]:
    if location.is_imported:
        return {path: Stored(tensor) for path, tensor in checkpointing.imported_tensors(location).items()}
    leaves = checkpointing.restore_leaves(location)
    return {path: _held(leaf, location.folder) for path, leaf in leaves.items()}


def _held(leaf: np.ndarray, folder: Path) -> Made:
    return Made(leaf.dtype, leaf.shape, folder, lambda: leaf)


def _write_side_files(found: Plan, folder: Path) -> None:
    run = found.location.run
    kept = run / side_files.KEPT
    for path in side_files.kept_files(kept) if kept.is_dir() else []:
        target = folder / path
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(kept / path, target)
    for name, values in found.files.items():
        new_folder.write_json(folder / name, values)
    if not kept.is_dir():
        tokenizer_files.give(run, folder)
    if found.ids is not None:
        tokenizer_files.add_placeholder(folder, found.ids.image)
    _say_dtype(found, folder / hf_folder.CONFIG_FILE)
    if (run / CERTIFICATE).is_file():
        shutil.copyfile(run / CERTIFICATE, folder / CERTIFICATE)
    config = hf_folder.read_json(folder / hf_folder.CONFIG_FILE)
    card = cards.of_export(
        found.name,
        found.variant,
        model_class=str((config.get("architectures") or ["AutoModel"])[0]),
        origins=found.origins,
        shapes={tensor.key: tensor.shape for group in found.shards.values() for tensor in group},
    )
    (folder / "README.md").write_text(card, "utf-8")


def _say_dtype(found: Plan, path: Path) -> None:
    """Writes the type of the weights into config.json where it says another: `transformers` loads them as that."""
    largest = max((tensor for group in found.shards.values() for tensor in group), key=lambda one: one.num_bytes)
    dtype = _DTYPES.get(safetensors_files.NAMES[largest.dtype], "float32")
    values = hf_folder.read_json(path)
    text = json.dumps(values)
    for part in (values, *(value for value in values.values() if isinstance(value, dict))):
        for name in ("dtype", "torch_dtype"):
            if part.get(name) not in (None, dtype):
                part[name] = dtype
    if json.dumps(values) != text:
        new_folder.write_json(path, values)
