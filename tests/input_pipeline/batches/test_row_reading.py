"""Rows that cannot be read take their successors: the same ones on every host, told, counted, and not too many."""

import dataclasses
import os
import pathlib

import numpy as np
import pytest

from m3it_jax import errors, records
from m3it_jax.input_pipeline.batches import row_reading
from m3it_jax.input_pipeline.pixels import decoders, tiling


def broken_picture(tiny, number: int):
    return tiny.instance("ones", number, images=(tiny.instance("ones", number).images[0][:200],))


@pytest.fixture
def damaged(tmp_path, tiny):
    """Twenty records: the pictures of 3, 4 and 19 are cut off, and a byte of record 7 is flipped."""
    made = [broken_picture(tiny, n) if n in (3, 4, 19) else tiny.instance("ones", n) for n in range(20)]
    folder = tiny.write_folder(tmp_path / "data", {"ones": made})
    shard = next(pathlib.Path(tmp_path).rglob("*-train.tfrecord-00000-of-00001"))
    data = bytearray(shard.read_bytes())
    data[int(records.load_index(shard).offsets[7]) + 100] ^= 1
    shard.write_bytes(bytes(data))
    return folder


def planned_and_read(made, step: int) -> list[tuple[str, np.ndarray]]:
    """Returns what the order names for each row, and what the row shows."""
    batch = made.batch(step)
    return list(zip(made.record_ids(step), batch["images"], strict=True))


def test_a_row_that_cannot_be_read_takes_its_successor(damaged, make_pipeline, tiny, capfd):
    made = make_pipeline(data_folder=damaged, max_bad_share=0.5)
    instead = {3: 5, 4: 5, 7: 8, 19: 0}
    seen = set()
    for step in range(8):
        for name, shown in planned_and_read(made, step):
            number = int(name.split("-")[1])
            seen.add(number)
            sound = tiny.instance("ones", instead.get(number, number))
            shots = [(image, tiling.WHOLE) for image in sound.images]
            wanted = np.empty((1, tiny.SIZE, tiny.SIZE, 3), np.uint8)
            assert row_reading.decode_all(shots, wanted, fit="stretch", by=decoders.PILLOW) == {}
            np.testing.assert_array_equal(shown, wanted[0])
    assert set(range(20)) == seen
    assert set(made.bad_records) == {"ones-3", "ones-4", "ones-7", "ones-19"}
    told = [line for line in capfd.readouterr().err.splitlines() if line.startswith("m3it: record")]
    assert len(told) == 4  # each once, however often it is met
    assert any("ones-19: picture is damaged" in line and "ones-0 takes its place" in line for line in told)
    assert any("record 7 at byte" in line and "checksum" in line and "ones-8 takes its place" in line for line in told)


def test_every_host_and_every_start_replaces_alike(damaged, make_pipeline):
    whole = make_pipeline(data_folder=damaged, max_bad_share=0.5)
    for step in (5, 2, 0):
        alone = whole.batch(step)
        parts = [
            make_pipeline(data_folder=damaged, max_bad_share=0.5).batch(step, process_index=host, process_count=2)
            for host in range(2)
        ]
        for name, array in alone.items():
            np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), array)


def test_towers_replace_too(damaged, make_pipeline):
    made = make_pipeline(data_folder=damaged, objective="towers", max_bad_share=0.5)
    assert all(batch["images"].shape[0] == 8 for batch in made.batches(0, 6))
    assert len(made.bad_records) == 4


def test_too_many_stop_the_run(damaged, make_pipeline):
    made = make_pipeline(data_folder=damaged, max_bad_share=0.1)
    with pytest.raises(errors.UserError, match=r"3 of 20 records cannot be read: record ones-.*data.max_bad_share=0.1"):
        list(made.batches(0, 20))
    with pytest.raises(errors.UserError, match=r"^record ones-\d+: .*data.max_bad_share=0.001"):
        list(make_pipeline(data_folder=damaged).batches(0, 20))


def test_a_source_of_which_nothing_can_be_read_ends(tmp_path, tiny, make_pipeline):
    folder = tiny.write_folder(tmp_path / "data", {"ones": [broken_picture(tiny, n) for n in range(3)]})
    with pytest.raises(errors.UserError, match="ones: no record with 1 pictures can be read"):
        make_pipeline(data_folder=folder, max_bad_share=1.0, global_batch_size=2).batch(0)


def test_a_shard_that_is_gone_is_named_and_not_replaced(tmp_path, tiny, make_pipeline):
    folder = tiny.write_folder(tmp_path / "data", {"ones": [tiny.instance("ones", n) for n in range(8)]})
    made = make_pipeline(data_folder=folder, max_bad_share=1.0)
    shard = next(pathlib.Path(tmp_path).rglob("*-train.tfrecord-00000-of-00001"))
    os.unlink(shard)
    with pytest.raises(errors.UserError, match=rf"{shard.name}: cannot be read \(No such file.*build the data folder"):
        made.batch(0)


def test_a_shard_that_is_cut_off_while_it_is_read_is_named(tmp_path, tiny, make_pipeline):
    folder = tiny.write_folder(tmp_path / "data", {"ones": [tiny.instance("ones", n) for n in range(16)]})
    made = make_pipeline(data_folder=folder)
    made.batch(0)
    shard = next(pathlib.Path(tmp_path).rglob("*-train.tfrecord-00000-of-00001"))
    os.truncate(shard, 100)
    with pytest.raises(errors.UserError, match=rf"{shard.name}: record \d+ at byte \d+: the file ends inside"):
        for step in range(1, 4):
            made.batch(step)


def test_a_record_of_a_hundred_pictures_is_read_or_refused_by_its_number(tmp_path, tiny, make_pipeline):
    many = tuple(tiny.instance("films", n % 16).images[n % 8] for n in range(100))
    record = dataclasses.replace(tiny.instance("ones", 0), images=many)
    folder = tiny.write_folder(tmp_path / "data", {"ones": [record, tiny.instance("ones", 1)]})
    with pytest.raises(errors.ConfigError, match="data.max_images=16: source 'ones' has records with 100 pictures"):
        make_pipeline(data_folder=folder)
    made = make_pipeline(data_folder=folder, max_images=100)
    step = next(step for step in range(100) if made.plan.step(step)[0] == 100)
    assert made.batch(step)["images"].shape == (100, tiny.SIZE, tiny.SIZE, 3)


@pytest.mark.parametrize("cores", [1, 3])
def test_the_number_of_cores_changes_no_pixel(make_pipeline, monkeypatch, cores):
    wanted = make_pipeline().batch(2)
    monkeypatch.setattr(row_reading, "num_cores", lambda: cores)
    for name, array in make_pipeline().batch(2).items():
        np.testing.assert_array_equal(array, wanted[name])


def test_a_fault_of_the_program_is_not_taken_for_a_bad_picture(monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("a fault")

    monkeypatch.setattr(row_reading.tiling, "decode", fail)
    with pytest.raises(RuntimeError, match="a fault"):
        row_reading.decode_all(
            [(b"", tiling.WHOLE)] * 5, np.empty((5, 8, 8, 3), np.uint8), fit="stretch", by=decoders.PILLOW
        )
