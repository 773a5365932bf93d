import json
import pickle
import threading

import numpy as np
import pytest

from m3it_jax import errors, records, schema
from m3it_jax.records import framing

PNG = b"\x89PNG\r\n\x1a\n"


def instance(number):
    return schema.Instance(
        id=f"toys-{number:03d}",
        source="toys",
        task="vqa",
        language="zh",
        instruction="看图。",
        inputs="" if number % 2 else "a\nb",
        outputs=f"answer {number}",
        images=tuple(PNG + bytes([number, i]) for i in range(1 + number % 3)),
        meta={"group": f"g{number}", "options": ["x", "y"]},
    )


def serialized(record):
    import tensorflow as tf

    def feature(value):
        values = value if isinstance(value, list) else [value]
        raw = [part if isinstance(part, bytes) else part.encode() for part in values]
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=raw))

    fields = {name: feature(value) for name, value in records.to_features(record).items()}
    return tf.train.Example(features=tf.train.Features(feature=fields)).SerializeToString()


def write_shard(path, numbers):
    path.write_bytes(b"".join(framing.frame(serialized(instance(number))) for number in numbers))
    return records.write_index(path)


@pytest.fixture
def folder(tmp_path):
    """A data folder with one source, two train shards and one test shard."""
    place = tmp_path / "toys" / "1.0.0"
    place.mkdir(parents=True)
    write_shard(place / "m3it-train.tfrecord-00000-of-00002", range(5))
    write_shard(place / "m3it-train.tfrecord-00001-of-00002", range(5, 8))
    write_shard(place / "m3it-test.tfrecord-00000-of-00001", range(8, 10))
    source = {
        "version": "1.0.0",
        "task": "vqa",
        "language": "zh",
        "splits": {"train": 8, "test": 2},
        "fingerprint": "f",
        "instructions": ["看图。"],
    }
    manifest = {"schema_version": schema.SCHEMA_VERSION, "name": "toys", "sources": {"toys": source}}
    (tmp_path / records.MANIFEST).write_text(json.dumps(manifest))
    return tmp_path


def shard_of(folder, name="m3it-train.tfrecord-00000-of-00002"):
    return folder / "toys" / "1.0.0" / name


def test_a_record_comes_back_as_it_was():
    assert records.decode(serialized(instance(4))) == instance(4)


@pytest.mark.parametrize("meta", ["[]", "3", "null", '"text"'])
def test_meta_that_is_no_object_is_refused(meta):
    import tensorflow as tf

    example = tf.train.Example.FromString(serialized(instance(4)))
    example.features.feature["meta"].bytes_list.value[0] = meta.encode()
    with pytest.raises(ValueError, match="'meta' is no JSON object"):
        records.decode(example.SerializeToString())


def test_fields_that_are_missing_are_named():
    import tensorflow as tf

    example = tf.train.Example.FromString(serialized(instance(1)))
    del example.features.feature["task"]
    with pytest.raises(ValueError, match="'task' is missing"):
        records.decode(example.SerializeToString())
    with pytest.raises(ValueError, match="no tf.train.Example"):
        records.decode(b"\xff\xff\xff")


def test_the_index_says_where_each_record_lies(folder):
    shard = shard_of(folder)
    index = records.read_index(shard)
    assert [(offset, len(data)) for offset, data in framing.scan(shard)] == list(
        zip(index.offsets.tolist(), index.lengths.tolist(), strict=True)
    )
    assert index.end() == shard.stat().st_size


def test_normalised_shards_are_equal_byte_for_byte(folder, tmp_path):
    shard = shard_of(folder)
    contents = []
    for order in (1, -1):  # the same maps, filled in another order
        import tensorflow as tf

        example = tf.train.Example.FromString(serialized(instance(3)))
        again = tf.train.Example()
        for name in sorted(example.features.feature)[::order]:
            again.features.feature[name].CopyFrom(example.features.feature[name])
        shard.write_bytes(framing.frame(again.SerializeToString()))
        records.normalise(shard)
        contents.append(shard.read_bytes())
    assert contents[0] == contents[1]
    assert records.decode(next(data for _, data in framing.scan(shard))) == instance(3)


def test_the_table_reads_any_record_of_any_shard(folder):
    table = records.DataFolder.open(folder).table("toys", "train")
    assert len(table) == 8
    for number in (7, 0, 5, 4, 7):
        assert table.read(number) == instance(number)
        assert table.ids[number] == instance(number).id
        assert table.num_images[number] == len(instance(number).images)


def test_many_threads_may_read(folder):
    table = records.DataFolder.open(folder).table("toys", "train")
    wrong = []

    def read(first):
        wrong.extend(n for n in range(first, first + 200) if table.read(n % 8) != instance(n % 8))

    threads = [threading.Thread(target=read, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_table_may_be_handed_to_another_process(folder):
    table = records.DataFolder.open(folder).table("toys", "train")
    table.read(0)
    assert pickle.loads(pickle.dumps(table)).read(6) == instance(6)


def test_a_flipped_byte_is_named_by_file_record_and_offset(folder):
    index = records.read_index(shard_of(folder))
    data = bytearray(shard_of(folder).read_bytes())
    data[int(index.offsets[2]) + 30] ^= 8
    shard_of(folder).write_bytes(bytes(data))
    table = records.DataFolder.open(folder).table("toys", "train")
    assert table.read(1) == instance(1)
    with pytest.raises(framing.BrokenRecordError) as caught:
        table.read(2)
    assert (caught.value.path, caught.value.record, caught.value.offset) == (shard_of(folder), 2, index.offsets[2])


def test_a_record_of_the_second_shard_is_counted_in_its_own_file(folder):
    shard = shard_of(folder, "m3it-train.tfrecord-00001-of-00002")
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(bytes(data))
    with pytest.raises(framing.BrokenRecordError) as caught:
        records.DataFolder.open(folder).table("toys", "train").read(7)
    assert (caught.value.path, caught.value.record) == (shard, 2)


def break_manifest(folder, **changes):
    manifest = json.loads((folder / records.MANIFEST).read_text())
    (folder / records.MANIFEST).write_text(json.dumps(manifest | changes))


BREAKS = {
    "no manifest": (lambda f: (f / records.MANIFEST).unlink(), "m3it mini"),
    "manifest is no JSON": (lambda f: (f / records.MANIFEST).write_text("{"), "cannot be read"),
    "another schema": (lambda f: break_manifest(f, schema_version=99), "schema_version is 99"),
    "field missing": (lambda f: break_manifest(f, sources={"toys": {"version": "1"}}), "missing or wrong"),
    "shard missing": (lambda f: shard_of(f).unlink(), "1 of 2 shards"),
    "shard cut": (lambda f: shard_of(f).write_bytes(shard_of(f).read_bytes()[:-1]), "bytes, its index speaks of"),
    "index missing": (lambda f: records.index_path(shard_of(f)).unlink(), "is missing"),
    "index damaged": (lambda f: records.index_path(shard_of(f)).write_bytes(b"PK"), "is damaged"),
    "count": (lambda f: write_shard(shard_of(f), range(4)), "has 7 records"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_folder_is_told_in_one_line(folder, name):
    spoil, words = BREAKS[name]
    spoil(folder)
    with pytest.raises(errors.UserError) as caught:
        records.DataFolder.open(folder).table("toys", "train")
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_an_index_with_pickled_objects_is_not_loaded(folder):
    path = records.index_path(shard_of(folder))
    with open(path, "wb") as file:
        np.savez(file, ids=np.array([object()]), offsets=np.zeros(1), lengths=np.zeros(1), num_images=np.zeros(1))
    with pytest.raises(errors.UserError, match="damaged"):
        records.load_index(shard_of(folder))


def test_unknown_names_are_answered_with_the_known_ones(folder):
    opened = records.DataFolder.open(folder)
    with pytest.raises(errors.UserError, match="no source 'toy'; it has toys"):
        opened.table("toy", "train")
    with pytest.raises(errors.UserError, match="no split 'validation'"):
        opened.table("toys", "validation")


def test_the_fingerprint_follows_the_records(folder):
    before = records.DataFolder.open(folder).fingerprint
    assert records.DataFolder.open(folder).fingerprint == before
    text = (folder / records.MANIFEST).read_text()
    (folder / records.MANIFEST).write_text(text.replace('"fingerprint": "f"', '"fingerprint": "g"'))
    assert records.DataFolder.open(folder).fingerprint != before
