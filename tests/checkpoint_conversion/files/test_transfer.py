import dataclasses
import itertools
import time

import numpy as np
import pytest

from m3it_jax import errors, safetensors_files
from m3it_jax.checkpoint_conversion.files import sources, transfer
from m3it_jax.checkpoint_conversion.files.sources import Made, Stored, Summed
from m3it_jax.checkpoint_conversion.files.transfer import Move

BFLOAT16 = safetensors_files.DTYPES["BF16"]


def stored(tmp_path, array, name="source"):
    path = tmp_path / f"{name}.safetensors"
    safetensors_files.write(path, {"other": np.ones(3, np.float32), "t": array})
    return Stored(safetensors_files.read_header(path)["t"])


def moved(tmp_path, source, axes, *, dtype=None, name="target"):
    """Returns what a move of a whole tensor has written."""
    dtype = source.dtype if dtype is None else np.dtype(dtype)
    path = tmp_path / f"{name}.safetensors"
    shape = source.shape if axes is None else [source.shape[axis] for axis in axes]
    place = safetensors_files.create(path, [("first", dtype, (5,)), ("t", dtype, shape)])["t"]
    transfer.run([Move(source, 0, source.shape, axes, path, place.offset, dtype)])
    return safetensors_files.read_header(path)["t"].mapped()


@pytest.mark.parametrize("shape", [(2, 3, 4), (1, 3, 5), (4, 1, 1), (7, 2, 1)])
def test_every_order_of_axes_is_what_numpy_makes_of_it(tmp_path, shape):
    array = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    source = stored(tmp_path, array)
    for number, axes in enumerate([None, *itertools.permutations(range(3))]):
        written = moved(tmp_path, source, axes, name=f"target{number}")
        np.testing.assert_array_equal(written, array if axes is None else array.transpose(axes))


# Larger than a block, not a multiple of a tile, wider than a block, one row or column.
@pytest.mark.parametrize("shape", [(1031, 777), (3, 700_001), (300_007, 2), (1, 4000), (4000, 1)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_matrices_larger_than_a_block_are_turned(tmp_path, shape, dtype):
    array = np.random.default_rng(0).integers(0, 1 << 15, shape, np.uint16).astype(dtype)
    np.testing.assert_array_equal(moved(tmp_path, stored(tmp_path, array), (1, 0)), array.T)


def test_large_tables_are_copied_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "_PART", 1000)
    array = np.random.default_rng(0).normal(size=(123, 37)).astype(np.float32)
    np.testing.assert_array_equal(
        moved(tmp_path, stored(tmp_path, array), None, dtype=BFLOAT16), array.astype(BFLOAT16)
    )


@pytest.mark.parametrize("axes", [None, (1, 0)])
def test_numbers_change_their_type_on_the_way(tmp_path, axes):
    array = np.random.default_rng(0).normal(size=(300, 1500)).astype(np.float32)
    written = moved(tmp_path, stored(tmp_path, array), axes, dtype=BFLOAT16)
    np.testing.assert_array_equal(written, array.transpose(axes or (0, 1)).astype(BFLOAT16))


def test_pieces_of_one_tensor_go_to_slots_of_several_files(tmp_path):
    array = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    source, moves = stored(tmp_path, array), []
    for number in range(3):
        path = tmp_path / f"part{number}.safetensors"
        place = safetensors_files.create(path, [("t", np.float32, (2, 4, 2))])["t"]
        moves += [
            Move(source, number * 8, (2, 4), (1, 0), path, place.offset + layer * 32, source.dtype)
            for layer in range(2)
        ]
    told = []
    transfer.run(moves, finished=told.append)
    assert told == [32] * 6
    for number in range(3):
        written = safetensors_files.read_header(tmp_path / f"part{number}.safetensors")["t"].mapped()
        np.testing.assert_array_equal(written, np.stack([array[2 * number : 2 * number + 2].T] * 2))


def test_a_delta_is_added_in_its_own_type_and_rows_without_a_base_stay(tmp_path):
    rng = np.random.default_rng(0)
    delta, base = rng.normal(size=(9, 5)).astype(np.float16), rng.normal(size=(6, 5)).astype(np.float32)
    source = Summed(stored(tmp_path, delta, "delta"), stored(tmp_path, base, "base"))
    wanted = delta.copy()
    wanted[:6] += base.astype(np.float16)
    np.testing.assert_array_equal(moved(tmp_path, source, (1, 0)), wanted.T)
    np.testing.assert_array_equal(sources.whole(source), wanted)


def test_computed_tensors_must_be_what_they_say(tmp_path):
    made = Made(np.dtype(np.float32), (2, 3), tmp_path, lambda: np.arange(6, dtype=np.float32).reshape(3, 2).T)
    np.testing.assert_array_equal(moved(tmp_path, made, (1, 0)), np.arange(6).reshape(3, 2))
    wrong = Made(np.dtype(np.float32), (2, 3), tmp_path, lambda: np.zeros((2, 3)))
    with pytest.raises(ValueError, match="made float64"):
        moved(tmp_path, wrong, None, name="wrong")


def test_a_failure_of_one_move_ends_the_others(tmp_path):
    path = tmp_path / "target.safetensors"
    place = safetensors_files.create(path, [("t", np.float32, (2,))])["t"]

    def fail():
        raise OSError(28, "No space left on device")

    made = []

    def slow():
        made.append(time.sleep(0.01))
        return np.zeros(2, np.float32)

    bad, good = (Made(np.dtype(np.float32), (2,), tmp_path, make) for make in (fail, slow))
    for order in ((bad, *[good] * 50), (good, bad, *[good] * 50)):  # either worker may be the one that fails
        made.clear()
        moves = [Move(source, 0, (2,), None, path, place.offset, place.dtype) for source in order]
        with pytest.raises(OSError, match="No space left"):
            transfer.run(moves)
        assert len(made) < 10


@pytest.mark.parametrize(
    ("value", "dtype", "told"),
    [
        (np.inf, np.float32, r"a\.weight\[1, 2\] is inf; the weights are damaged"),
        (np.nan, np.float16, r"a\.weight\[1, 2\] is nan; the weights are damaged"),
        (1e30, np.float16, r"a\.weight: holds numbers too large for float16; import it with --dtype float32"),
    ],
)
def test_what_is_no_number_is_told_with_its_place_and_what_grew_too_large_with_its_type(tmp_path, value, dtype, told):
    values = np.ones((2, 3), np.float32)
    values[1, 2] = value
    source = Made(np.dtype(np.float32), (2, 3), tmp_path, lambda: values)
    place = safetensors_files.create(tmp_path / "out.safetensors", [("t", np.dtype(dtype), (2, 3))])["t"]
    move = Move(source, 0, (2, 3), None, tmp_path / "out.safetensors", place.offset, np.dtype(dtype))
    with pytest.raises(errors.UserError, match=told):
        transfer.run([dataclasses.replace(move, name="a.weight")])
