"""The entries of packed rows -> the arrays of a batch: records read, asked, laid out; each picture decoded once."""

import collections
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from m3it_jax import errors, records, rng, schema
from m3it_jax.input_pipeline.order import token_lengths
from m3it_jax.input_pipeline.order.mixture import IntArray
from m3it_jax.input_pipeline.order.packed_plan import PackedPlan
from m3it_jax.input_pipeline.pixels import preprocessing
from m3it_jax.input_pipeline.rows import packing, record_rows
from m3it_jax.records.framing import BrokenRecordError

Batch = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class PackedBatches:
    """What packed rows are made of.

    Attributes:
      plan: The order.
      rules: What a record's row depends on.
      tables: Of each source.
      pools: Instructions of each source.
      seed: Decides how pictures are augmented.
      image_size: Side of the pictures, pixels.
      images: Returns a record's pictures, tiles and overviews, uint8 [slots, h, w, 3], by the record and its chance.
      reading: Returns what the Q-Former reads beside a record's pictures, by instruction and inputs; or nothing.
      on_bad: Called with the id of a record that cannot be read, and why; its row goes without it.
      on_dropped: Called with a source's number and the tokens of a record that did not fit.
    """

    plan: PackedPlan
    rules: token_lengths.Rules
    tables: Sequence[records.RecordTable]
    pools: Sequence[Sequence[str]]
    seed: int
    image_size: int
    images: Callable[[schema.Instance, np.random.Generator], np.ndarray]
    reading: Callable[[str, str], Batch]
    on_bad: Callable[[str, errors.UserError], None]
    on_dropped: Callable[[int, int], None]

    def arrays(self, plain: Sequence[str]) -> list[str]:
        """Returns the arrays of a packed batch, by those of a plain one."""
        shown = [name for name in plain if name != "images" or self.plan.budgets.images]
        return [*shown, "parent_ids", "num_records"]

    def share(self, step: int, process_index: int, process_count: int) -> list[IntArray]:
        """Returns the rows of a step that a host has.

        Raises:
          ConfigError: so many hosts cannot share them.
        """
        self.plan.check_divisible(process_count)
        rows = self.plan.step(step)
        size = len(rows) // process_count
        return rows[process_index * size : (process_index + 1) * size]

    def batch(self, rows: Sequence[IntArray]) -> Batch:
        """Returns the arrays of rows, each given by its entries; see `pipeline.Pipeline.batches`.

        Raises:
          UserError: a record cannot be read, or is not what its lengths say; the message names it.
        """
        made = [self._row(entries) for entries in rows]
        batch = {name: np.stack([row[name] for row in made]) for name in made[0]}
        flat = ("images", "text_ids", "text_mask")  # one for each slot
        return {name: array.reshape(-1, *array.shape[2:]) if name in flat else array for name, array in batch.items()}

    def ids(self, entries: IntArray) -> list[str]:
        """Returns the ids of a row's records, in their order."""
        return [str(self.tables[source].ids[record]) for source, record in entries[:, :2].tolist()]

    def _row(self, entries: IntArray) -> Batch:
        slots = self.plan.budgets.images
        images = np.zeros((slots, self.image_size, self.image_size, 3), np.uint8)
        groups, used = [], 0
        texts: dict[str, list[np.ndarray]] = collections.defaultdict(list)
        for members in _groups(entries):
            rows: list[packing.Row] = []
            sources, shown = [], 0
            for source, number, epoch, drawn in members:
                try:
                    instance = self.tables[source].read(number)
                    if not rows and slots and instance.images:
                        chance = rng.generator(self.seed, "row", instance.id, epoch)
                        found = self.images(instance, chance)
                        shown = len(found)
                        images[used : used + shown] = found
                except (BrokenRecordError, preprocessing.PictureError) as error:
                    # Another record would be of another length: the row goes without this one.
                    self.on_bad(str(self.tables[source].ids[number]), error)
                    continue
                try:
                    row, instruction = self._record(instance, source, number, drawn=drawn)
                except errors.UserError as error:
                    raise errors.UserError(f"record {instance.id}: {error}") from error
                if not rows:
                    for name, array in self.reading(instruction, instance.inputs).items():
                        texts[name] += [array] * shown
                rows.append(row)
                sources.append(source)
            if rows:
                groups.append(packing.Group(rows, sources, shown))
                used += shown
        row = packing.packed_row(
            groups, row_len=self.plan.budgets.tokens, row_images=slots, picture_len=self.rules.layout.picture_len
        )
        for name, empty in self._no_reading().items():
            row[name] = np.stack([*texts[name], *[empty] * (slots - used)])
        return row | {"images": images} if slots else row

    def _record(self, instance: schema.Instance, source: int, number: int, *, drawn: int) -> tuple[packing.Row, str]:
        """Returns a record's row without padding, and the instruction with which it is asked."""
        filled = record_rows.suitable(instance, self.pools[source]) if drawn else []
        instruction = filled[drawn - 1] if filled else instance.instruction
        text = self.rules.text(instance, instruction)
        row = self.rules.row(instance, text)
        planned = self.plan.tokens(source, number, drawn)
        if len(row["token_ids"]) != planned:
            raise errors.UserError(
                f"has {len(row['token_ids'])} tokens, the lengths beside the data say {planned}; the records were "
                f"changed under their fingerprint: delete the folder {token_lengths.FOLDER}, or build the data again"
            )
        if text.num_dropped:
            self.on_dropped(source, text.num_dropped)
        return row, instruction

    def _no_reading(self) -> Batch:
        """Returns what stands beside an empty slot where the Q-Former reads text: nothing that is real."""
        length = self.rules.layout.qformer_text_len if self.plan.budgets.images else 0
        return {"text_ids": np.zeros(length, np.int32), "text_mask": np.zeros(length, bool)} if length else {}


def _groups(entries: IntArray) -> Iterator[list[tuple[int, int, int, int]]]:
    """Yields the (source, record, epoch, instruction) of each group's records."""
    for _, members in itertools.groupby(entries.tolist(), key=lambda entry: entry[4]):
        yield [tuple(entry[:4]) for entry in members]
