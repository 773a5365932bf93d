"""Hashes of pictures: copies are found, strangers are not."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from m3it_jax import errors
from m3it_jax.evaluation import picture_hashes, planted


def drawing(seed: int, size: tuple[int, int] = (96, 72)) -> bytes:
    """Returns a picture with something in it: a shaded ground and a few shapes."""
    chance = np.random.default_rng(seed)
    rows, columns = np.mgrid[: size[1], : size[0]]
    tilt = chance.uniform(-1, 1, (2, 3))
    ground = 128 + rows[..., None] * tilt[0] + columns[..., None] * tilt[1]
    picture = Image.fromarray(np.clip(ground, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for _ in range(6):
        x, y, w, h = chance.integers(0, 60), chance.integers(0, 45), chance.integers(8, 36), chance.integers(8, 30)
        draw.ellipse((x, y, x + w, y + h), fill=tuple(chance.integers(0, 256, 3).tolist()))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def test_changed_copies_are_found_and_strangers_are_not():
    found, false_alarms = planted.recall([drawing(seed) for seed in range(40)], seed=0)
    assert set(found) == set(planted.CHANGES)
    assert all(share >= 0.95 for name, share in found.items() if name != "cropped by 10 %"), found
    assert found["cropped by 10 %"] >= 0.75
    assert false_alarms < 0.002


def test_a_window_of_the_known_and_a_window_of_the_asked_are_both_found():
    whole = drawing(3)
    with Image.open(io.BytesIO(whole)) as opened:
        part = io.BytesIO()
        opened.crop((0, 0, 82, 61)).save(part, "PNG")
    pair = [picture_hashes.small(whole), picture_hashes.small(part.getvalue())]
    for known, asked in (pair, pair[::-1]):
        (match,) = picture_hashes.Index([known]).matches([asked])
        assert (match.known, match.asked) == (0, 0) and match.correlation >= picture_hashes.CORRELATION


def test_colour_tells_pictures_of_one_shape_apart():
    red, blue = (Image.new("RGB", (64, 64), "white") for _ in range(2))
    ImageDraw.Draw(red).rectangle((10, 10, 50, 50), fill=(255, 0, 0))
    ImageDraw.Draw(blue).rectangle((10, 10, 50, 50), fill=(76, 76, 255))
    smalls = []
    for picture in (red, blue):
        file = io.BytesIO()
        picture.save(file, "PNG")
        smalls.append(picture_hashes.small(file.getvalue()))
    assert not list(picture_hashes.Index(smalls[:1]).matches(smalls[1:]))


def test_nothing_to_see_and_nothing_to_compare():
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "white").save(file, "PNG")
    assert not picture_hashes.small(file.getvalue()).has_contrast
    assert picture_hashes.small(drawing(1)).has_contrast
    assert not list(picture_hashes.Index([]).matches([picture_hashes.small(drawing(1))]))
    with pytest.raises(errors.UserError, match="cannot be read"):
        picture_hashes.small(b"\x89PNG\r\n\x1a\nno picture")


@pytest.mark.parametrize("kind", ["EPS", "GIF"])
def test_what_no_record_holds_is_not_opened(kind) -> None:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, kind)
    with pytest.raises(errors.UserError, match="picture cannot be read"):
        picture_hashes.small(file.getvalue())
