"""The TFDS builder, one config per source, and what is written beside its shards.

TFDS looks for its metadata in the folder of this module, which therefore has to be a package's folder.
"""

import contextlib
import dataclasses
import functools
import hashlib
import io
import itertools
import json
import logging
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TextIO

import tensorflow as tf
import tensorflow_datasets as tfds

from m3it_jax import errors, records, schema
from m3it_jax.dataset_building import instructions, statistics, verification
from m3it_jax.dataset_building.pipeline import Stream
from m3it_jax.dataset_building.specification import Rejected

OnRecord = Callable[[schema.Instance], None]

BUILDING = ".building"  # what is being built lies here, and so is never taken for whole
PROVENANCE, REJECTED = records.PROVENANCE, records.REJECTED
BUILDER_VERSION = 2  # raised when the same source and seed would give other records


class M3it(tfds.core.GeneratorBasedBuilder):
    """Writes the records of one source as a TFDS data set."""

    VERSION = tfds.core.Version("1.0.0")
    SUPPORTED_VERSIONS: list[tfds.core.Version] = []

    def __init__(self, *, stream: Stream, data_dir: str, **kwargs: Any):
        """Takes where the records come from and where TFDS puts them."""
        self._stream = stream
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

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        found = {}
        for split in schema.SPLITS:
            examples = self._generate_examples(split)
            if (first := next(examples, None)) is not None:  # TFDS refuses a split without an example
                found[split] = itertools.chain([first], examples)
        if not found:
            reasons = ", ".join(f"{reason} {number}" for reason, number in self._stream.rejected.most_common(5))
            raise errors.UserError(f"{self._stream.spec.name}: gave no record ({reasons or 'its files hold no row'})")
        return found

    def _generate_examples(self, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for instance in self._stream.instances(split):
            yield instance.id, records.to_features(instance)  # TFDS shuffles by a hash of the id


def build(
    stream: Stream, out: pathlib.Path, *, decided_by: Mapping[str, Any], on_train: OnRecord = lambda _: None
) -> dict[str, Any]:
    """Builds one source into `out/<source>/<version>` and returns its provenance; `on_train` sees its train records.

    `decided_by` is what decides the records beside the source itself; the provenance lists it. Rows that were left out
    stand in `rejected.jsonl`, one object a line: split, place, reason, text. Everything is written under
    `out/.building` and moved in one step when it is whole, so a build that is cut off leaves nothing that could be
    taken for a source.

    Raises:
      UserError: the source gives no record, or too many of its rows are bad.
    """
    spec = stream.spec
    scratch = out / BUILDING / spec.name
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    tfds.disable_progress_bar()
    logging.getLogger("absl").setLevel(logging.ERROR)  # TFDS warns that the config is our own, and tells each step
    with open(scratch / REJECTED, "w", encoding="utf-8") as file, contextlib.redirect_stdout(io.StringIO()):
        stream = dataclasses.replace(stream, on_rejected=functools.partial(_note, file))
        builder = M3it(stream=stream, data_dir=str(scratch))
        builder.download_and_prepare()
    folder = pathlib.Path(builder.data_dir)
    os.replace(scratch / REJECTED, folder / REJECTED)
    found = _describe(folder, stream, decided_by=decided_by, on_train=on_train)
    text = json.dumps(found, ensure_ascii=False, indent=2, sort_keys=True)
    (folder / PROVENANCE).write_text(text + "\n", encoding="utf-8")
    final = out / spec.name / spec.version
    final.parent.mkdir(parents=True, exist_ok=True)
    os.replace(folder, final)
    shutil.rmtree(scratch)
    return found


def _note(file: TextIO, split: str, row: Rejected) -> None:
    # A text may hold what is no UTF-8: that can be the very reason; ASCII spells it \udXXX.
    line = {"split": split, "place": row.place, "reason": row.reason, "text": row.text}
    file.write(json.dumps(line, ensure_ascii=not schema.encodable(f"{row.place}{row.text}")) + "\n")


def _describe(
    folder: pathlib.Path, stream: Stream, *, decided_by: Mapping[str, Any], on_train: OnRecord
) -> dict[str, Any]:
    """Writes the offset indices of the shards and returns the provenance of the source."""
    spec = stream.spec
    hashes, splits, seen = {}, {}, {}
    written = {path.name.split(".tfrecord-")[0].rsplit("-", 1)[-1] for path in folder.glob("*.tfrecord-*")}
    for split in (split for split in schema.SPLITS if split in written):
        collector = statistics.Collector()

        def on_record(instance: schema.Instance, split: str = split, add: OnRecord = collector.add) -> None:
            add(instance)
            if split == "train":
                on_train(instance)

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
        **decided_by,
        "splits": splits,
        "rejected": dict(stream.rejected),
        "attributes": {name: sorted(values) for name, values in stream.attributes.items()},
        "instructions": list(instructions.pool(spec.pool)) if spec.pool else [],
        "statistics": seen,
        "shards": hashes,
        "files": {
            path.name: verification.sha256(path)
            for path in sorted(folder.iterdir())
            if path.is_file() and path.name not in hashes
        },
        "fingerprint": hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest(),
    }
