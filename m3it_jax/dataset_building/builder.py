"""The TFDS builder, one config per source, and what is written beside its shards.

TFDS looks for its metadata in the folder of this module, which therefore has to be a package's folder.
"""

import contextlib
import hashlib
import io
import json
import logging
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf
import tensorflow_datasets as tfds

from m3it_jax import records, schema
from m3it_jax.dataset_building import instructions, statistics, verification
from m3it_jax.dataset_building.pipeline import Stream

OnRecord = Callable[[schema.Instance], None]

BUILDING = ".building"  # what is being built lies here, and so is never taken for whole
PROVENANCE = "provenance.json"
BUILDER_VERSION = 1  # raised when the same source and seed would give other records


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
        return {split: self._generate_examples(split) for split in schema.SPLITS}

    def _generate_examples(self, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for instance in self._stream.instances(split):
            yield instance.id, records.to_features(instance)  # TFDS shuffles by a hash of the id


def build(stream: Stream, out: pathlib.Path, on_train: OnRecord = lambda _: None) -> dict[str, Any]:
    """Builds one source into `out/<source>/<version>` and returns its provenance; `on_train` sees its train records.

    Everything is written under `out/.building` and moved in one step when it is whole, so a build that is cut off
    leaves nothing that could be taken for a source.
    """
    spec = stream.spec
    scratch = out / BUILDING / spec.name
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    tfds.disable_progress_bar()
    logging.getLogger("absl").setLevel(logging.ERROR)  # TFDS warns that the config is our own, and tells each step
    with contextlib.redirect_stdout(io.StringIO()):
        builder = M3it(stream=stream, data_dir=str(scratch))
        builder.download_and_prepare()
    folder = pathlib.Path(builder.data_dir)
    found = _describe(folder, stream, on_train)
    text = json.dumps(found, ensure_ascii=False, indent=2, sort_keys=True)
    (folder / PROVENANCE).write_text(text + "\n", encoding="utf-8")
    final = out / spec.name / spec.version
    final.parent.mkdir(parents=True, exist_ok=True)
    os.replace(folder, final)
    shutil.rmtree(scratch)
    return found


def _describe(folder: pathlib.Path, stream: Stream, on_train: OnRecord) -> dict[str, Any]:
    """Writes the offset indices of the shards and returns the provenance of the source."""
    spec = stream.spec
    hashes, splits, seen = {}, {}, {}
    for split in schema.SPLITS:
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
        "seed": stream.seed,
        "limit": stream.limit,
        "splits": splits,
        "rejected": dict(stream.rejected),
        "attributes": {name: sorted(values) for name, values in stream.attributes.items()},
        "instructions": list(instructions.pool(spec.pool)),
        "statistics": seen,
        "shards": hashes,
        "files": {
            path.name: verification.sha256(path)
            for path in sorted(folder.iterdir())
            if path.is_file() and path.name not in hashes
        },
        "fingerprint": hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest(),
    }
