"""Checkpoints: saved and restored by Orbax, found by path; imported weights, and the towers that ship with the package.

A run's arrays are Orbax' own. A folder of imported weights holds safetensors files, whose arrays are mapped and read
from disk where they are touched, so that a large model never lies in host memory beside its place on the devices.
"""

import contextlib
import dataclasses
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp

from m3it_jax import (
    adapter_weights,
    checkpoint_hashes,
    errors,
    file_safety,
    parameter_paths,
    safetensors_files,
    tokenizer,
    tower_files,
)

PACKAGE_PREFIX = "package:"
TOWERS = Path(__file__).parent / "towers"
CONFIG_FILE = "config.json"
CARRIED_FILE = "carried.safetensors"  # of imported weights: what the model does not compute with

_HASHED = "hashed"  # in the position of a step that has `hashes.json`: steps saved before had none
_ASIDE = "broken-"  # how the name of a step's folder begins that cannot be used; Orbax passes over it
_ALIGN = 64  # bytes: where XLA takes an array of the host in place (xla/cpu_function_runtime.h, MinAlign)
_LEAST_SLICE = 1 << 20  # bytes that each copy of a replicated array writes; of a smaller one, one copy writes it all

Leaf = TypeVar("Leaf")


@dataclasses.dataclass(frozen=True)
class Location:
    """One saved checkpoint: `run` holds config.json and tokenizer.model, `run/checkpoints/<step>` the arrays.

    Imported weights have no steps: their arrays lie in `run/params/<part>.safetensors`, and `step` is 0.
    """

    run: Path
    step: int
    is_imported: bool = False

    @property
    def folder(self) -> Path:
        """The folder that holds `params`."""
        return self.run if self.is_imported else self.run / "checkpoints" / str(self.step)


def open_manager(run_dir: Path, keep: int) -> ocp.CheckpointManager:
    """Returns Orbax' manager of a run's checkpoints; a save that was cut off is never listed as a step."""
    # By default each copy of a replicated array writes a slice of it, however small: a program to compile for each.
    registry = ocp.type_handlers.create_type_handler_registry(
        (jax.Array, ocp.type_handlers.ArrayHandler(min_slice_bytes_for_replica_parallel=_LEAST_SLICE)),
        (np.ndarray, ocp.type_handlers.NumpyHandler()),
    )
    handler = ocp.PyTreeCheckpointHandler(type_handler_registry=registry)
    handlers = ocp.DefaultCheckpointHandlerRegistry()
    for args in (ocp.args.PyTreeSave, ocp.args.PyTreeRestore):
        handlers.add(None, args, handler)
    options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True, enable_async_checkpointing=False)
    return ocp.CheckpointManager((run_dir / "checkpoints").absolute(), options=options, handler_registry=handlers)


def save(manager: ocp.CheckpointManager, step: int, items: Mapping[str, Any], *, position: Mapping[str, Any]) -> None:
    """Saves named trees of arrays and the JSON values of the data position as one step, and the hashes of its files.

    Raises:
      UserError: the disk is full or the folder cannot be written.
    """
    named = {name: ocp.args.PyTreeSave(tree) for name, tree in items.items()}
    try:
        position = {**position, _HASHED: True}
        manager.save(step, args=ocp.args.Composite(**named, position=ocp.args.JsonSave(position)))
        manager.wait_until_finished()
        if jax.process_index() == 0:
            checkpoint_hashes.write(Path(manager.directory) / str(step))
    except (OSError, ValueError, RuntimeError) as error:
        raise errors.UserError(
            f"{manager.directory}: step {step} could not be saved ({_first_line(error)}); the earlier checkpoints are "
            "whole. Make room or fix the permissions, then run the same command again"
        ) from error


def restore(
    manager: ocp.CheckpointManager, step: int, items: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the named trees of a step, placed as the abstract arrays in `items` say, and its data position.

    Raises:
      UserError: the step is damaged or holds arrays of other shapes.
    """
    places = ocp.checkpoint_utils.construct_restore_args
    named = {name: ocp.args.PyTreeRestore(tree, restore_args=places(tree)) for name, tree in items.items()}
    try:
        restored = manager.restore(step, args=ocp.args.Composite(**named, position=ocp.args.JsonRestore()))
    except (OSError, ValueError, KeyError) as error:
        raise errors.UserError(
            f"{manager.directory / str(step)}: cannot be restored ({_first_line(error)}); if it is damaged, delete "
            "that folder and run the same command again: it goes on from the step before"
        ) from error
    return {name: restored[name] for name in items}, restored["position"]


def locate(path: str | Path) -> Location:
    """Returns the checkpoint that a path means.

    A run folder means its newest step, a quick-start folder its stage 2, `RUN/checkpoints/<step>` that step, and a
    folder made by `m3it weights import` itself.

    Raises:
      UserError: there is no checkpoint.
    """
    file_safety.check_local(path, "checkpoint")
    path = Path(path).absolute()
    if (path / CONFIG_FILE).is_file() and any((path / "params").glob("*.safetensors")):
        return Location(path, 0, is_imported=True)
    if path.name.isdigit() and path.parent.name == "checkpoints" and (path / "params").is_dir():
        return Location(path.parent.parent, int(path.name))
    run = path if (path / CONFIG_FILE).is_file() or not (path / "stage2").is_dir() else path / "stage2"
    step = newest_step(run)
    if step is None or not (run / CONFIG_FILE).is_file():
        raise errors.UserError(
            f"{path}: no checkpoint here; give a run folder (with config.json and checkpoints/), a quick-start folder, "
            "one folder of checkpoints/ or one made by `m3it weights import`"
        )
    return Location(run, step)


def newest_step(run_dir: Path) -> int | None:
    """Returns the newest finished step in a run folder, or None if nothing was saved there."""
    folder = run_dir / "checkpoints"
    # Orbax writes under another name and renames at the end; the hashes are the last that a step gets.
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    steps = sorted((int(name) for name in names if name.isdigit()), reverse=True)
    return next((step for step in steps if not _was_cut_off(folder / str(step))), None)


def _was_cut_off(folder: Path) -> bool:
    if (folder / checkpoint_hashes.FILE).exists():
        return False
    try:
        return bool(json.loads((folder / "position" / "metadata").read_text("utf-8")).get(_HASHED))
    except (OSError, ValueError, AttributeError):
        return False  # of an older run, or damaged: whoever restores it is told


def set_aside_broken(run_dir: Path) -> list[str]:
    """Renames the newest steps of a run that were cut off or are damaged, so that the one before them is the newest.

    Only the process that holds the run folder may call it.

    Returns:
      A line for each folder that was renamed.

    Raises:
      UserError: no sound step is left, so the run would begin anew without a word.
    """
    folder = run_dir / "checkpoints"
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    steps = sorted((int(name) for name in names if name.isdigit()), reverse=True)
    broken: dict[Path, str] = {}
    for step in steps:
        if not (found := _problem(folder / str(step))):
            break
        broken[folder / str(step)] = found
    for place, found in broken.items():
        if len(broken) == len(steps) and not _was_cut_off(place):
            raise errors.UserError(f"{place}: {found}, and no earlier step is left; start in another --run-dir")
    told = []
    for place, found in broken.items():
        names = [f"{_ASIDE}{place.name}", *(f"{_ASIDE}{place.name}-{number}" for number in range(2, 1_000))]
        aside = next(name for name in names if not (folder / name).exists())
        place.rename(folder / aside)
        told.append(f"{place}: {found}; it is kept as {aside}, training resumes from the step before")
    return told


def _problem(folder: Path, below: str = "") -> str:
    """Returns what is wrong with a step's files; nothing where they hold, or where the step has no hashes."""
    if (folder / checkpoint_hashes.FILE).exists() or _was_cut_off(folder):
        return checkpoint_hashes.problem(folder, below)
    return ""


def _check_hashes(folder: Path, below: str) -> None:
    if found := _problem(folder, below):
        raise errors.UserError(f"{folder}: {found}; take an earlier step, or copy the folder anew")


def read_config(location: Location) -> dict[str, Any]:
    """Returns the resolved configuration of the run, as JSON values.

    Raises:
      UserError: config.json is no JSON object.
    """
    path = location.run / CONFIG_FILE
    try:
        config = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise errors.UserError(f"{path}: is no JSON ({error}); restore it or train again") from error
    if not isinstance(config, dict):
        raise errors.UserError(f"{path}: holds no JSON object; restore it or train again")
    return config


def read_position(location: Location) -> dict[str, Any]:
    """Returns the data position that was saved with a checkpoint.

    Raises:
      UserError: it is damaged.
    """
    with _told_of(location.folder), ocp.Checkpointer(ocp.JsonCheckpointHandler()) as checkpointer:
        return dict(checkpointer.restore((location.folder / "position").absolute()))


def restore_params(path: str | Path) -> tuple[dict[str, Any], dict[str, Any], int]:
    """Returns (nested parameters as numpy arrays, configuration, step) of a checkpoint; see `locate` for the path.

    The arrays of imported weights are read-only and mapped from their files.

    Raises:
      UserError: there is no checkpoint, or it is damaged.
    """
    location = locate(path)
    return parameter_paths.unflatten(restore_leaves(location)), read_config(location), location.step


def restore_leaves(location: Location) -> dict[str, np.ndarray]:
    """Returns {path: array} of a checkpoint's parameters, adapters merged, in host memory or mapped from disk.

    Raises:
      UserError: it is damaged.
    """
    return adapter_weights.merged(stored_leaves(location))


def stored_leaves(location: Location) -> dict[str, np.ndarray]:
    """Returns {path: array} as `restore_leaves` does, adapters beside their kernels.

    Raises:
      UserError: it is damaged.
    """
    if location.is_imported:
        return {path: tensor.mapped() for path, tensor in imported_tensors(location).items()}
    _check_hashes(location.folder, "params/")
    folder = location.folder / "params"
    with _told_of(folder), ocp.StandardCheckpointer() as checkpointer:
        places = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), _metadata(checkpointer, folder))
        return parameter_paths.flatten(checkpointer.restore(folder, places))


def imported_tensors(location: Location) -> dict[str, safetensors_files.Tensor]:
    """Returns {path: where it lies} of imported weights.

    Raises:
      UserError: a file is damaged.
    """
    files = sorted((location.folder / "params").glob("*.safetensors"))
    return {path: tensor for file in files for path, tensor in safetensors_files.read_header(file).items()}


def described(location: Location) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Returns {path: (shape, type)} of what `restore_leaves` returns; no array is read.

    Raises:
      UserError: it is damaged.
    """
    if location.is_imported:
        return {path: (one.shape, one.dtype) for path, one in imported_tensors(location).items()}
    folder = location.folder / "params"
    with _told_of(folder), ocp.StandardCheckpointer() as checkpointer:
        leaves = parameter_paths.flatten(_metadata(checkpointer, folder))
    kept = {path: leaf for path, leaf in leaves.items() if not adapter_weights.kernel_of(path)}
    return {path: (tuple(leaf.shape), np.dtype(leaf.dtype)) for path, leaf in kept.items()}


def placed(array: np.ndarray, dtype: Any, sharding: jax.sharding.Sharding) -> jax.Array:
    """Returns an array in its place on the devices, as numbers of `dtype`.

    Each device's share is read by itself, so that the host holds one share at a time of an array mapped from disk.
    """

    def share(index: tuple[slice, ...] | None) -> np.ndarray:
        piece = array[index]
        if piece.dtype == dtype:
            return piece
        # Aligned memory is taken in place on the CPU, where a second copy would be the largest of all.
        room = np.empty(piece.size * jax.numpy.dtype(dtype).itemsize + _ALIGN, np.uint8)
        begin = -room.ctypes.data % _ALIGN
        converted = room[begin : room.size - _ALIGN + begin].view(dtype).reshape(piece.shape)
        converted[...] = piece
        return converted

    return jax.make_array_from_callback(array.shape, sharding, share)


@contextlib.contextmanager
def _told_of(folder: Path) -> Iterator[None]:
    logging.getLogger("absl").addFilter(_is_of_use)
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        raise errors.UserError(f"{folder}: cannot be restored ({_first_line(error)}); take an earlier step") from error
    finally:
        logging.getLogger("absl").removeFilter(_is_of_use)


def _is_of_use(record: logging.LogRecord) -> bool:  # Orbax warns of a file that only its newer versions write
    return "Metadata file does not exist" not in record.getMessage()


def _metadata(checkpointer: ocp.StandardCheckpointer, folder: Path) -> Any:
    """Returns the tree of shapes and dtypes of saved parameters; Orbax notes it without a word if there is none."""
    found = checkpointer.metadata(folder).item_metadata
    if found is None:
        raise ValueError("no parameters are described there")
    return found.tree


def load_part(source: str, part: str) -> dict[str, np.ndarray]:
    """Returns {path: array} of one part of the model (`vit`, ..., or `all`) for the start of another run.

    Args:
      source: `package:<name>` for shipped towers, else a path that `locate` understands.
      part: First component of the parameter paths to take.

    Raises:
      UserError: there are no such weights.
    """
    if source.startswith(PACKAGE_PREFIX):
        leaves = tower_files.read(TOWERS / source.removeprefix(PACKAGE_PREFIX), part)
    else:
        leaves = restore_leaves(locate(source))
    return _chosen(leaves, source, part)


def part_shapes(source: str, part: str) -> dict[str, tuple[int, ...]]:
    """Returns {path: shape} of what `load_part` returns; no array is read.

    Raises:
      UserError: there are no such weights.
    """
    if source.startswith(PACKAGE_PREFIX):
        return tower_files.shapes(TOWERS / source.removeprefix(PACKAGE_PREFIX), part)
    return _chosen({path: shape for path, (shape, _) in described(locate(source)).items()}, source, part)


def _chosen(leaves: Mapping[str, Leaf], source: str, part: str) -> dict[str, Leaf]:
    chosen = {path: leaf for path, leaf in leaves.items() if part in ("all", path.split("/")[0])}
    if not chosen:
        parts = sorted({path.split("/")[0] for path in leaves})
        raise errors.UserError(f"init_from: {source} holds no part {part!r}; it holds {', '.join(parts)}")
    return chosen


def tokenizer_path(source: str) -> Path:
    """Returns the tokenizer that belongs to shipped towers (`package:<name>`), or the path itself."""
    if source.startswith(PACKAGE_PREFIX):
        return TOWERS / source.removeprefix(PACKAGE_PREFIX) / "tokenizer.model"
    return Path(source)


def source_tokenizer(source: str) -> Path:
    """Returns the tokenizer whose ids the weights of a source (as `load_part` takes it) were trained on.

    Raises:
      UserError: there is no checkpoint.
    """
    return tokenizer_path(source) if source.startswith(PACKAGE_PREFIX) else tokenizer.find(locate(source).run)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
