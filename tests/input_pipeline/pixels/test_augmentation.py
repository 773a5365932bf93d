import numpy as np
import pytest
from PIL import Image

from m3it_jax import config
from m3it_jax.input_pipeline.pixels import augmentation

ALL = config.AugmentConfig(shift=0.1, scale=0.2, rotate=15.0, wave=0.05, jitter=0.3)


def picture(size=32):
    coarse = np.random.default_rng(1).integers(0, 256, (4, 4, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((size, size), 3))[None]


def changed(settings, seed=0, images=None):
    images = picture() if images is None else images
    return augmentation.augment(images, settings, np.random.default_rng(seed))


def test_the_same_chance_gives_the_same_picture():
    np.testing.assert_array_equal(changed(ALL), changed(ALL))
    assert (changed(ALL) != changed(ALL, seed=1)).mean() > 0.5


def test_without_settings_nothing_changes():
    np.testing.assert_array_equal(changed(config.AugmentConfig()), picture())


def test_as_many_numbers_are_drawn_whatever_the_settings():
    left = []
    for settings in (config.AugmentConfig(), ALL, config.AugmentConfig(jitter=0.1)):
        chance = np.random.default_rng(0)
        augmentation.augment(picture(), settings, chance)
        left.append(chance.integers(1 << 40))
    assert len(set(left)) == 1


def test_all_pictures_of_a_row_change_alike():
    images = np.concatenate([picture(), 255 - picture(), picture()])
    out = changed(ALL, images=images)
    np.testing.assert_array_equal(out[0], out[2])
    np.testing.assert_array_equal(out[0], changed(ALL)[0])
    assert (out[0] != out[1]).any()


def test_a_shift_moves_whole_pixels_and_repeats_the_edge():
    images = np.random.default_rng(4).integers(0, 256, (1, 32, 32, 3), np.uint8)  # noise shows a wrong weight
    settings = config.AugmentConfig(shift=0.25)
    draw = np.random.default_rng(3).uniform(-1, 1, size=11)
    down, right = 0.25 * 32 * draw[2], 0.25 * 32 * draw[3]
    out = changed(settings, seed=3, images=images)[0].astype(float)
    rows = np.clip(np.arange(32) - down, 0, 31)
    columns = np.clip(np.arange(32) - right, 0, 31)
    top, left = rows.astype(int), columns.astype(int)
    below, beside = np.minimum(top + 1, 31), np.minimum(left + 1, 31)
    y, x = (rows - top)[:, None, None], (columns - left)[None, :, None]
    pixels = images[0].astype(float)
    wanted = (1 - y) * ((1 - x) * pixels[top][:, left] + x * pixels[top][:, beside])
    wanted += y * ((1 - x) * pixels[below][:, left] + x * pixels[below][:, beside])
    np.testing.assert_allclose(out, wanted, atol=4.0)  # weights have 8 bits
    assert abs(down) > 1 and abs(right) > 1


@pytest.mark.parametrize("field", ["scale", "rotate", "wave"])
def test_each_setting_bends_but_keeps_the_middle_colour(field):
    settings = config.AugmentConfig(**{field: 10.0 if field == "rotate" else 0.05})
    flat = np.full((1, 32, 32, 3), (10, 200, 77), np.uint8)
    np.testing.assert_array_equal(changed(settings, images=flat), flat)  # weights sum to one, edges repeat
    assert (changed(settings) != picture()).any()


def test_jitter_changes_light_within_its_range():
    grey = np.full((1, 32, 32, 3), 100, np.uint8)
    means = [changed(config.AugmentConfig(jitter=0.2), seed=seed, images=grey).mean() for seed in range(50)]
    assert 100 * 0.8 - 8 < min(means) < 95 and 105 < max(means) < 100 * 1.2 + 8
    bright = np.full((1, 8, 8, 3), 255, np.uint8)
    assert changed(config.AugmentConfig(jitter=0.9), seed=2, images=bright).dtype == np.uint8


def bilinear(pixels, rows, columns):
    """Returns the picture [h, w, 3] read between its pixels, the edge repeated, float64."""
    height, width = pixels.shape[:2]
    rows, columns = np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    below, beside = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    y, x = (rows - top)[..., None], (columns - left)[..., None]
    upper = (1 - x) * pixels[top, left] + x * pixels[top, beside]
    return (1 - y) * upper + y * ((1 - x) * pixels[below, left] + x * pixels[below, beside])


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    "fields",
    [{"rotate": 60.0}, {"scale": 0.6}, {"wave": 0.2}, {"shift": 0.4, "rotate": 30.0, "scale": 0.3, "wave": 0.1}],
    ids=["rotate", "scale", "wave", "all"],
)
def test_every_pixel_comes_from_where_the_change_says(fields, seed):
    """A turn about the middle by an angle, there seen as a product of complex numbers, then the move and the wave."""
    height, width = 20, 36
    images = np.random.default_rng(4).integers(0, 256, (1, height, width, 3), np.uint8)
    settings = config.AugmentConfig(**fields)
    draw = np.random.default_rng(seed).uniform(-1, 1, size=11)
    right, down = np.meshgrid(np.arange(width) - (width - 1) / 2, np.arange(height) - (height - 1) / 2)
    turned = (right + 1j * down) * np.exp(1j * np.radians(settings.rotate * draw[0])) / (1 + settings.scale * draw[1])
    rows = turned.imag + (height - 1) / 2 - settings.shift * height * draw[2]
    rows += settings.wave * height * draw[10] * np.sin(np.pi * (draw[4] + (3 + draw[5]) * right / width))
    columns = turned.real + (width - 1) / 2 - settings.shift * width * draw[3]
    wanted = bilinear(images[0].astype(float), rows, columns)
    np.testing.assert_allclose(changed(settings, seed=seed, images=images)[0].astype(float), wanted, atol=4.0)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_light_is_contrast_about_grey_then_brightness_and_a_slope(seed):
    images = np.random.default_rng(4).integers(0, 256, (1, 20, 36, 3), np.uint8)
    draw = np.random.default_rng(seed).uniform(-1, 1, size=11)
    jitter = 0.4
    slope_down = (np.arange(20) / 19 - 0.5)[:, None, None] * draw[8]
    slope_right = (np.arange(36) / 35 - 0.5)[None, :, None] * draw[9]
    light = (1 + jitter * draw[7]) * (1 + jitter * (slope_down + slope_right))
    wanted = ((images[0] - 127.5) * (1 + jitter * draw[6]) + 127.5) * light
    found = changed(config.AugmentConfig(jitter=jitter), seed=seed, images=images)[0].astype(float)
    np.testing.assert_allclose(found, np.clip(wanted, 0, 255), atol=0.51)
