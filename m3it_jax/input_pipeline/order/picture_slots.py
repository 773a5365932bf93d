"""How many picture slots each record takes where large pictures are cut: a file beside the data, made once and checked.

Without tiles a picture takes one slot, and the index of a shard says how many pictures a record has. With tiles it
depends on the size of each picture, which stands in its header: every record is read once, no picture is decoded.

    DATA/lengths/SOURCE-SPLIT-slots-FINGERPRINT.npz     (in the user's cache folder, if DATA cannot be written to)
        fingerprint   text
        slots         uint16 [records]
"""

import hashlib
import json
import sys

import numpy as np
import numpy.typing as npt

from m3it_jax import errors, progress, records
from m3it_jax.input_pipeline.order import kept_arrays, token_lengths
from m3it_jax.input_pipeline.pixels import tiling
from m3it_jax.records.framing import BrokenRecordError

VERSION = 1  # of the rule by which pictures are cut, and of the file
_COLUMNS = {"slots": "u2"}
_MOST = np.iinfo(np.uint16).max


def load(folder: records.DataFolder, source: str, split: str, *, cut: tiling.Tiling) -> npt.NDArray[np.int32]:
    """Returns the slots that the pictures of each record of a split take, from their file or counted now and written.

    A record that cannot be read takes those of its pictures as they are, and is refused when its turn comes.

    Raises:
      UserError: a record is of another form than records have, or its pictures take too many slots.
    """
    table = folder.table(source, split)
    if cut.most == 1:
        return np.asarray(table.num_images, np.int32)
    facts = [VERSION, folder.sources[source].fingerprint, split, cut.most, cut.side]
    fingerprint = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    name = f"{source}-{split}-slots-{fingerprint[:12]}.npz"
    places = token_lengths.places(folder)
    for place in places:
        found = kept_arrays.read(place / name, fingerprint, columns=_COLUMNS)
        if found is not None and len(found["slots"]) == len(table):
            return found["slots"].astype(np.int32)
    made = np.zeros(len(table), np.uint16)
    for number in progress.track(range(len(table)), label=f"{source}: counting tiles"):
        made[number] = _slots(table, number, cut)
    if not kept_arrays.write(places, name, fingerprint=fingerprint, arrays={"slots": made}):
        sys.stderr.write(f"m3it: {name}: no folder to keep the tiles in; they are counted again next time\n")
    return made.astype(np.int32)


def _slots(table: records.RecordTable, number: int, cut: tiling.Tiling) -> int:
    try:
        instance = table.read(number)
    except BrokenRecordError:
        return int(table.num_images[number])
    count = sum(grid.slots for grid in tiling.grids(instance, cut))
    if count > _MOST:
        raise errors.UserError(f"record {instance.id}: its pictures take {count} slots, must be at most {_MOST}")
    return count
