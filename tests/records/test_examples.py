"""The record's bytes are those of TensorFlow's own messages."""

import subprocess
import sys

import numpy as np
import pytest

from m3it_jax import schema
from m3it_jax.records import examples

PNG = b"\x89PNG\r\n\x1a\n"


def instance(**changes) -> schema.Instance:
    values = {"id": "toys-1", "source": "toys", "task": "vqa", "language": "zh", "instruction": "看图。", "inputs": ""}
    values |= {"outputs": "a\nb", "images": (PNG, PNG + bytes(40_000)), "meta": {"group": "g", "n": [1, 2.5, None]}}
    return schema.Instance(**(values | changes))


def by_tensorflow(record: schema.Instance) -> bytes:
    import tensorflow as tf

    example = tf.train.Example()
    for name, value in examples.to_features(record).items():
        example.features.feature[name].bytes_list.value.extend(value if name == "images" else [value.encode()])
    return example.SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    "changes",
    [{}, {"images": ()}, {"images": (b"",)}, {"meta": {}}, {"outputs": "x" * 127}, {"outputs": "x" * 128}]
    + [{"inputs": "x" * number} for number in (16_383, 16_384, 70_000)],
)
def test_bytes_are_those_of_tensorflow(changes):
    record = instance(**changes)
    assert examples.encode(record) == by_tensorflow(record)
    assert examples.decode(by_tensorflow(record)) == record
    assert b"".join(examples.encoded_parts(record)) == examples.encode(record)


def test_a_picture_is_not_copied():
    record = instance()
    assert any(part is record.images[1] for part in examples.encoded_parts(record))


def test_damaged_bytes_are_refused_as_tensorflow_refuses_them():
    import tensorflow as tf

    data, chance, refused = examples.encode(instance(images=(PNG,))), np.random.default_rng(0), 0
    for _ in range(2000):
        broken = bytearray(data)
        for place in chance.integers(0, len(data), 1 + int(chance.integers(3))):
            broken[place] = int(chance.integers(256))
        try:
            wanted = tf.train.Example.FromString(bytes(broken)).features.feature
            values = {name: list(wanted[name].bytes_list.value) for name in wanted}
        except Exception:
            values = None
        try:
            found = examples.decode(bytes(broken))
        except ValueError:
            refused += 1
            continue
        assert values is not None and found.outputs.encode() == values["outputs"][0]
        assert list(found.images) == values["images"]
    assert 100 < refused < 1990


def test_tensorflow_is_not_needed():
    code = "import sys; from m3it_jax import records; records.decode(b'') if sys.argv[1:] else 0; " + (
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
