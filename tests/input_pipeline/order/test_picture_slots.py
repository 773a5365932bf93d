"""Slots are counted and kept; and in batches the tiles lie in them, in rows of one record and in packed rows."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from m3it_jax import config, errors, schema
from m3it_jax.input_pipeline import batch_checks
from m3it_jax.input_pipeline.order import picture_slots
from m3it_jax.input_pipeline.pixels import tiling
from m3it_jax.input_pipeline.rows import record_rows

MOST = 4
# (width, height) -> the grid at a tower of 16 pixels.
SIZES = {(40, 24): (2, 1), (20, 60): (1, 3), (48, 48): (2, 2), (16, 9): (1, 1)}
UNPACKED = {"max_images": 40}
PACKED = {"packing": "rows", "row_len": 300, "row_images": 12}


def page(seed: int, size: tuple[int, int], kind: str = "PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def of_size(number: int) -> tuple[int, int]:
    return list(SIZES)[number // 2 % len(SIZES)]  # two records in a row are about one picture


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.fixture(scope="module")
def pages(tmp_path_factory, tiny):
    """Single pictures of four sizes, each with two records; pairs of large ones; conversations with a later picture."""
    ones = [tiny.instance("ones", n, images=(page(n // 2, of_size(n)),)) for n in range(16)]
    pairs = [tiny.instance("pairs", n, images=(page(70 + n, (40, 24)), page(90 + n, (48, 48)))) for n in range(6)]
    meta = {"turns": [{"instruction": "What?", "outputs": "a", "new_pictures": 1}], "new_pictures": 1}
    told = [dataclasses.replace(pair, id=f"told-{n}", source="told", meta=meta) for n, pair in enumerate(pairs)]
    return tiny.write_folder(tmp_path_factory.mktemp("pages"), {"ones": ones, "pairs": pairs, "told": told})


@pytest.fixture(scope="module")
def tiled(layout, tiny):
    return dataclasses.replace(layout, tiling=tiling.Tiling(MOST, tiny.SIZE))


def wanted_pictures(record: schema.Instance, side: int) -> list[np.ndarray]:
    """Returns the slots of each picture of a record, as the rule says them, by Pillow."""
    found = []
    for data in record.images:
        image = Image.open(io.BytesIO(data))
        columns, rows = SIZES[image.size] if record.source != "pairs" else (1, 1)
        large = np.asarray(image.resize((columns * side, rows * side), Image.Resampling.BICUBIC))
        parts = [
            large[row * side : (row + 1) * side, column * side : (column + 1) * side]
            for row in range(rows)
            for column in range(columns)
        ]
        if len(parts) > 1:
            parts.append(np.asarray(image.resize((side, side), Image.Resampling.BICUBIC)))
        found.append(np.stack(parts))
    return found


def records_of(folder) -> dict[str, schema.Instance]:
    tables = [folder.table(name, "train") for name in folder.sources]
    every = [table.read(number) for table in tables for number in range(len(table))]
    return {record.id: record for record in every}


def test_rows_of_one_record_show_tiles_in_order(make_pipeline, pages, tiled, tiny):
    made, records = make_pipeline(data_folder=pages, layout=tiled, **UNPACKED), records_of(pages)
    seen: dict[int, set[str]] = {}
    for step in range(30):
        batch, names = made.batch(step), made.record_ids(step)
        slots = len(batch["images"]) // len(names)
        length = tiled.row_len(slots)
        assert batch["token_ids"].shape == (len(names), length)
        batch_checks.check_first_batch(batch, tiled, vocab_size=400, record_ids=names)
        for place, name in enumerate(names):
            pictures = wanted_pictures(records[name], tiny.SIZE)
            shown = batch["images"][place * slots : (place + 1) * slots]
            np.testing.assert_array_equal(shown, np.concatenate(pictures))
            seen.setdefault(slots, set()).add(name)
            own = batch["image_token_index"][place]
            real = batch["segment_ids"][place] > 0
            # The marks stand around all tiles of a picture, and nothing between them.
            at = [np.flatnonzero((own >= 0) & real)]
            runs = np.split(at[0], np.flatnonzero(np.diff(at[0]) > 1) + 1)
            assert [len(run) for run in runs] == [tiled.picture_len * len(one) for one in pictures]
    assert {slots: len(names) for slots, names in seen.items()} == {1: 4, 2: 6, 3: 4, 4: 4, 5: 4, 8: 6}


def test_packed_rows_share_a_cut_picture(make_pipeline, pages, tiled, tiny):
    made, records = make_pipeline(data_folder=pages, layout=tiled, **PACKED), records_of(pages)
    assert made.max_targets and made.plan.budgets.images == 12
    shapes, num_shared = set(), 0
    for step in range(4):
        batch = made.batch(step)
        batch_checks.check_first_batch(batch, tiled, vocab_size=400, record_ids=["row"] * 8)
        shapes.add(tuple((name, batch[name].shape) for name in sorted(batch)))
        for row, names in enumerate(made.row_ids(step)):
            shown = batch["images"][row * 12 : (row + 1) * 12]
            index = batch["image_token_index"][row]
            used = 0
            parents = batch["parent_ids"][row]
            for parent in np.unique(parents[parents > 0]):
                members = np.unique(batch["segment_ids"][row][parents == parent])
                group = names[: max(len(members) - 1, 1)]
                names = names[len(group) :]
                num_shared += len(group) > 1
                pictures = np.concatenate(wanted_pictures(records[group[0]], tiny.SIZE))
                np.testing.assert_array_equal(shown[used : used + len(pictures)], pictures)
                places = index[(parents == parent) & (index >= 0)]
                assert places.tolist() == list(
                    range(used * tiled.picture_len, (used + len(pictures)) * tiled.picture_len)
                )
                used += len(pictures)
            assert not names and not shown[used:].any()
    assert len(shapes) == 1 and num_shared > 4


def test_tiles_of_a_row_are_augmented_as_one_picture(make_pipeline, pages, tiled, tiny):
    change = config.AugmentConfig(shift=0.1, rotate=10.0, jitter=0.2)
    for sizes in (UNPACKED, PACKED):
        plain = make_pipeline(data_folder=pages, layout=tiled, **sizes)
        changed = make_pipeline(data_folder=pages, layout=tiled, augment=change, **sizes)
        assert plain.row_ids(1) == changed.row_ids(1)
        before, after = plain.batch(1)["images"], changed.batch(1)["images"]
        assert before.shape == after.shape and (before != after).any()


def test_the_fingerprint_names_the_tiles(make_pipeline, pages, layout, tiled, tiny):
    for sizes in (UNPACKED, PACKED):
        whole = make_pipeline(data_folder=pages, layout=layout, **sizes)
        cut = make_pipeline(data_folder=pages, layout=tiled, **sizes)
        more = dataclasses.replace(layout, tiling=tiling.Tiling(MOST - 1, tiny.SIZE))
        fewer = make_pipeline(data_folder=pages, layout=more, **sizes)
        assert len({whole.fingerprint, cut.fingerprint, fewer.fingerprint}) == 3
        assert "tiles" not in whole.parts and cut.parts["tiles"] != fewer.parts["tiles"]
        assert whole.parts == {name: value for name, value in cut.parts.items() if name != "tiles"}


def test_counts_are_kept_and_checked(pages, tiny, capfd):
    cut = tiling.Tiling(3, tiny.SIZE)
    for path in (pages.path / "lengths").glob("ones-train-slots-*.npz"):
        path.unlink()
    made = picture_slots.load(pages, "ones", "train", cut=cut)
    assert made.tolist() == [3, 3, 4, 4, 1, 1, 1, 1] * 2  # of three tiles, no square grid but 1 x 1
    (path,) = (pages.path / "lengths").glob("ones-train-slots-*.npz")
    before = path.read_bytes()
    assert picture_slots.load(pages, "ones", "train", cut=cut).tolist() == made.tolist()
    assert path.read_bytes() == before
    path.write_bytes(before[:100])
    capfd.readouterr()
    assert picture_slots.load(pages, "ones", "train", cut=cut).tolist() == made.tolist()
    assert "is damaged" in capfd.readouterr().err and path.read_bytes() == before
    path.unlink()
    assert picture_slots.load(pages, "pairs", "train", cut=cut).tolist() == [2] * 6
    assert picture_slots.load(pages, "ones", "train", cut=tiling.Tiling()).tolist() == [1] * 16


def test_a_record_that_takes_other_slots_than_counted_is_refused(make_pipeline, pages, tiled, monkeypatch):
    made = make_pipeline(data_folder=pages, layout=tiled, mixture={"ones": 1.0}, **UNPACKED)
    monkeypatch.setattr(record_rows, "cuts", lambda layout, instance: [tiling.Grid(4, 1)])
    with pytest.raises(errors.UserError, match=r"record ones-\d+: its pictures take 5 slots, the counts .* say 1"):
        _first(made)


def _first(made):
    for step in range(100):
        num_images, _ = made.plan.step(step)
        if num_images == 1:
            return made.batch(step)
    raise AssertionError("no step of whole pictures")


def test_a_cut_picture_that_is_damaged_takes_its_successor(make_pipeline, tmp_path, tiled, tiny, capfd):
    records = [tiny.instance("ones", n, images=(page(n, (48, 48)),)) for n in range(12)]
    data = records[5].images[0]
    records[5] = dataclasses.replace(records[5], images=(data[: len(data) // 2],))
    records[7] = dataclasses.replace(records[7], images=(b"no picture",))
    folder = tiny.write_folder(tmp_path / "broken", {"ones": records})
    made = make_pipeline(data_folder=folder, layout=tiled, max_bad_share=0.5, mixture={"ones": 1.0}, **UNPACKED)
    assert picture_slots.load(folder, "ones", "train", cut=tiled.tiling).tolist() == [5] * 7 + [1] + [5] * 4
    with pytest.raises(errors.UserError, match="ones-7|no record"):
        _first(made)  # the only one of its kind has no successor
    for step in range(20):
        num_images, rows = made.plan.step(step)
        if num_images == 5 and 5 in rows[:, 1]:
            place = rows[:, 1].tolist().index(5)
            shown = made.batch(step)["images"][place * 5 : place * 5 + 5]
            np.testing.assert_array_equal(shown, wanted_pictures(records[6], tiny.SIZE)[0])
            break
    assert "ones-6 takes its place" in capfd.readouterr().err


def test_a_record_with_too_many_tiles_for_a_row_is_refused(make_pipeline, pages, tiled):
    with pytest.raises(errors.UserError, match=r"told-\d+"):
        make_pipeline(data_folder=pages, layout=tiled, packing="rows", row_len=300, row_images=6, too_long="error")
    kept = make_pipeline(
        data_folder=pages,
        layout=tiled,
        packing="rows",
        row_len=300,
        row_images=6,
        too_long="drop",
        mixture={"ones": 1.0},
    )
    assert not kept.plan.num_dropped
    with pytest.raises(errors.UserError, match="no record of source 'told' is left"):
        make_pipeline(data_folder=pages, layout=tiled, packing="rows", row_len=300, row_images=6, too_long="drop")
