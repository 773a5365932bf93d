"""The engine of conversion: ordered entries that say where each Hugging Face tensor lies in our parameters.

A map is a list of `Entry`. It must cover: every key found is used or known as unused with the reason, every parameter
is filled, each exactly once. What does not fit is named. One map serves both directions, so that nothing can be lost on
the way back.
"""

import collections
import dataclasses
import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from m3it_jax import errors
from m3it_jax.safetensors_files import short

_NAMED = 5  # names in one message: enough to see the pattern, few enough to read


@dataclasses.dataclass(frozen=True)
class Entry:
    """One Hugging Face tensor and its place in our parameters.

    Attributes:
      key: Its canonical name, as in the hub's files (transformers 4).
      shape: Its shape there.
      paths: Our parameters that it fills. Several: the tensor is cut evenly along its first axis, as a fused qkv is.
      axes: Which of its axes come first, second, ...: `transpose(axes)` and then a reshape gives our parameter. None
        leaves the order as it is.
      layer: Slot along the first axis of a stacked parameter; None if the parameter is not stacked.
    """

    key: str
    shape: tuple[int, ...]
    paths: tuple[str, ...]
    axes: tuple[int, ...] | None = None
    layer: int | None = None

    @property
    def piece_shape(self) -> tuple[int, ...]:
        """Shape of the share of the tensor that fills one of `paths`."""
        return (self.shape[0] // len(self.paths), *self.shape[1:]) if len(self.paths) > 1 else self.shape

    def piece_to_ours(self, piece: np.ndarray) -> np.ndarray:
        """Returns one piece with its axes in our order; a view, still to be reshaped to the parameter's slot."""
        return piece if self.axes is None else piece.transpose(self.axes)

    def piece_to_hf(self, slot: np.ndarray) -> np.ndarray:
        """Returns the piece that a parameter's slot holds, with its axes in the file's order; a view."""
        if self.axes is None:
            return slot.reshape(self.piece_shape)
        turned = tuple(self.piece_shape[axis] for axis in self.axes)
        return slot.reshape(turned).transpose(np.argsort(self.axes))


@dataclasses.dataclass(frozen=True)
class Unused:
    r"""Keys that the model does not compute with. What they hold is carried along and given back at export.

    Attributes:
      pattern: Regular expression over the whole canonical key.
      reason: Why, for whoever reads the list.
      copy_of: Canonical key (with \1, ... for groups of `pattern`) of a tensor that holds the same numbers: a tied
        weight. It is compared, not carried, and written from there at export. Empty if there is none.
    """

    pattern: str
    reason: str
    copy_of: str = ""


def canonical_keys(keys: Iterable[str], aliases: Sequence[tuple[str, str]], *, where: str) -> dict[str, str]:
    """Returns {canonical key: key as it was found}.

    Args:
      keys: Names as found in the files.
      aliases: Ordered (regular expression over the whole key, replacement); the first that matches is applied.
      where: Files or folder, for the message.

    Raises:
      UserError: two keys are spellings of one.
    """
    compiled = [(re.compile(pattern), replacement) for pattern, replacement in aliases]
    found: dict[str, str] = {}
    for key in keys:
        name = key
        for pattern, replacement in compiled:
            match = pattern.fullmatch(key)
            if match:
                name = match.expand(replacement)
                break
        if name in found:
            raise errors.UserError(
                f"{where}: {short(key)} and {short(found[name])} are two names of one tensor ({short(name)}); "
                "keep one of them"
            )
        found[name] = key
    return found


def unused_row(key: str, unused: Iterable[Unused]) -> Unused | None:
    """Returns the first row that knows a key as unused, or None."""
    return next((row for row in unused if re.fullmatch(row.pattern, key)), None)


def original_of(key: str, row: Unused) -> str:
    """Returns the canonical key of the tensor that `key` is a copy of, by the row that knows it; "" if of none."""
    match = re.fullmatch(row.pattern, key)
    return match.expand(row.copy_of) if match and row.copy_of else ""


def check_map(entries: Sequence[Entry], shapes: Mapping[str, Sequence[int]]) -> None:
    """Checks a map against our parameters: each is filled exactly once, with as many numbers as it holds.

    Args:
      entries: The map of a whole model, or of one part.
      shapes: Our parameters, {path: shape}.

    Raises:
      ValueError: the map itself is wrong; up to 5 places are named.
    """
    counts = collections.Counter(entry.key for entry in entries)
    problems = [f"{key} stands twice" for key, count in counts.items() if count > 1]
    filled: dict[str, list[int | None]] = collections.defaultdict(list)
    for entry in entries:
        if len(entry.paths) > 1 and entry.shape[0] % len(entry.paths):
            problems.append(f"{entry.key} of {entry.shape} cannot be cut into {len(entry.paths)}")
        for path in entry.paths:
            filled[path].append(entry.layer)
            slot = tuple(shapes.get(path, ()))[0 if entry.layer is None else 1 :]
            if path in shapes and math.prod(slot) != math.prod(entry.piece_shape):
                problems.append(f"{entry.key} gives {entry.piece_shape} to {path}, whose slot has {slot}")
    for path, shape in shapes.items():
        layers = sorted(filled.pop(path, []), key=lambda layer: -1 if layer is None else layer)
        is_stacked = any(layer is not None for layer in layers)
        if layers != (list(range(shape[0])) if is_stacked else [None]):
            problems.append(f"{path} of {tuple(shape)} is filled at {layers or 'no place'}")
    problems += [f"{path} is no parameter" for path in filled]
    if problems:
        raise ValueError(f"the map does not cover: {named(problems)}")


def check_cover(
    entries: Sequence[Entry],
    found: Mapping[str, Sequence[int]],
    *,
    unused: Sequence[Unused],
    where: str,
    others: Sequence[str] = (),
) -> dict[str, Unused]:
    """Checks the tensors of a checkpoint against a map and returns {canonical key: row} of those known as unused.

    Args:
      entries: The map.
      found: Tensors of the files, {canonical key: shape}.
      unused: What may be left over, and why.
      where: Files or folder, for the message.
      others: Keys of the files that were taken for those of other parts: a missing one may be among them.

    Raises:
      UserError: keys are missing or unknown, or a tensor has another shape; up to 5 are named.
    """
    wanted = {entry.key: entry for entry in entries}
    missing = [key for key in wanted if key not in found]
    left: dict[str, Unused] = {}
    unknown = []
    for key in found:
        row = None if key in wanted else unused_row(key, unused)
        if row is not None:
            left[key] = row
        elif key not in wanted:
            unknown.append(key)
    if missing:
        near = _nearest(missing, [*unknown, *others])
        raise errors.UserError(
            f"{where}: lacks {named(missing)}{near}; the files belong to another model, or some of them are missing"
        )
    if unknown:
        raise errors.UserError(
            f"{where}: holds {named(unknown)}, which the model does not know; the files belong to another model"
        )
    for key, entry in wanted.items():
        if tuple(found[key]) != entry.shape:
            raise errors.UserError(
                f"{where}: {short(key)} has shape {tuple(found[key])}, its configuration asks for {entry.shape}"
            )
    return left


def _nearest(missing: Sequence[str], unknown: Sequence[str]) -> str:
    """Returns, for a message, the unknown key that ends as a missing one does: most often a prefix is wrong."""
    by_end: dict[str, list[str]] = collections.defaultdict(list)
    for key in unknown:
        by_end[".".join(key.split(".")[-2:])].append(key)
    for key in missing:
        words = key.split(".")
        near = by_end.get(".".join(words[-2:]), [])
        if near:
            best = max(near, key=lambda other: _shared_end(words, other.split(".")))
            return f" (it holds {short(best)} where {short(key)} is wanted)"
    return f" (it holds {short(unknown[0])}, which is not wanted)" if unknown else ""


def _shared_end(first: Sequence[str], other: Sequence[str]) -> int:
    """Returns how many words two names share at their ends."""
    pairs = zip(reversed(first), reversed(other), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def to_ours(
    entries: Iterable[Entry], tensors: Mapping[str, np.ndarray], shapes: Mapping[str, Sequence[int]]
) -> dict[str, np.ndarray]:
    """Returns our parameters {path: array} made from Hugging Face tensors, in host memory: for small models and tests.

    Files are converted tensor by tensor instead (`importing`).
    """
    params: dict[str, np.ndarray] = {}
    for entry in entries:
        tensor = tensors[entry.key]
        pieces = np.split(tensor, len(entry.paths)) if len(entry.paths) > 1 else [tensor]
        for path, piece in zip(entry.paths, pieces, strict=True):
            if path not in params:
                params[path] = np.empty(tuple(shapes[path]), piece.dtype)
            target = params[path] if entry.layer is None else params[path][entry.layer]
            target[...] = entry.piece_to_ours(piece).reshape(target.shape)
    return params


def to_hf(entries: Iterable[Entry], params: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the Hugging Face tensors {canonical key: array} of our parameters, in host memory."""
    tensors = {}
    for entry in entries:
        slots = [params[path] if entry.layer is None else params[path][entry.layer] for path in entry.paths]
        pieces = [entry.piece_to_hf(np.asarray(slot)) for slot in slots]
        joined = np.concatenate(pieces) if len(pieces) > 1 else pieces[0]
        tensors[entry.key] = np.ascontiguousarray(joined).reshape(entry.shape)
    return tensors


def named(names: Sequence[str]) -> str:
    """Returns up to five names for a message, and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(short(name) for name in names[:_NAMED]) + more
