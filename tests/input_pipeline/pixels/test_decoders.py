"""Whatever decodes and resizes, the pixels are Pillow's: on sound pictures of every kind, and on damaged ones."""

import io
import itertools

import numpy as np
import pytest
from PIL import Image

from m3it_jax import errors
from m3it_jax.input_pipeline.pixels import decoders, preprocessing

CHANCE = np.random.default_rng(3)


@pytest.fixture(scope="module")
def fast() -> decoders.Decoders:
    pytest.importorskip("simplejpeg")
    pytest.importorskip("numba")
    found = decoders.fastest()
    assert found.jpeg and found.resize and found.names() == "simplejpeg and numba"
    return found


def encoded(image: Image.Image, kind: str = "JPEG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def photo(height: int, width: int) -> Image.Image:
    smooth = Image.fromarray(CHANCE.integers(0, 256, (5, 6, 3), np.uint8)).resize((width, height), 3)
    return Image.fromarray(
        np.clip(np.asarray(smooth) + CHANCE.normal(0, 9, (height, width, 3)), 0, 255).astype(np.uint8)
    )


def outcome(data: bytes, by: decoders.Decoders, *, size: int = 32, fit: str = "stretch") -> np.ndarray | str:
    """Returns the pixels, or what is said of the picture."""
    try:
        return preprocessing.decode_image(data, size, fit, by=by)
    except errors.UserError as error:
        return str(error)


def check(data: bytes, by: decoders.Decoders, **options) -> bool:
    """Compares with Pillow alone and returns whether it is a sound picture."""
    wanted = outcome(data, decoders.PILLOW, **options)
    np.testing.assert_array_equal(outcome(data, by, **options), wanted)
    return not isinstance(wanted, str)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "YCbCr"])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_jpegs_of_every_kind(fast, mode, subsampling):
    kinds = itertools.product((30, 90, 100), (False, True), ((1, 1), (7, 16), (33, 50), (64, 65), (130, 97)))
    for quality, progressive, shape in kinds:
        image = photo(*shape).convert(mode)
        options = {"quality": quality, "progressive": progressive, "subsampling": subsampling}
        for fit in preprocessing.FITS:
            assert check(encoded(image, **options, restart_marker_blocks=2), fast, fit=fit)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_jpegs_that_are_to_be_turned(fast, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert check(encoded(photo(40, 60), exif=exif), fast)
    xmp = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="{orientation}"/></x:xmpmeta>'.encode()
    assert check(encoded(photo(40, 60), xmp=xmp), fast)


def test_jpegs_of_red_green_and_blue(fast):
    assert check(encoded(photo(40, 60), keep_rgb=True), fast)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "I;16"])
def test_pngs_of_every_kind(fast, mode):
    image = (
        Image.fromarray(CHANCE.integers(0, 60000, (30, 41), np.uint16))
        if mode == "I;16"
        else photo(30, 41).convert(mode)
    )
    for fit in preprocessing.FITS:
        assert check(encoded(image, "PNG"), fast, fit=fit)


@pytest.mark.parametrize("fit", preprocessing.FITS)
def test_sizes_of_every_kind(fast, fit):
    sizes = [tuple(CHANCE.integers(1, 200, 2).tolist()) for _ in range(60)]
    for height, width in [*sizes, (32, 32), (32, 64), (1, 3000), (2500, 1), (31, 33), (1200, 900)]:
        pixels = encoded(Image.fromarray(CHANCE.integers(0, 256, (height, width, 3), np.uint8)), "PNG")
        assert check(pixels, fast, fit=fit)
        assert check(pixels, fast, fit=fit, size=33)


def test_damaged_pictures_are_told_alike(fast):
    whole = [encoded(photo(50, 60), progressive=progressive, quality=85) for progressive in (False, True)]
    whole += [encoded(photo(20, 20), "PNG")]
    sound = 0
    for number in range(600):
        data = bytearray(whole[number % len(whole)])
        for place in CHANCE.integers(2, len(data), int(CHANCE.integers(1, 4))):
            data[place] ^= 1 << int(CHANCE.integers(8))
        sound += check(bytes(data), fast)
    assert 30 < sound < 590  # a flipped bit in the scan of a JPEG is other pixels, in its tables often none
    for data in whole:
        for part in range(1, 12):
            assert not check(data[: len(data) * part // 12], fast)


def test_a_library_that_differs_is_left_out(monkeypatch):
    def off_by_one(data: bytes) -> np.ndarray:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB")) ^ 1

    def nearest(pixels: np.ndarray, size: tuple[int, int], out: np.ndarray) -> None:
        out[:] = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST))

    monkeypatch.setattr(decoders, "_simplejpeg", lambda: off_by_one)
    monkeypatch.setattr(decoders, "_numba", lambda: nearest)
    assert decoders.fastest.__wrapped__() == decoders.PILLOW
    monkeypatch.setattr(decoders, "_simplejpeg", lambda: None)
    monkeypatch.setattr(decoders, "_numba", lambda: None)
    assert decoders.fastest.__wrapped__().names() == "Pillow and Pillow"
