import io
import pathlib
import struct
import warnings
import zlib

import numpy as np
import PIL
import probe_pictures
import pytest
from PIL import Image

from m3it_jax import errors
from m3it_jax.input_pipeline.pixels import preprocessing
from m3it_jax.models import variants

CHANCE = np.random.default_rng(5)
GOLDEN = np.load(pathlib.Path(__file__).parents[2] / "golden" / "pixels.npz")


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def smooth(width: int, height: int, mode: str = "RGB") -> Image.Image:
    coarse = CHANCE.integers(0, 256, (5, 6, len(mode)), np.uint8)
    return Image.fromarray(coarse.squeeze(), mode if mode != "L" else None).resize((width, height), 3)


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0" * 1000)
    chunks = [struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (body, data)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize(("width", "height"), [(97, 41), (64, 64), (20, 31), (300, 500)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_decoding_is_pillows_own_bicubic(width, height, kind):
    data = encoded(smooth(width, height), kind)
    wanted = Image.open(io.BytesIO(data)).convert("RGB").resize((64, 64), Image.Resampling.BICUBIC)
    pixels = preprocessing.decode_image(data, 64)
    assert pixels.dtype == np.uint8 and pixels.shape == (64, 64, 3)
    np.testing.assert_array_equal(pixels, np.asarray(wanted))


def test_cmyk_jpeg_becomes_rgb():
    image = smooth(40, 40).convert("CMYK")
    data = encoded(image, "JPEG", quality=95)
    wanted = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(preprocessing.decode_image(data, 40), wanted)


def test_exif_orientation_is_applied():
    upright = np.zeros((32, 32, 3), np.uint8)
    upright[:16] = (250, 10, 10)  # red above, black below
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side: turn by 90 degrees clockwise to show
    stored = Image.fromarray(np.rot90(upright))
    for kind in ("PNG", "JPEG"):
        pixels = preprocessing.decode_image(encoded(stored, kind, exif=exif), 32).astype(int)
        assert pixels[:12, :, 0].min() > 200 and pixels[20:].max() < 60, kind


def test_transparent_parts_become_white():
    pixels = np.zeros((32, 32, 4), np.uint8)
    pixels[8:24, 8:24] = (20, 40, 200, 255)
    for size in (32, 16):
        shown = preprocessing.decode_image(encoded(Image.fromarray(pixels), "PNG"), size).astype(int)
        assert (shown[0, 0] == 255).all()
        np.testing.assert_array_equal(shown[size // 2, size // 2], (20, 40, 200))
        assert shown.min(axis=(0, 1)).tolist()[2] >= 190  # the hidden black under alpha 0 bleeds nowhere
    palette = Image.fromarray(pixels[..., :3]).quantize(4)
    data = encoded(palette, "PNG", transparency=palette.getpixel((0, 0)))
    np.testing.assert_array_equal(preprocessing.decode_image(data, 32)[0, 0], (255, 255, 255))


def test_grey_of_8_and_16_bits():
    ramp = np.tile(np.arange(32, dtype=np.uint16) * 2000, (32, 1))
    deep = preprocessing.decode_image(encoded(Image.fromarray(ramp), "PNG"), 32)
    np.testing.assert_array_equal(deep[..., 0], (ramp >> 8).astype(np.uint8))
    flat = preprocessing.decode_image(encoded(smooth(32, 32).convert("L"), "PNG"), 32)
    np.testing.assert_array_equal(flat[..., 0], flat[..., 2])


@pytest.mark.parametrize("size", [(30000, 30000), (1, 2**31 - 1), (6400, 6400)])
def test_a_bomb_is_refused_by_its_header(size, monkeypatch):
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("it was decoded"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(errors.UserError, match="limit|readable|damaged"):
            preprocessing.decode_image(png_header(*size), 64)


def test_the_limit_itself_is_allowed(monkeypatch):
    monkeypatch.setattr(preprocessing, "MAX_PIXELS", 40 * 50)
    assert preprocessing.decode_image(encoded(smooth(40, 50), "PNG"), 16).shape == (16, 16, 3)
    with pytest.raises(errors.UserError, match="41 x 50"):
        preprocessing.decode_image(encoded(smooth(41, 50), "PNG"), 16)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_cut_off_picture_is_refused_at_any_length(kind):
    data = encoded(Image.fromarray(CHANCE.integers(0, 256, (90, 90, 3), np.uint8)), kind)
    for part in range(16):
        with pytest.raises(errors.UserError, match="damaged|readable"):
            preprocessing.decode_image(data[: len(data) * part // 16], 64)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "BMP", "WEBP", "EPS", "PDF"])
def test_other_formats_are_not_opened_whatever_their_name(kind):
    with pytest.raises(errors.UserError, match="no readable PNG or JPEG"):
        preprocessing.decode_image(encoded(smooth(20, 20), kind), 16)


def test_damaged_bytes_are_refused_or_decoded_but_never_crash():
    for kind in ("PNG", "JPEG"):
        data = encoded(smooth(40, 30), kind)
        for place in CHANCE.integers(0, len(data), 300):
            broken = bytearray(data)
            broken[place] ^= 1 << int(CHANCE.integers(8))
            try:
                assert preprocessing.decode_image(bytes(broken), 16).shape == (16, 16, 3)
            except errors.UserError:
                pass


def test_frames_are_the_centres_of_equal_segments():
    assert preprocessing.sample_frames(80).tolist() == [5, 15, 25, 35, 45, 55, 65, 75]
    assert preprocessing.sample_frames(8).tolist() == list(range(8))
    assert preprocessing.sample_frames(3, 6).tolist() == [0, 0, 1, 1, 2, 2]
    assert preprocessing.sample_frames(1, 2).tolist() == [0, 0]
    with pytest.raises(ValueError, match="0 frames"):
        preprocessing.sample_frames(0)


def png_pixels(picture: Image.Image, fit: str) -> np.ndarray:
    stream = io.BytesIO()
    (picture.convert("RGB") if picture.mode == "CMYK" else picture).save(stream, "PNG")
    return preprocessing.decode_image(stream.getvalue(), probe_pictures.SIDE, fit)


@pytest.mark.parametrize("fit", [*preprocessing.FITS])
def test_pixels_are_those_of_transformers_with_pillow(fit):
    release = f"pillow{PIL.__version__.split('.')[0]}"  # releases differ, tests/reference/make_pixels.py says where
    for name, picture in probe_pictures.make().items():
        if f"{fit}/{release}/{name}" in GOLDEN:
            np.testing.assert_array_equal(png_pixels(picture, fit), GOLDEN[f"{fit}/{release}/{name}"], err_msg=name)


@pytest.mark.parametrize("fit", [*preprocessing.FITS])
def test_pixels_are_those_of_transformers_with_torchvision_but_for_one_in_200(fit):
    pictures = probe_pictures.make()
    ours = np.stack([png_pixels(picture, fit) for picture in pictures.values()]).astype(int)
    differences = np.abs(ours - np.stack([GOLDEN[f"{fit}/torchvision/{name}"] for name in pictures]))
    assert (differences == 0).mean() >= 0.995
    # A single value, of a line that is enlarged nine times: there the two reference backends differ by 2 as well.
    assert differences.max() <= 2 and (differences > 1).sum() <= 1


@pytest.mark.parametrize("fit", [*preprocessing.FITS])
def test_means_and_deviations_are_the_processors(fit):
    towers = {variant.vit for variant in variants.VARIANTS.values() if variant.vit.image_fit == fit}
    published = [vit for vit in towers if vit.image_size >= 224]
    assert published
    for vit in published:
        np.testing.assert_array_equal(vit.pixel_mean, GOLDEN[f"{fit}/torchvision/mean"])
        np.testing.assert_array_equal(vit.pixel_std, GOLDEN[f"{fit}/torchvision/std"])


def test_a_crop_keeps_the_middle_of_the_longer_side():
    stripes = np.zeros((30, 90, 3), np.uint8)
    stripes[:, 30:60] = 255
    assert (preprocessing.decode_image(encoded(Image.fromarray(stripes), "PNG"), 30, "crop") == 255).all()
    assert (preprocessing.decode_image(encoded(Image.fromarray(stripes), "PNG"), 30) == 0).any()
