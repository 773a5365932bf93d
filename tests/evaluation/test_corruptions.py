"""Pictures made worse: each way does what its name says, more at higher strengths, and always in the same way."""

import io

import numpy as np
import pytest
from PIL import Image

from m3it_jax import errors
from m3it_jax.evaluation import corruptions
from m3it_jax.input_pipeline.pixels import preprocessing


def encoded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def decoded(image: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(image)) as opened:
        assert (opened.format, opened.mode) == ("PNG", "RGB")
        return np.asarray(opened).astype(np.float64)


def photo(height: int = 96, width: int = 128) -> np.ndarray:
    """A picture with edges, slopes and grain in all channels."""
    chance = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    base = np.stack([x * 255 / width, y * 255 / height, 255 * ((x // 7 + y // 7) % 2)], axis=-1)
    return np.clip(0.5 * base + chance.normal(0, 12, base.shape) + 40, 0, 255).astype(np.uint8)


def change(way: str, strength: int, pixels: np.ndarray, name: str = "p") -> np.ndarray:
    return decoded(corruptions.corrupted(encoded(pixels), way, strength=strength, seed=0, name=name))


@pytest.mark.parametrize("way", corruptions.CORRUPTIONS)
def test_a_greater_strength_changes_more(way):
    pixels = photo(160, 160)
    errors_of = [np.abs(change(way, strength, pixels) - pixels).mean() for strength in corruptions.STRENGTHS]
    assert errors_of[0] == min(errors_of) > 0.5 and errors_of[-1] == max(errors_of)
    assert len(set(errors_of)) == len(errors_of)


@pytest.mark.parametrize("way", corruptions.CORRUPTIONS)
def test_the_same_picture_changes_in_the_same_way(way):
    pixels = photo()
    np.testing.assert_array_equal(change(way, 3, pixels), change(way, 3, pixels))


def test_noise_has_the_deviation_that_is_stated_and_differs_between_pictures():
    grey = np.full((200, 200, 3), 128, np.uint8)
    noisy = change("noise", 1, grey)
    assert np.std(noisy) == pytest.approx(0.08 * 255, rel=0.02)
    assert np.abs(noisy - change("noise", 1, grey, name="q")).mean() > 10


def test_contrast_keeps_the_mean_and_a_share_of_the_differences():
    pixels = photo()
    flat = change("contrast", 2, pixels)
    np.testing.assert_allclose(flat.mean((0, 1)), pixels.mean((0, 1)), atol=0.6)
    np.testing.assert_allclose(flat.std((0, 1)), 0.3 * pixels.std((0, 1)), rtol=0.03)


def test_brightness_adds_to_the_greatest_channel():
    dark = np.full((8, 8, 3), (10, 20, 40), np.uint8)
    np.testing.assert_allclose(change("brightness", 2, dark)[..., 2], 40 + 51, atol=1)


def test_pixels_become_blocks():
    blocks = change("pixels", 5, photo(64, 64))  # 16 x 16 of them
    assert len(np.unique(blocks.reshape(16, 4, 16, 4, 3).std((1, 3)))) == 1


def test_a_blur_is_as_wide_on_a_small_picture_as_on_a_large_one():
    def spread(side: int) -> float:
        line = np.zeros((side, side, 3), np.uint8)
        line[:, side // 2 :] = 255
        row = np.diff(change("blur", 3, line)[side // 2, :, 0])
        places = np.arange(side - 1)
        mean = (row * places).sum() / row.sum()
        return float(np.sqrt((row * (places - mean) ** 2).sum() / row.sum())) / side

    assert spread(56) == pytest.approx(spread(224), rel=0.25)
    assert spread(224) == pytest.approx(3 / 224, rel=0.1)


def test_a_large_picture_is_made_smaller_first():
    assert change("jpeg", 1, photo(448, 896)).shape == (224, 448, 3)


def test_every_record_has_one_way_and_all_ways_are_used():
    ways = [corruptions.corruption_of(f"id-{number}", seed=0) for number in range(200)]
    assert set(ways) == set(corruptions.CORRUPTIONS)
    assert ways == [corruptions.corruption_of(f"id-{number}", seed=0) for number in range(200)]
    assert ways != [corruptions.corruption_of(f"id-{number}", seed=1) for number in range(200)]


def test_a_picture_is_made_worse_as_it_is_shown_upright_and_on_white():
    pixels = np.zeros((40, 80, 4), np.uint8)
    pixels[:, :20, 3] = 255  # a black bar at the left, the rest is see-through
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn to the right
    Image.fromarray(pixels).save(file, "PNG", exif=exif)
    shown = decoded(corruptions.corrupted(file.getvalue(), "contrast", strength=1, seed=0, name="p"))
    assert shown.shape == (80, 40, 3)
    assert shown[:20].max() < shown[20:].min()  # the bar lies at the top, and what is see-through is white


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (b"", "is no readable PNG or JPEG"),
        (b"no picture", "is no readable PNG or JPEG"),
        (encoded(photo())[:100], "is damaged or cut off"),
    ],
)
def test_what_is_no_picture_is_refused(broken, message):
    with pytest.raises(errors.UserError, match=message):
        corruptions.corrupted(broken, "blur", strength=1, seed=0, name="p")


def test_a_picture_of_too_many_pixels_is_refused_by_its_header(monkeypatch):
    monkeypatch.setattr(preprocessing, "MAX_PIXELS", 100)
    with pytest.raises(errors.UserError, match="128 x 96 pixels is above the limit of 100"):
        corruptions.corrupted(encoded(photo()), "blur", strength=1, seed=0, name="p")
