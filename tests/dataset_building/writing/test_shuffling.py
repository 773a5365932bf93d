import dataclasses
import pathlib

import numpy as np
import pytest
from tensorflow_datasets.core import file_adapters, hashing, naming, writer
from tensorflow_datasets.core.utils import shard_utils

from m3it_jax import file_safety, records, schema
from m3it_jax.dataset_building.writing import shuffling
from m3it_jax.records import framing

PNG = b"\x89PNG\r\n\x1a\n"


def instance(number: int) -> schema.Instance:
    images = tuple(PNG + bytes([number % 256, each]) * (1 + number % 50) for each in range(1 + number % 3))
    return schema.Instance(
        f"toys-é{number}", "toys", "vqa", "en", "Look.", "", f"answer {number}", images, {"group": f"g{number}"}
    )


class Serialized:
    """What TFDS' writer asks of a serializer."""

    example_specs = None

    def serialize_example(self, example):
        return records.encode(example)


def by_tfds(folder: pathlib.Path, number: int, shards: int) -> None:
    template = naming.ShardedFileTemplate(
        data_dir=folder, dataset_name="m3it", split="train", filetype_suffix="tfrecord"
    )
    made = writer.Writer(
        serializer=Serialized(),
        filename_template=template,
        hash_salt="train",
        disable_shuffling=False,
        example_writer=writer.ExampleWriter(file_adapters.FileFormat.TFRECORD),
        shard_config=shard_utils.ShardConfig(num_shards=shards),
    )
    for each in range(number):
        made.write(instance(each).id, instance(each))
    made.finalize()


def by_spool(folder: pathlib.Path, number: int, shards: int) -> dict[str, str]:
    with shuffling.Spool(folder / "train.spool", hashing.Hasher("train").hash_key) as spool:
        for each in range(number):
            spool.add(instance(each))
        assert len(spool) == number and spool.num_bytes == sum(len(records.encode(instance(n))) for n in range(number))
        names = [folder / f"m3it-train.tfrecord-{each:05d}-of-{shards:05d}" for each in range(shards)]
        return spool.write(names, shard_utils.get_shard_boundaries(number, shards))


@pytest.mark.parametrize(
    ("number", "shards", "at_once"), [(1, 1, 1 << 16), (200, 1, 1 << 16), (200, 7, 9), (64, 64, 1)]
)
def test_order_and_bytes_are_those_of_tfds(tmp_path, monkeypatch, number, shards, at_once):
    monkeypatch.setattr(shuffling, "_SORTED_AT_ONCE", at_once)
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for folder in (ours, theirs):
        folder.mkdir()
    hashes = by_spool(ours, number, shards)
    by_tfds(theirs, number, shards)
    wanted = {path.name: path.read_bytes() for path in theirs.iterdir()}
    assert {path.name: path.read_bytes() for path in ours.iterdir() if not path.name.endswith(".npz")} == wanted
    assert hashes == {name: file_safety.sha256(ours / name) for name in wanted}


def test_the_index_is_the_one_that_reading_gives(tmp_path):
    (name,) = by_spool(tmp_path, 30, 1)
    made = records.index_path(tmp_path / name).read_bytes()
    records.write_index(tmp_path / name)
    assert records.index_path(tmp_path / name).read_bytes() == made
    index = records.read_index(tmp_path / name)
    for number, (offset, data) in enumerate(framing.scan(tmp_path / name)):
        assert (int(index.offsets[number]), int(index.lengths[number])) == (offset, len(data))
        assert records.decode(data).id == index.ids[number]


def test_nothing_is_left_of_a_spool_whatever_happens(tmp_path):
    with pytest.raises(RuntimeError), shuffling.Spool(tmp_path / "s", lambda _: 0) as spool:
        spool.add(instance(0))
        assert list(tmp_path.iterdir())
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_spool_that_lost_bytes_is_noticed(tmp_path):
    with shuffling.Spool(tmp_path / "s", lambda _: 0) as spool:
        spool.add(instance(0))
        spool._records.flush()
        spool._records.truncate(40)
        with pytest.raises(OSError, match="s.records"):
            spool.write([tmp_path / "shard"], [1])


def test_records_keep_little_in_memory(tmp_path):
    with shuffling.Spool(tmp_path / "s", hashing.Hasher("train").hash_key) as spool:
        for number in range(2000):
            spool.add(dataclasses.replace(instance(number), images=(PNG + bytes(10_000),)))
        held = [value for value in vars(spool).values() if isinstance(value, list | bytes | bytearray | np.ndarray)]
    assert held == []
