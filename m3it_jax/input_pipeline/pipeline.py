"""Step number -> the rows of this host -> batches of numpy arrays, made ahead of their use by tf.data.

A batch is made by one call that reads the step's records by offset, decodes, augments and lays out tokens; tf.data runs
such calls for several steps at once and hands the batches out in order. Nothing depends on which thread makes which
step, so a batch is a pure function of (data folder, configuration, seed, step, host).
"""

import collections
import contextlib
import threading
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from m3it_jax import config as configuration
from m3it_jax import errors, records, rng, schema
from m3it_jax import tokenizer as tokenization
from m3it_jax.input_pipeline.batches import ahead, packed_batches, row_reading
from m3it_jax.input_pipeline.order import (
    data_fingerprint,
    held_pictures,
    mixture,
    packed_order,
    packed_plan,
    token_lengths,
)
from m3it_jax.input_pipeline.pixels import augmentation, tiling
from m3it_jax.input_pipeline.rows import record_rows, tower_rows, transforms

Batch = dict[str, np.ndarray]

_FIRST_FEW = 16  # records of a source that are looked at for one that shows how it asks

# Arrays of a batch by objective.
_ARRAYS = {
    "response": (
        "images",
        "token_ids",
        "image_token_index",
        "segment_ids",
        "positions",
        "loss_mask",
        "source_index",
    ),
    "towers": ("images", "caption_ids", "attributes", "source_index"),
}
_QFORMER_TEXT = ("text_ids", "text_mask")


class Pipeline:
    """The batches of one training run.

    Attributes:
      plan: Which records stand in which step.
      source_names: Sorted names of the mixture's sources; `source_index` of a batch points into it.
      attribute_names: Sorted names of the data folder's attributes, the columns of `attributes` in a batch.
      max_targets: Most tokens of a row that the loss counts.
      fingerprint: Changes whenever the rows of a step would: kept in a checkpoint and compared on resume.
      parts: Hashes of what the fingerprint depends on, by name, for saying what changed.
      bad_records: Record id -> why it could not be read and its successor took its place.
      dropped_tokens: Source -> tokens that did not fit, over all rows made so far (steps made ahead included).
    """

    def __init__(
        self,
        data_config: configuration.DataConfig,
        *,
        objective: str,
        layout: transforms.Layout,
        image_size: int,
        image_fit: str = "stretch",
        seed: int,
        data_folder: records.DataFolder,
        tokenizer: tokenization.Tokenizer,
        qformer_tokenizer: tokenization.Tokenizer | None = None,
    ):
        """Reads the index files and lays out the order; no record is read yet.

        Args:
          data_config: Mixture, split, sizes and augmentation.
          objective: `response` (rows of tokens) or `towers` (one picture a row with its caption and attributes).
          layout: Where tokens stand in a row.
          image_size: Side of the pictures, pixels.
          image_fit: How they become squares (`preprocessing.FITS`).
          seed: Decides order, augmentation and redrawn instructions.
          data_folder: Where the records are.
          tokenizer: Encodes all texts.
          qformer_tokenizer: Encodes what the Q-Former reads, if it reads text.

        Raises:
          ConfigError: the mixture or its sizes do not suit the data folder.
          UserError: a shard or an index is missing or damaged.
        """
        self._config = data_config
        self._layout = layout
        self._image_size, self._image_fit = image_size, image_fit
        self._seed = seed
        self._tokenizer = tokenizer
        self._qformer_tokenizer = qformer_tokenizer
        self._make = {"response": self._response_batch, "towers": self._tower_batch}[objective]
        with_images = objective == "towers" or data_config.picture_as == "embeddings"
        self._arrays = [name for name in _ARRAYS[objective] if name != "images" or with_images]
        self._reads_text = layout.qformer_text_len > 0 and with_images and objective == "response"
        if self._reads_text:
            self._arrays += _QFORMER_TEXT
        self.plan = self._plan(objective, data_folder)
        self.source_names = self.plan.source_names
        self._splits = [held_pictures.part(data_folder, data_config, name, seed=seed)[0] for name in self.source_names]
        self._tables = [
            data_folder.table(name, split) for name, split in zip(self.source_names, self._splits, strict=True)
        ]
        self._pools = [data_folder.sources[name].instructions for name in self.source_names]
        self._rows = self._reader()
        self._packed = self._packed_batches()
        self._arrays = self._packed.arrays(self._arrays) if self._packed else self._arrays
        labels = data_folder.attributes
        self._labels = {name: {value: label for label, value in enumerate(labels[name])} for name in labels}
        self.attribute_names = sorted(labels)
        self.max_targets = self._max_targets(data_folder) if objective == "response" else 0
        self._take_fingerprints(objective, data_folder)
        self.bad_records = self._rows.bad.told
        self.dropped_tokens: collections.Counter[str] = collections.Counter()
        self._lock = threading.Lock()

    def _reader(self) -> row_reading.RowReader:
        return row_reading.RowReader(
            self.plan,
            self._tables,
            image_size=self._image_size,
            image_fit=self._image_fit,
            max_bad_share=self._config.max_bad_share,
        )

    def _take_fingerprints(self, objective: str, folder: records.DataFolder) -> None:
        tokenizers = [self._tokenizer, *([self._qformer_tokenizer] if self._qformer_tokenizer else [])]
        image = (self._image_size, self._image_fit)
        rows = data_fingerprint.Rows(objective, self._config, self._layout, image, tokenizers, self._seed)
        sources, plan = self.source_names, self.plan.fingerprint
        self.fingerprint = data_fingerprint.whole(rows, folder, sources=sources, plan=plan)
        self.parts = data_fingerprint.parts(rows, folder, sources=sources)

    def _rules(self) -> token_lengths.Rules:
        data = self._config
        return token_lengths.Rules(
            layout=self._layout,
            tokenizer=self._tokenizer,
            row_len=data.row_len,
            picture_as=data.picture_as,
            supervised_answers=data.supervised_answers,
            redraws=data.redraw_instructions,
        )

    def _plan(self, objective: str, folder: records.DataFolder) -> mixture.Plan | packed_plan.PackedPlan:
        if self._config.packing in configuration.PACKED:
            return packed_order.make_plan(folder, self._config, rules=self._rules(), seed=self._seed)
        cut = self._layout.tiling
        return mixture.make_plan(folder, self._config, objective=objective, seed=self._seed, cut=cut)

    def _packed_batches(self) -> packed_batches.PackedBatches | None:
        if not isinstance(self.plan, packed_plan.PackedPlan):
            return None
        return packed_batches.PackedBatches(
            plan=self.plan,
            rules=self._rules(),
            tables=self._tables,
            pools=self._pools,
            seed=self._seed,
            image_size=self._image_size,
            images=self._images,
            reading=self._qformer_text,
            on_bad=self._rows.bad.add,
            on_dropped=self._note_dropped,
        )

    def _note_dropped(self, source: int, count: int) -> None:
        with self._lock:
            self.dropped_tokens[self.source_names[source]] += count

    def _max_targets(self, folder: records.DataFolder) -> int:
        if isinstance(self.plan, packed_plan.PackedPlan):
            return self.plan.budgets.targets
        if self._config.picture_as == "captions":
            return 1 << 30
        if self._config.supervised_answers == "last":
            return self._layout.max_response_len
        most = max(map(folder.most_turns, self.source_names, self._splits))
        return min(most * self._layout.max_response_len, self._layout.max_text_len)

    @property
    def num_records(self) -> int:
        """Records that the order goes over, of all sources."""
        return self.plan.num_records

    def record_ids(self, step: int, *, process_index: int = 0, process_count: int = 1) -> list[str]:
        """Returns the ids of the records that this host has in the step, row by row."""
        rows = self.row_ids(step, process_index=process_index, process_count=process_count)
        return [name for row in rows for name in row]

    def row_ids(self, step: int, *, process_index: int = 0, process_count: int = 1) -> list[list[str]]:
        """Returns the record ids of each row that this host has in the step."""
        if self._packed is not None:
            return [self._packed.ids(row) for row in self._packed.share(step, process_index, process_count)]
        _, rows = self._host_rows(step, process_index, process_count)
        return [[str(self._tables[source].ids[record])] for source, record, _ in rows]

    def rows_ids(self, start: int, stop: int) -> list[list[str]]:
        """Returns the record ids of each of the global rows [start, stop), over all hosts."""
        rows = self.plan.rows(start, stop)
        if self._packed is not None:
            return [self._packed.ids(row) for row in rows]
        return [[str(self._tables[source].ids[record])] for source, record, _ in rows]

    def one_of_each(self) -> list[schema.Instance]:
        """Returns a record of each source: of its first few the one with the most turns.

        Raises:
          UserError: one cannot be read.
        """
        firsts = [[table.read(number) for number in range(min(_FIRST_FEW, len(table)))] for table in self._tables]
        return [max(records, key=lambda one: len(one.meta.get("turns", ()))) for records in firsts]

    def cuts(self, ids: Iterable[str]) -> dict[str, list[tiling.Grid]]:
        """Returns how the pictures of records are cut, by the records' ids; nothing where none is ever cut."""
        return record_rows.cuts_by_id(self._layout, self._tables, ids)

    def instances(self, count: int) -> list[schema.Instance]:
        """Returns the records of the first `count` rows, each once.

        Raises:
          UserError: one cannot be read.
        """
        firsts = (np.atleast_2d(row)[0] for row in self.plan.rows(0, count))  # a packed row has several
        chosen = dict.fromkeys((int(source), int(record)) for source, record, *_ in firsts)
        return [self._tables[source].read(record) for source, record in chosen]

    def batch(self, step: int, *, process_index: int = 0, process_count: int = 1) -> Batch:
        """Returns this host's part of a step's batch; see `batches` for its arrays.

        Raises:
          UserError: a record cannot be read or does not suit the configuration; the message names it.
          ConfigError: the rows of a step cannot be shared by so many hosts.
        """
        if self._packed is not None:
            return self._packed.batch(self._packed.share(step, process_index, process_count))
        num_images, rows = self._host_rows(step, process_index, process_count)
        return self._make(num_images, rows, process_index * len(rows))

    def batches(
        self, start_step: int, num_steps: int, *, process_index: int = 0, process_count: int = 1
    ) -> Iterator[Batch]:
        """Yields this host's part of the batches of steps [start_step, start_step + num_steps).

        For the objective `response`, B rows with n pictures each (n may differ from step to step; of a picture that is
        cut, each tile and the overview count):
          images uint8 [B*n, h, w, 3], row by row (not there when pictures are shown as captions, or n is 0);
          token_ids, image_token_index, segment_ids, positions int32 [B, T] and loss_mask float32 [B, T] as drawn in
          `transforms`, but image_token_index counts over the pictures of the whole step (all hosts);
          source_index int32 [B], into `source_names`;
          where the Q-Former reads the prompt too, text_ids int32 and text_mask bool [B*n, C], a row for each picture
          (not there if n is 0).
        With `data.packing`, B rows of `data.row_len` tokens with P slots for pictures, the same in every step:
          images uint8 [B*P, h, w, 3], zero where a slot is empty (not there if P is 0), and text_ids, text_mask beside;
          the other arrays as drawn in `packing`: image_token_index counts over the slots of its own row; source_index
          int32 [B, T], parent_ids int32 [B, T] and num_records int32 [B] of each row.
        For the objective `towers`: images uint8 [B, h, w, 3], caption_ids int32 [B, C] (0 is padding), attributes int32
        [B, A] (label, or -1), source_index int32 [B].

        Raises:
          UserError: see `batch`; raised when the step's turn comes.
        """
        return ahead.made_ahead(
            lambda step: self.batch(step, process_index=process_index, process_count=process_count),
            range(start_step, start_step + num_steps),
            names=self._arrays,
        )

    def _host_rows(self, step: int, process_index: int, process_count: int) -> tuple[int, np.ndarray]:
        assert isinstance(self.plan, mixture.Plan)
        num_images, rows = self.plan.step(step)
        self.plan.check_divisible(process_count)
        share = len(rows) // process_count
        return num_images, rows[process_index * share : (process_index + 1) * share]

    def _response_batch(self, num_images: int, rows: np.ndarray, first_row: int) -> Batch:
        """Returns the batch of `rows`, the first of which is row `first_row` of its step."""
        with_images = self._config.picture_as == "embeddings" and num_images > 0
        queries = num_images * self._layout.picture_len
        shown = (lambda instance, _: record_rows.shots(self._layout, instance)) if with_images else None
        instances, images = self._rows.read(rows, num_images, shown=shown)
        columns: dict[str, list[np.ndarray]] = collections.defaultdict(list)
        for place, (instance, (source, _, epoch)) in enumerate(zip(instances, rows.tolist(), strict=True)):
            chance = rng.generator(self._seed, "row", instance.id, epoch)
            with _naming(instance):
                row = self._response_row(instance, source, chance)
            if with_images:
                own = images[place * num_images : (place + 1) * num_images]
                own[:] = self._augmented(own, instance, chance)
            row["image_token_index"][row["image_token_index"] >= 0] += (first_row + place) * queries
            for name, array in row.items():
                columns[name].append(array)
        batch = {name: np.stack(arrays) for name, arrays in columns.items()}
        for name in _QFORMER_TEXT if self._reads_text else ():
            text = batch.pop(name)
            if num_images:  # each picture is read with its row's text
                batch[name] = np.repeat(text, num_images, axis=0)
        if with_images:
            batch["images"] = images
        return batch | {"source_index": rows[:, 0].astype(np.int32)}

    def _response_row(self, instance: schema.Instance, source: int, chance: np.random.Generator) -> Batch:
        """Returns the padded row of one record."""
        instruction = self._instruction(instance, source, chance)
        answers = self._config.supervised_answers
        text = record_rows.fitted(
            self._layout, self._tokenizer, instance, instruction=instruction, supervised_answers=answers
        )
        if text.num_dropped:
            self._note_dropped(source, text.num_dropped)
        num_images = len(instance.images)
        if self._config.picture_as == "embeddings":
            row = record_rows.shown(self._layout, instance, text)
            num_slots = sum(cut.slots for cut in record_rows.cuts(self._layout, instance))
            row = record_rows.check_targets(row, instance, self.max_targets)
            row = transforms.pad_row(row, self._layout.row_len(num_slots))
            return row | self._qformer_text(instruction, instance.inputs)
        row = record_rows.captioned(self._layout, self._tokenizer, instance, text=text)
        return transforms.pad_row(row, self._layout.row_len(num_images, tower_rows.CAPTION_LEN))

    def _qformer_text(self, instruction: str, inputs: str) -> Batch:
        if not self._reads_text or self._qformer_tokenizer is None:
            return {}
        prompt = self._layout.format.prompt(instruction, inputs)
        return transforms.qformer_text(self._qformer_tokenizer, prompt, self._layout.qformer_text_len)

    def _instruction(self, instance: schema.Instance, source: int, chance: np.random.Generator) -> str:
        """Returns the record's own instruction, or one from the pool of its source that suits it as well."""
        pool = self._pools[source]
        draw = int(chance.integers(1 << 32))  # drawn in any case, so that the pictures' chance stays the same
        if not self._config.redraw_instructions or not pool:
            return instance.instruction
        filled = record_rows.suitable(instance, pool)
        return filled[draw % len(filled)] if filled else instance.instruction

    def _images(self, instance: schema.Instance, chance: np.random.Generator) -> np.ndarray:
        """Returns a record's pictures, tiles and overviews, uint8 [slots, h, w, 3]."""
        return self._augmented(self._rows.pictures(record_rows.shots(self._layout, instance)), instance, chance)

    def _augmented(self, pixels: np.ndarray, instance: schema.Instance, chance: np.random.Generator) -> np.ndarray:
        cuts = record_rows.cuts(self._layout, instance)
        return augmentation.augment_cut(pixels, cuts, self._config.augment, rng=chance)

    def _tower_batch(self, num_images: int, rows: np.ndarray, first_row: int) -> Batch:
        """Returns one picture of each record with what is known of it."""
        del first_row  # no token counts over the step

        def drawn(instance: schema.Instance, epoch: int) -> tuple[np.random.Generator, int]:
            chance = rng.generator(self._seed, "row", instance.id, epoch)
            return chance, int(chance.integers(len(instance.images)))

        def shown(instance: schema.Instance, epoch: int) -> Sequence[tiling.Shot]:
            return [(instance.images[drawn(instance, epoch)[1]], tiling.WHOLE)]

        instances, images = self._rows.read(rows, num_images, shown=shown)
        columns: dict[str, list[np.ndarray]] = collections.defaultdict(list)
        for place, (instance, epoch) in enumerate(zip(instances, rows[:, 2].tolist(), strict=True)):
            chance, number = drawn(instance, epoch)
            captions = _captions(instance)
            row = tower_rows.tower_row(
                self._tokenizer,
                caption=captions[number] if number < len(captions) else "",
                # The record's attributes speak of its first picture: they may be wrong for another frame.
                attributes=instance.meta.get("attributes", {}) if number == 0 else {},
                tables=self._labels,
            )
            images[place : place + 1] = augmentation.augment(images[place : place + 1], self._config.augment, chance)
            for name, array in row.items():
                columns[name].append(array)
        batch = {name: np.stack(arrays) for name, arrays in columns.items()}
        return batch | {"images": images, "source_index": rows[:, 0].astype(np.int32)}


@contextlib.contextmanager
def _naming(instance: schema.Instance) -> Iterator[None]:
    """Puts the record's id in front of what a user is told about it."""
    try:
        yield
    except errors.UserError as error:
        raise errors.UserError(f"record {instance.id}: {error}") from error


def _captions(instance: schema.Instance) -> list[str]:
    return list(instance.meta.get("captions", ()))
