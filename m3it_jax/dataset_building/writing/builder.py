"""The TFDS builder, one config per source, and what is written beside its shards.

TFDS looks for its metadata in the folder of this module, which therefore has to be a package's folder.
"""

import collections
import contextlib
import dataclasses
import functools
import hashlib
import importlib
import io
import json
import logging
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core import hashing
from tensorflow_datasets.core.utils import shard_utils

from m3it_jax import errors, file_safety, records, schema
from m3it_jax.dataset_building.inspection import statistics
from m3it_jax.dataset_building.publishers import raw
from m3it_jax.dataset_building.steps import instructions
from m3it_jax.dataset_building.steps.pipeline import Stream, Tally, nothing
from m3it_jax.dataset_building.writing import inputs, rejections, shuffling

BUILDING = ".building"  # what is being built lies here, and so is never taken for whole
PROVENANCE = "provenance.json"
BUILDER_VERSION = 2  # raised when the same source and seed would give other records


class Seen:
    """What is noted of the records while they are written.

    Attributes:
      hashes: SHA-256 of each shard, by its name.
      splits: What was counted in each split.
      attributes: Values of the train records' attributes, by name.
    """

    def __init__(self, folder: pathlib.Path):
        """Takes a folder for what is too much for memory."""
        self._folder = folder
        self.hashes: dict[str, str] = {}
        self.splits: dict[str, statistics.Collector] = {}
        self.attributes: dict[str, set[str]] = {}

    def add(self, split: str, instance: schema.Instance) -> None:
        """Notes one record."""
        if split not in self.splits:
            self.splits[split] = statistics.Collector(self._folder)
        self.splits[split].add(instance)
        if split == "train":
            for name, value in instance.meta.get("attributes", {}).items():
                self.attributes.setdefault(name, set()).add(value)


class M3it(tfds.core.GeneratorBasedBuilder):
    """Writes the records of one source as a TFDS data set."""

    VERSION = tfds.core.Version("1.0.0")
    SUPPORTED_VERSIONS: list[tfds.core.Version] = []

    def __init__(self, *, stream: Stream, data_dir: str, seen: Seen, beam: bool, **kwargs: Any):
        """Takes where the records come from, where TFDS puts them, where to note them, and whether Beam makes them."""
        self._stream = stream
        self._seen = seen
        self._beam = beam
        # TFDS writes this name into dataset_info.json: the bytes of a folder do not depend on where our modules lie.
        self.__module__ = "m3it_jax.dataset_building.builder"
        config = tfds.core.BuilderConfig(name=stream.spec.name, version=tfds.core.Version(stream.spec.version))
        super().__init__(config=config, data_dir=data_dir, **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        text = tfds.features.Text()
        names = ("id", "source", "task", "language", "instruction", "inputs", "outputs", "meta")
        features = {name: text for name in names} | {"images": tfds.features.Sequence(np.object_)}
        spec = self._stream.spec
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"Source {spec.name} (task {spec.task}) as instruction records.",
            features=tfds.features.FeaturesDict(features),
            homepage=spec.url,
            citation=spec.citation,
            license=spec.licence,
        )

    def _download_and_prepare(self, dl_manager: Any, download_config: tfds.download.DownloadConfig) -> None:
        """Writes all splits: TFDS does so where Beam makes the records; its writer takes more memory and time."""
        if self._beam:
            super()._download_and_prepare(dl_manager, download_config)
            for split in self.info.splits:
                for shard in records.shard_paths(self.data_path, split):
                    records.normalise(shard)
                    records.write_index(shard, functools.partial(self._seen.add, split))
                    self._seen.hashes[shard.name] = file_safety.sha256(shard)
            return
        found = [info for split in schema.SPLITS if (info := self._write_split(split)) is not None]
        if not found:
            raise self._gave_nothing()
        self.info.set_splits(tfds.core.splits.SplitDict(found))

    def _write_split(self, split: str) -> tfds.core.SplitInfo | None:
        """Writes a split with its shards' names, bounds and order as TFDS has them; returns None if it is empty."""
        names = self._get_filename_template(split_name=split)
        with shuffling.Spool(self.data_path / f"{split}.spool", hashing.Hasher(split).hash_key) as spool:
            for instance in self._stream.instances(split):
                spool.add(instance)
                self._seen.add(split, instance)
            if not len(spool):
                return None
            number = shard_utils.ShardConfig.calculate_number_shards(spool.num_bytes, len(spool))
            ends = shard_utils.get_shard_boundaries(len(spool), number)
            shards = [names.sharded_filepath(shard_index=each, num_shards=number) for each in range(number)]
            self._seen.hashes |= spool.write([pathlib.Path(shard) for shard in shards], ends)
        lengths = [end - begin for begin, end in zip([0, *ends], ends, strict=False)]
        return tfds.core.SplitInfo(
            name=split, shard_lengths=lengths, num_bytes=spool.num_bytes, filename_template=names
        )

    def _gave_nothing(self) -> errors.UserError:
        return errors.UserError(f"{self._stream.spec.name}: gave no record; its raw files hold no sound row")

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        """Returns Beam's transform of each split that is not empty: TFDS refuses the others, so the first is made."""
        found: dict[str, Any] = {}
        for split in schema.SPLITS:
            left_out: list[Any] = []
            probe = dataclasses.replace(self._stream, on_rejected=lambda *row, left_out=left_out: left_out.append(row))
            if next(probe.instances(split), None) is not None:
                found[split] = self._beam_records(split)
            else:
                for row in left_out:
                    self._stream.on_rejected(*row)
        if not found:
            raise self._gave_nothing()
        return found

    def _beam_records(self, split: str) -> Any:
        from m3it_jax.dataset_building.writing import beam_rows  # takes seconds, and only `--runner beam` needs it

        quiet = dataclasses.replace(self._stream, on_record=nothing, on_rejected=nothing)  # what can be pickled
        return beam_rows.Records(quiet, split, pathlib.Path(self._data_dir_root) / beam_name(split))

    def _generate_examples(self, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yields the records of a split as TFDS takes them; it asks for this method and none of our ways uses it."""
        for instance in self._stream.instances(split):
            yield instance.id, records.to_features(instance)


def build(
    stream: Stream,
    out: pathlib.Path,
    *,
    decided_by: Mapping[str, Any],
    beam_options: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Builds one source into `out/<source>/<version>` and returns its provenance.

    `decided_by` is what decides the records beside the source itself; the provenance lists it. With `beam_options`,
    Beam's own command line, Apache Beam makes the records; they are the same. Rows that were left out stand in the
    files of `rejections`. Everything is written under `out/.building` and moved in one step when it is whole, so a
    build that is cut off leaves nothing that could be taken for a source.

    Raises:
      UserError: the source gives no record, or too many of its rows are bad; its notes name the first of them and the
        list of all, which is kept.
    """
    spec = stream.spec
    scratch = out / BUILDING / spec.name
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    seen = Seen(scratch)
    list_of_stopped = out / spec.name / rejections.REJECTED
    list_of_stopped.unlink(missing_ok=True)
    book, pictures = rejections.Book(scratch), inputs.Pictures()
    noting = dataclasses.replace(stream, on_rejected=book.note, on_row=pictures.add if spec.inputs else nothing)
    try:
        with book:
            folder = _prepare(noting, scratch, beam_options, seen=seen)
            if beam_options is not None:
                _note_from_beam(stream, book, scratch)
    except errors.UserError as error:
        _keep_list(book, scratch / rejections.REJECTED, list_of_stopped, error=error)
        raise
    for name in (rejections.REJECTED, rejections.QUARANTINE):
        os.replace(scratch / name, folder / name)
    found = _described(folder, stream, seen) | {
        **decided_by,
        **spec.settings,
        "rejected": dict(sum(book.counts.values(), collections.Counter())),
    }
    text = json.dumps(found, ensure_ascii=False, indent=2, sort_keys=True)
    (folder / PROVENANCE).write_text(text + "\n", encoding="utf-8")
    final = out / spec.name / spec.version
    final.parent.mkdir(parents=True, exist_ok=True)
    if final.exists():  # what it was made from has changed
        os.replace(final, scratch / "before")
    os.replace(folder, final)
    inputs.note(out, spec, pictures)
    shutil.rmtree(scratch)
    return found


def _keep_list(book: rejections.Book, made: pathlib.Path, kept: pathlib.Path, *, error: errors.UserError) -> None:
    """Keeps the list of what a stopped build left out, and adds its first rows to what the user is told."""
    number = sum(map(collections.Counter.total, book.counts.values()))
    if number:
        kept.parent.mkdir(parents=True, exist_ok=True)
        os.replace(made, kept)
        reasons = sum(book.counts.values(), collections.Counter()).most_common()
        error.add_note("left out: " + ", ".join(f"{reason} {count:,}" for reason, count in reasons))
        for row in book.first:
            error.add_note(f"{row.place}: {row.reason}: {row.text}")
        error.add_note(f"{kept} lists {'all of them' if number > 1 else 'it'}")


def _prepare(stream: Stream, scratch: pathlib.Path, beam_options: Sequence[str] | None, *, seen: Seen) -> pathlib.Path:
    """Writes the records into `scratch` and returns the folder that TFDS made there."""
    tfds.disable_progress_bar()
    logging.getLogger("absl").setLevel(logging.ERROR)  # TFDS warns that the config is our own, and tells each step
    settings = tfds.download.DownloadConfig()
    if beam_options is not None:
        options = importlib.import_module("apache_beam.options.pipeline_options")
        settings.beam_options = options.PipelineOptions(list(beam_options))
    with contextlib.redirect_stdout(io.StringIO()):
        builder = M3it(stream=stream, data_dir=str(scratch), seen=seen, beam=beam_options is not None)
        builder.download_and_prepare(download_config=settings)
    return pathlib.Path(builder.data_dir)


def beam_name(split: str) -> str:
    """Returns how the names begin of the files into which Beam writes what it left out of a split."""
    return f"rejected-by-beam-{split}"


def _note_from_beam(stream: Stream, book: rejections.Book, scratch: pathlib.Path) -> None:
    """Writes down what Beam left out, and stops if that is too much."""
    from m3it_jax.dataset_building.writing import beam_rows

    for split in schema.SPLITS:
        tally = Tally(stream, split)
        for _, row in beam_rows.rejections(scratch, beam_name(split)):
            book.note(split, row)
            tally.reject(row.reason)
        (info,) = scratch.glob("**/dataset_info.json")
        lengths = {entry["name"]: entry["shardLengths"] for entry in json.loads(info.read_text())["splits"]}
        tally.kept = sum(map(int, lengths.get(split, [])))
        tally.check(early=False)


def _described(folder: pathlib.Path, stream: Stream, seen: Seen) -> dict[str, Any]:
    """Returns the provenance of a source, but for what was ordered and what was left out."""
    spec = stream.spec
    return {
        "source": spec.name,
        "version": spec.version,
        "task": spec.task,
        "language": spec.language,
        "licence": spec.licence,
        "citation": spec.citation,
        "url": spec.url,
        "known_problems": spec.known_problems,
        "builder_version": BUILDER_VERSION,
        "schema_version": schema.SCHEMA_VERSION,
        "raw": raw.inventory(spec, stream.assets),
        "splits": {split: collector.count for split, collector in seen.splits.items()},
        "attributes": {name: sorted(values) for name, values in sorted(seen.attributes.items())},
        "instructions": list(instructions.of(spec)),
        "statistics": {split: collector.summary() for split, collector in seen.splits.items()},
        "shards": seen.hashes,
        "files": {
            path.name: file_safety.sha256(path)
            for path in sorted(folder.iterdir())
            if path.is_file() and path.name not in seen.hashes
        },
        "fingerprint": hashlib.sha256(json.dumps(seen.hashes, sort_keys=True).encode()).hexdigest(),
    }
