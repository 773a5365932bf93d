import io
import time
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from m3it_jax.input_pipeline.pixels import bicubic, preprocessing

CHANCE = np.random.default_rng(7)


def test_the_middle_is_that_of_the_whole_result():
    for _ in range(150):
        width, height = CHANCE.integers(1, 200, 2).tolist()
        side = int(CHANCE.integers(1, 40))
        image = Image.fromarray(CHANCE.integers(0, 256, (height, width, 3), np.uint8))
        size = (max(side, side * width // height), max(side, side * height // width))
        left, top = (size[0] - side) // 2, (size[1] - side) // 2
        wanted = image.resize(size, Image.Resampling.BICUBIC).crop((left, top, left + side, top + side))
        found = bicubic.middle(np.asarray(image), size[::-1], side=side)
        np.testing.assert_array_equal(found, np.asarray(wanted), err_msg=f"{width} x {height} to {size}")


@pytest.mark.parametrize(("width", "height"), [(13, 1_500), (15, 1_500), (60, 16_434), (1_500, 13), (4, 401), (4, 400)])
def test_strips_are_resampled_in_the_order_of_pillow(width, height):
    image = Image.fromarray(CHANCE.integers(0, 256, (height, width, 3), np.uint8))
    for side, size in ((33, (33, 33)), (9, (9, 37)), (9, (41, 9)), (17, (17, max(17, height)))):
        left, top = (size[0] - side) // 2, (size[1] - side) // 2
        wanted = image.resize(size, Image.Resampling.BICUBIC).crop((left, top, left + side, top + side))
        found = bicubic.middle(np.asarray(image), size[::-1], side=side)
        np.testing.assert_array_equal(found, np.asarray(wanted), err_msg=f"to {size}")


@pytest.mark.parametrize(("width", "height"), [(3_300, 50), (50, 3_300), (900, 2), (1_111, 28)])
def test_a_long_strip_is_cropped_as_if_all_of_it_had_been_resized(width, height):
    image = Image.fromarray(CHANCE.integers(0, 256, (height, width, 3), np.uint8))
    data = io.BytesIO()
    image.save(data, "PNG")
    longer = 28 * max(width, height) // min(width, height)
    size = (longer, 28) if width > height else (28, longer)
    left, top = (size[0] - 28) // 2, (size[1] - 28) // 2
    wanted = image.resize(size, Image.Resampling.BICUBIC).crop((left, top, left + 28, top + 28))
    np.testing.assert_array_equal(preprocessing.decode_image(data.getvalue(), 28, "crop"), np.asarray(wanted))


@pytest.mark.parametrize("size", [(20_000, 1), (1, 20_000), (60_000, 1), (36_000, 1_100)])
def test_a_strip_costs_no_more_than_what_is_read_of_it(size, monkeypatch):
    data = io.BytesIO()
    Image.new("RGB", size, (200, 30, 10)).save(data, "PNG")
    made = []
    monkeypatch.setattr(Image.Image, "resize", lambda image, to, *_: made.append(to))
    tracemalloc.start()
    try:
        begin = time.process_time()
        pixels = preprocessing.decode_image(data.getvalue(), 336, "crop")
        seconds, peak = time.process_time() - begin, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert pixels.shape == (336, 336, 3) and (pixels == (200, 30, 10)).all()
    assert not made  # Pillow would need 9 GB outside of what is counted here
    assert seconds < 5 and peak < 1 << 29
