import json
import tracemalloc

import numpy as np
import pytest
import safetensors.numpy

from m3it_jax import errors, safetensors_files

ROW = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}


def write(path, header, data=bytes(24), *, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {
        "a": rng.normal(size=(3, 5)).astype(np.float32),
        "b": rng.normal(size=7).astype(np.float16),
        "c": rng.normal(size=(2, 1, 2)).astype(safetensors_files.DTYPES["BF16"]),
        "d": np.arange(4),
        "scalar": np.asarray(3.0, np.float32),
        "none": np.zeros((0, 4), np.float32),
    }


def test_files_of_the_reference_are_read(tmp_path, arrays):
    safetensors.numpy.save_file(arrays, tmp_path / "m.safetensors", {"format": "pt"})
    read = safetensors_files.read_header(tmp_path / "m.safetensors")
    assert read.keys() == arrays.keys()
    for key, array in arrays.items():
        mapped = read[key].mapped()
        assert mapped.dtype == array.dtype and not (mapped.flags.writeable and mapped.size)
        np.testing.assert_array_equal(mapped, array)


def test_the_reference_reads_our_files(tmp_path, arrays):
    safetensors_files.write(tmp_path / "m.safetensors", arrays, metadata={"format": "pt"})
    with safetensors.safe_open(tmp_path / "m.safetensors", "numpy") as file:
        assert file.metadata() == {"format": "pt"} and set(file.keys()) == arrays.keys()
    read = safetensors.numpy.load_file(tmp_path / "m.safetensors")
    for key, array in arrays.items():
        np.testing.assert_array_equal(read[key], array)
    ours = safetensors_files.read_header(tmp_path / "m.safetensors")
    assert min(tensor.offset for tensor in ours.values()) % 64 == 0


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (b"[1]", "no JSON object"),
        (b'{"a": ', "no JSON (JSONDecodeError)"),
        (b'{"a":' * 50_000, "no JSON (RecursionError)"),
        (b'{"a": 1, "a": 2}', "names a twice"),
        ({"a": 1}, "must have dtype, shape and data_offsets"),
        ({"a": {**ROW, "more": 1}}, "must have dtype, shape and data_offsets"),
        ({"a": {**ROW, "dtype": "F4"}}, "has dtype F4"),
        ({"a": {**ROW, "dtype": "F8_E4M3"}}, "has dtype F8_E4M3, which is not read"),
        ({"a": {**ROW, "dtype": "F8_E5M2"}}, "take the checkpoint in F32, F16 or BF16"),
        ({"a": {**ROW, "dtype": ["F32"]}}, "has dtype ['F32']"),
        ({"a": {**ROW, "shape": [2, -3]}}, "is no list of sizes"),
        ({"a": {**ROW, "shape": [2, 3.0]}}, "is no list of sizes"),
        ({"a": {**ROW, "shape": [1] * 17}}, "is no list of sizes"),
        ({"a": {**ROW, "shape": [2, 4]}}, "F32 of shape (2, 4) needs 32"),
        ({"a": {**ROW, "shape": [1 << 40, 1 << 40]}}, "has 24 bytes, but F32"),
        ({"a": {**ROW, "data_offsets": [24, 0]}}, "has -24 bytes, but F32"),
        ({"a": {**ROW, "data_offsets": [0, 1 << 70]}}, "which are no two places"),
        ({"a": ROW, "b": ROW}, "overlaps the tensor before it"),
        ({"a": {**ROW, "data_offsets": [8, 32]}}, "leaves a hole before it"),
        ({"a": ROW, "b": {**ROW, "data_offsets": [24, 48]}}, "is cut off"),
        ({}, "has bytes that belong to no tensor"),
    ],
)
def test_headers_that_lie_are_refused(tmp_path, header, words):
    with pytest.raises(errors.UserError) as error:
        safetensors_files.read_header(write(tmp_path / "m.safetensors", header))
    message = str(error.value)
    assert words in message and message.startswith(str(tmp_path / "m.safetensors")) and "\n" not in message


def test_a_header_of_200_megabytes_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes((200_000_000).to_bytes(8, "little") + b"{")
    with open(path, "r+b") as file:
        file.truncate(300_000_000)  # sparse
    tracemalloc.start()
    with pytest.raises(errors.UserError, match="its header has 200000000 bytes, at most 100000000 are allowed"):
        safetensors_files.read_header(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize("size", [0, 5, 8, 40, 100])
def test_files_that_are_cut_off_are_refused(tmp_path, size):
    path = write(tmp_path / "m.safetensors", {"a": ROW})
    path.write_bytes(path.read_bytes()[: min(size, path.stat().st_size - 1)])
    with pytest.raises(errors.UserError, match=r"m\.safetensors: .*cut off"):
        safetensors_files.read_header(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(errors.UserError, match=r"m\.safetensors: cannot be read \(No such file"):
        safetensors_files.read_header(tmp_path / "m.safetensors")


def test_names_from_files_are_safe_to_print():
    assert safetensors_files.short("a\x1b[2J\n") == r"'a\x1b[2J\n'"
    assert len(safetensors_files.short("k" * 10_000)) == 120
