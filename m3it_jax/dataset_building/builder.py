"""The TFDS builder, one config per source, and what is written beside its shards.

TFDS looks for its metadata in the folder of this module, which therefore has to be a package's folder.
"""

import collections
import contextlib
import dataclasses
import hashlib
import importlib
import io
import itertools
import json
import logging
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_datasets as tfds

from m3it_jax import errors, records, schema
from m3it_jax.dataset_building import instructions, raw, rejections, statistics, verification
from m3it_jax.dataset_building.pipeline import Stream, Tally, nothing

OnRecord = Callable[[schema.Instance], None]

BUILDING = ".building"  # what is being built lies here, and so is never taken for whole
PROVENANCE = "provenance.json"
BUILDER_VERSION = 2  # raised when the same source and seed would give other records


class M3it(tfds.core.GeneratorBasedBuilder):
    """Writes the records of one source as a TFDS data set."""

    VERSION = tfds.core.Version("1.0.0")
    SUPPORTED_VERSIONS: list[tfds.core.Version] = []

    def __init__(self, *, stream: Stream, data_dir: str, beam: bool, **kwargs: Any):
        """Takes where the records come from, where TFDS puts them, and whether Beam makes them."""
        self._stream = stream
        self._beam = beam
        config = tfds.core.BuilderConfig(name=stream.spec.name, version=tfds.core.Version(stream.spec.version))
        super().__init__(config=config, data_dir=data_dir, **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        text = tfds.features.Text()
        names = ("id", "source", "task", "language", "instruction", "inputs", "outputs", "meta")
        features = {name: text for name in names} | {"images": tfds.features.Sequence(tf.string)}
        spec = self._stream.spec
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"Source {spec.name} (task {spec.task}) as instruction records.",
            features=tfds.features.FeaturesDict(features),
            homepage=spec.url,
            citation=spec.citation,
            license=spec.licence,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for split in schema.SPLITS:
            # TFDS refuses a split without an example, so the first is looked at.
            if self._beam:
                seen: list[Any] = []
                probe = dataclasses.replace(self._stream, on_rejected=lambda *row, seen=seen: seen.append(row))
                if next(probe.instances(split), None) is not None:
                    found[split] = self._beam_records(split)
                else:
                    for row in seen:
                        self._stream.on_rejected(*row)
            else:
                examples = self._generate_examples(split)
                if (first := next(examples, None)) is not None:
                    found[split] = itertools.chain([first], examples)
        if not found:
            raise errors.UserError(f"{self._stream.spec.name}: gave no record; its raw files hold no sound row")
        return found

    def _beam_records(self, split: str) -> Any:
        from m3it_jax.dataset_building import beam_rows  # takes seconds, and only `--runner beam` needs it

        quiet = dataclasses.replace(self._stream, on_record=nothing, on_rejected=nothing)  # what can be pickled
        return beam_rows.Records(quiet, split, pathlib.Path(self._data_dir_root) / beam_name(split))

    def _generate_examples(self, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for instance in self._stream.instances(split):
            yield instance.id, records.to_features(instance)  # TFDS shuffles by a hash of the id


def build(
    stream: Stream,
    out: pathlib.Path,
    *,
    decided_by: Mapping[str, Any],
    on_train: OnRecord = lambda _: None,
    beam_options: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Builds one source into `out/<source>/<version>` and returns its provenance; `on_train` sees its train records.

    `decided_by` is what decides the records beside the source itself; the provenance lists it. With `beam_options`,
    Beam's own command line, Apache Beam makes the records; they are the same. Rows that were left out stand in the
    files of `rejections`. Everything is written under `out/.building` and moved in one step when it is whole, so a
    build that is cut off leaves nothing that could be taken for a source.

    Raises:
      UserError: the source gives no record, or too many of its rows are bad.
    """
    spec = stream.spec
    scratch = out / BUILDING / spec.name
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    with rejections.Book(scratch) as book:
        folder = _prepare(dataclasses.replace(stream, on_rejected=book.note), scratch, beam_options)
        if beam_options is not None:
            _note_from_beam(stream, book, scratch)
    for name in (rejections.REJECTED, rejections.QUARANTINE):
        os.replace(scratch / name, folder / name)
    found = _describe(folder, stream, decided_by=decided_by, on_train=on_train)
    found["rejected"] = dict(sum(book.counts.values(), collections.Counter()))
    text = json.dumps(found, ensure_ascii=False, indent=2, sort_keys=True)
    (folder / PROVENANCE).write_text(text + "\n", encoding="utf-8")
    final = out / spec.name / spec.version
    final.parent.mkdir(parents=True, exist_ok=True)
    os.replace(folder, final)
    shutil.rmtree(scratch)
    return found


def _prepare(stream: Stream, scratch: pathlib.Path, beam_options: Sequence[str] | None) -> pathlib.Path:
    """Lets TFDS write the records into `scratch` and returns the folder that it made there."""
    tfds.disable_progress_bar()
    logging.getLogger("absl").setLevel(logging.ERROR)  # TFDS warns that the config is our own, and tells each step
    settings = tfds.download.DownloadConfig()
    if beam_options is not None:
        options = importlib.import_module("apache_beam.options.pipeline_options")
        settings.beam_options = options.PipelineOptions(list(beam_options))
    with contextlib.redirect_stdout(io.StringIO()):
        builder = M3it(stream=stream, data_dir=str(scratch), beam=beam_options is not None)
        builder.download_and_prepare(download_config=settings)
    return pathlib.Path(builder.data_dir)


def beam_name(split: str) -> str:
    """Returns how the names begin of the files into which Beam writes what it left out of a split."""
    return f"rejected-by-beam-{split}"


def _note_from_beam(stream: Stream, book: rejections.Book, scratch: pathlib.Path) -> None:
    """Writes down what Beam left out, and stops if that is too much."""
    from m3it_jax.dataset_building import beam_rows

    for split in schema.SPLITS:
        tally = Tally(stream, split)
        for _, row in beam_rows.rejections(scratch, beam_name(split)):
            book.note(split, row)
            tally.reject(row.reason)
        (info,) = scratch.glob("**/dataset_info.json")
        lengths = {entry["name"]: entry["shardLengths"] for entry in json.loads(info.read_text())["splits"]}
        tally.kept = sum(map(int, lengths.get(split, [])))
        tally.check(early=False)


def _describe(
    folder: pathlib.Path, stream: Stream, *, decided_by: Mapping[str, Any], on_train: OnRecord
) -> dict[str, Any]:
    """Writes the offset indices of the shards and returns the provenance of the source."""
    spec = stream.spec
    hashes, splits, seen = {}, {}, {}
    attributes: dict[str, set[str]] = {}
    written = {path.name.split(".tfrecord-")[0].rsplit("-", 1)[-1] for path in folder.glob("*.tfrecord-*")}
    for split in (split for split in schema.SPLITS if split in written):
        collector = statistics.Collector()

        def on_record(instance: schema.Instance, split: str = split, add: OnRecord = collector.add) -> None:
            add(instance)
            if split == "train":
                on_train(instance)
                for name, value in instance.meta.get("attributes", {}).items():
                    attributes.setdefault(name, set()).add(value)

        for shard in records.shard_paths(folder, split):
            records.normalise(shard)
            records.write_index(shard, on_record)
            hashes[shard.name] = verification.sha256(shard)
        splits[split] = collector.count
        seen[split] = collector.summary()
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
        **decided_by,
        **spec.settings,
        "splits": splits,
        "attributes": {name: sorted(values) for name, values in sorted(attributes.items())},
        "instructions": list(instructions.of(spec)),
        "statistics": seen,
        "shards": hashes,
        "files": {
            path.name: verification.sha256(path)
            for path in sorted(folder.iterdir())
            if path.is_file() and path.name not in hashes
        },
        "fingerprint": hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest(),
    }
