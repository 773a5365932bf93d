"""Pictures that a run keeps out of training to validate on, where a data folder has no validation split of its own."""

import functools
import hashlib

import numpy as np
import numpy.typing as npt

from m3it_jax import config as configuration
from m3it_jax import progress, records, rng, schema

IntArray = npt.NDArray[np.int64]


def part(
    folder: records.DataFolder, data: configuration.DataConfig, source: str, *, seed: int
) -> tuple[str, IntArray | None]:
    """Returns the split in which a source's rows of `data.split` lie, and which of its records they are (None: all).

    With `data.validation_share`, a source without a validation split is divided by picture: all records of a picture
    are either trained on or validated on. The division depends on the seed and the pictures alone.

    Raises:
      UserError: a record cannot be read.
    """
    if not data.validation_share or folder.sources[source].splits.get("validation"):
        return data.split, None
    if not folder.sources[source].splits.get("train"):
        return data.split, None
    is_held = _held(folder, source, share=data.validation_share, seed=seed)
    return "train", np.flatnonzero(is_held == (data.split == "validation")).astype(np.int64)


# Both pipelines of a run ask, and of each its plan and its tables.
@functools.lru_cache(maxsize=256)
def _held(folder: records.DataFolder, source: str, *, share: float, seed: int) -> npt.NDArray[np.bool_]:
    """Returns for each record of the train split whether its picture is held, shape [records]."""
    table = folder.table(source, "train")
    groups = []
    for number in progress.track(range(len(table)), label=f"{source}: dividing the pictures"):
        groups.append(_group(table.read(number)))
    names = sorted(set(groups), key=lambda name: rng.fold(seed, "validation", source, name))
    # At least one picture on each side; of a single one nothing is held.
    count = min(max(round(share * len(names)), 1), len(names) - 1)
    held = set(names[:count])
    return np.array([name in held for name in groups], bool)


def _group(instance: schema.Instance) -> str:
    """Returns the identity of a record's pictures: the builder's, else their content; without any, the record's own."""
    found = instance.meta.get("group") or (None if instance.images else instance.id)
    return str(found) if found else hashlib.sha256(b"".join(instance.images)).hexdigest()
