import io
import pathlib
from collections.abc import Sequence

import hypothesis
import hypothesis.strategies as st
import numpy as np
import PIL
import probe_pictures
import pytest
from PIL import Image

from m3it_jax import schema
from m3it_jax.config import AugmentConfig
from m3it_jax.input_pipeline.pixels import augmentation, decoders, preprocessing, tiling

TESTS = pathlib.Path(__file__).parents[2]
GOLDEN = np.load(TESTS / "golden" / "tiles.npz")


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(width: int, height: int) -> bytes:
    return encoded(Image.new("RGB", (width, height), (9, 80, 200)))


def grids(images: list[bytes], new: Sequence[int], how: tiling.Tiling) -> list[tiling.Grid]:
    """Returns how the pictures of a record are cut whose turns show so many new ones."""
    turns = [{"instruction": "Read.", "outputs": "a", "new_pictures": count} for count in new[:-1]]
    meta = {"turns": turns, "new_pictures": new[-1]}
    return tiling.grids(schema.Instance("1", "s", "vqa", "en", "Read.", "", "a", tuple(images), meta), how)


def tiles(data: bytes, most: int, side: int, fit: str = "stretch", by=decoders.PILLOW) -> np.ndarray:
    (cut,) = grids([data], [1], tiling.Tiling(most, side))
    out = np.zeros((cut.slots, side, side, 3), np.uint8)
    tiling.decode((data, cut), out, fit=fit, by=by)
    return out


@pytest.mark.parametrize(("name", "most"), probe_pictures.TILED.items())
def test_tiles_are_those_of_the_reference(name, most):
    key = f"{name}/pillow{PIL.__version__.split('.')[0]}"
    if key not in GOLDEN:
        pytest.skip(f"no reference of Pillow {PIL.__version__}; run tests/reference/make_tiles.py with it")
    image = probe_pictures.make()[name]
    data = encoded(image.convert("RGB") if image.mode == "CMYK" else image)
    np.testing.assert_array_equal(tiles(data, most, probe_pictures.SIDE), GOLDEN[key])


def test_faster_decoders_make_the_same_tiles():
    data = encoded(probe_pictures.make()["wide"], "JPEG", quality=90)
    found = tiles(data, 6, 32, by=decoders.fastest())
    np.testing.assert_array_equal(found, tiles(data, 6, 32))
    assert len(found) == 4  # 331 x 97: three beside each other, and the overview


def test_grids_are_those_of_the_reference_but_for_pictures_no_larger_than_the_tower():
    rows = GOLDEN["grids"].astype(int)
    larger = rows[(rows[:, :2].max(axis=1) > rows[:, 2])]
    assert len(larger) > 3000
    for height, width, side, most, columns, down in larger.tolist():
        assert tiling.grid((height, width), tiling.Tiling(most, side)) == (columns, down)
    for height, width, side, most, *_ in rows[rows[:, :2].max(axis=1) <= rows[:, 2]].tolist():
        assert tiling.grid((height, width), tiling.Tiling(most, side)) == tiling.WHOLE


SIZES = st.integers(1, 5000)


@hypothesis.settings(max_examples=300, deadline=None)
@hypothesis.given(height=SIZES, width=SIZES, side=st.integers(1, 600), most=st.integers(1, 64))
def test_a_grid_has_at_most_the_tiles_and_the_nearest_shape(height, width, side, most):
    found = tiling.grid((height, width), tiling.Tiling(most, side))
    assert 1 <= found.columns * found.rows <= most
    assert found.slots == 1 if found == tiling.WHOLE else found.slots == found.columns * found.rows + 1
    if max(height, width) <= side:
        assert found == tiling.WHOLE
    else:
        every = [(c, r) for c in range(1, most + 1) for r in range(1, most + 1) if c * r <= most]
        distance = abs(width / height - found.columns / found.rows)
        assert distance == min(abs(width / height - c / r) for c, r in every)


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(columns=st.integers(1, 5), rows=st.integers(1, 5), side=st.integers(1, 9))
def test_what_was_split_can_be_joined(columns, rows, side):
    canvas = np.random.default_rng(0).integers(0, 256, (rows * side, columns * side, 3), np.uint8)
    parts = tiling.split(canvas, side)
    assert parts.shape == (rows * columns, side, side, 3)
    np.testing.assert_array_equal(parts[columns - 1], canvas[:side, (columns - 1) * side :])  # row by row
    np.testing.assert_array_equal(tiling.joined(parts, columns), canvas)


def test_a_picture_is_cut_where_its_turn_shows_it_alone():
    large, small = png(200, 100), png(20, 10)
    how = tiling.Tiling(4, 32)
    two, whole = tiling.Grid(2, 1), tiling.WHOLE

    def cut(images, *new):
        return grids(images, new, how)

    assert cut([large], 1) == [two]
    assert cut([small], 1) == [whole]
    assert cut([large, large], 2) == [whole, whole]  # a pair
    assert cut([large] * 8, 8) == [whole] * 8  # a video
    assert cut([large, large, large, small, large], 1, 2, 0, 1, 1) == [two, whole, whole, whole, two]
    assert cut([], 0) == []
    assert cut([b"no picture"], 1) == [whole]
    assert grids([large], [1], tiling.Tiling(1, 0)) == [whole]
    assert grids([large], ["two"], how) == [whole]  # turns of no form, which `check` names


def test_a_turned_picture_is_cut_as_it_is_shown():
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new("RGB", (300, 100))
    how = tiling.Tiling(3, 64)
    for kind in ("JPEG", "PNG"):
        data = encoded(image, kind, exif=exif)
        assert preprocessing.upright_size(data) == (300, 100)
        assert grids([data], [1], how) == [(1, 3)]
    assert preprocessing.upright_size(encoded(image)) == (100, 300)


def test_a_cut_picture_is_stretched_and_a_whole_one_fits_as_before():
    data = encoded(probe_pictures.make()["wide"])
    cropped = tiles(data, 4, 28, fit="crop")
    np.testing.assert_array_equal(cropped, tiles(data, 4, 28))
    np.testing.assert_array_equal(tiles(data, 1, 28, fit="crop")[0], preprocessing.decode_image(data, 28, "crop"))


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n", encoded(Image.new("RGB", (90, 30)))[:60]])
def test_a_damaged_picture_is_refused_where_it_is_decoded(data):
    with pytest.raises(preprocessing.PictureError):
        tiling.decode((data, tiling.Grid(3, 1)), np.zeros((4, 28, 28, 3), np.uint8), fit="stretch")


def test_tiles_are_augmented_as_one_picture():
    side, cut = 16, tiling.Grid(3, 2)
    canvas = np.tile(np.linspace(0, 255, 3 * side).astype(np.uint8)[None, :, None], (2 * side, 1, 3))
    overview = np.full((1, side, side, 3), 90, np.uint8)
    pictures = np.concatenate([tiling.split(canvas, side), overview, overview])
    config = AugmentConfig(shift=0.2, rotate=20.0, jitter=0.3)

    def chance():
        return np.random.default_rng(4)

    found = augmentation.augment_cut(pictures, [cut, tiling.WHOLE], config, rng=chance())
    wanted = augmentation.augment(canvas[None], config, chance())[0]
    np.testing.assert_array_equal(tiling.joined(found[:6], 3), wanted)
    np.testing.assert_array_equal(found[6], augmentation.augment(overview, config, chance())[0])
    np.testing.assert_array_equal(found[7], found[6])
    whole = augmentation.augment_cut(pictures, [tiling.WHOLE] * 8, config, rng=chance())
    np.testing.assert_array_equal(whole, augmentation.augment(pictures, config, chance()))
