import numpy as np
import pytest
from PIL import Image

from m3it_jax import config
from m3it_jax.input_pipeline import augmentation

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
