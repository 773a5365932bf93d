import io
import pathlib
import struct

import numpy as np
import pytest
import tiny_assistant
from PIL import Image

from m3it_jax import errors
from m3it_jax.generation import pictures


def test_every_form_of_a_picture_gives_the_same_pixels(tmp_path):
    image = tiny_assistant.picture(5)
    path = tmp_path / "picture.png"
    image.save(path)
    for form in (image, str(path), path, path.read_bytes(), bytearray(path.read_bytes())):
        [found] = pictures.read([form])
        np.testing.assert_array_equal(found.pixels(64), np.asarray(image))


def test_a_float_array_is_taken_as_it_is():
    array = np.random.default_rng(0).normal(size=(3, 64, 64)).astype(np.float32)
    [found] = pictures.read([array])
    np.testing.assert_array_equal(found.pixels(64), array.transpose(1, 2, 0))
    with pytest.raises(errors.UserError, match=r"\(3, 32, 32\)"):
        found.pixels(32)


def test_equal_content_has_an_equal_key_and_other_content_another():
    [one, same, other] = pictures.read([tiny_assistant.png(1), tiny_assistant.png(1), tiny_assistant.png(2)])
    assert one.key == same.key != other.key


def test_a_turned_photograph_stands_upright():
    image = Image.new("RGB", (64, 64), "white")
    image.paste((255, 0, 0), (0, 0, 64, 32))
    exif = image.getexif()
    exif[0x0112] = 3  # upside down
    stream = io.BytesIO()
    image.save(stream, "JPEG", exif=exif, quality=95)
    for form in (stream.getvalue(), Image.open(io.BytesIO(stream.getvalue()))):
        [found] = pictures.read([form])
        assert found.pixels(64)[48, 32, 1] < 60 < 200 < found.pixels(64)[16, 32, 1]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("missing.png", "missing.png: cannot be read"),
        (b"RIFXsizeWEBP and more", r"images\[0\]: picture is no readable PNG or JPEG"),
        (b"RIFFsizeWAVE and more", r"images\[0\]: picture is no readable PNG or JPEG"),
        (b"no picture", r"images\[0\]: picture is no readable PNG or JPEG"),
        (tiny_assistant.png()[:200], r"images\[0\]: picture is damaged"),
        (np.zeros((64, 64, 3), np.uint8), r"images\[0\]: an array must be float32"),
        (np.full((3, 64, 64), np.nan, np.float32), "not finite"),
        (7, "int is no picture"),
        (Image.new("RGB", (0, 0)), r"images\[0\]: the PIL image of mode RGB, 0 x 0 pixels"),
        (Image.new("La", (9, 9)), r"images\[0\]: the PIL image of mode La"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_line(image, message):
    with pytest.raises(errors.UserError, match=message) as caught:
        pictures.read([image])[0].pixels(64)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "images", ["picture.png", b"picture", pathlib.Path("picture.png"), Image.new("RGB", (8, 8)), None, 3]
)
def test_one_picture_without_a_list_is_refused(images):
    with pytest.raises(errors.UserError, match="must be a list"):
        pictures.read(images)


def frames(count):
    """Returns frames of one shade each, far enough apart to be told after a GIF's palette."""
    return [Image.new("RGB", (64, 64), (10 * number, 0, 0)) for number in range(count)]


def shades(found):
    return [round(int(picture.pixels(64)[0, 0, 0]) / 10) for picture in found]


@pytest.mark.parametrize("suffix", ["gif", "png", "webp"])
def test_an_animation_gives_eight_frames_evenly_and_in_order(tmp_path, suffix):
    path = tmp_path / f"film.{suffix}"
    first, *others = frames(16)
    options = {"lossless": True} if suffix == "webp" else {}
    first.save(path, save_all=True, append_images=others, duration=50, **options)
    assert shades(pictures.read_video(path)) == [1, 3, 5, 7, 9, 11, 13, 15]


def test_a_folder_gives_its_frames_by_number(tmp_path):
    for number, frame in enumerate(frames(16)):
        frame.save(tmp_path / f"frame_{number}.png")
    (tmp_path / "notes.txt").write_text("not a frame")
    assert shades(pictures.read_video(tmp_path)) == [1, 3, 5, 7, 9, 11, 13, 15]


def test_a_short_video_gives_frames_twice(tmp_path):
    frames(1)[0].save(tmp_path / "still.png")
    assert len(pictures.read_video(tmp_path / "still.png")) == 8


def test_what_is_no_video_is_refused(tmp_path):
    (tmp_path / "film.mp4").write_bytes(b"\x00\x00\x00\x18ftypmp42" + bytes(100))
    (tmp_path / "empty").mkdir()
    for name, message in (("film.mp4", "is no animated"), ("empty", "holds no frame"), ("gone.gif", "cannot be read")):
        with pytest.raises(errors.UserError, match=message):
            pictures.read_video(tmp_path / name)


def test_a_video_that_asks_for_too_many_pixels_is_refused(tmp_path):
    path = tmp_path / "film.gif"
    frames(1)[0].save(path)
    data = bytearray(path.read_bytes())
    data[6:10] = struct.pack("<HH", 20_000, 20_000)  # the screen's size in a GIF's header
    path.write_bytes(data)
    with pytest.raises(errors.UserError, match="film.gif: frames .*limit of 40000000"):
        pictures.read_video(path)


def test_a_webp_picture_has_the_pixels_of_its_png_and_a_moving_one_is_a_video(tmp_path):
    image, path = tiny_assistant.picture(5), tmp_path / "picture.webp"
    image.save(path, lossless=True)
    for form in (path, path.read_bytes()):
        np.testing.assert_array_equal(pictures.read([form])[0].pixels(64), np.asarray(image))
    film = tmp_path / "film.webp"
    image.save(film, save_all=True, append_images=[tiny_assistant.picture(6)], lossless=True)
    with pytest.raises(errors.UserError, match=r"film\.webp: has 2 frames; give it as a video"):
        pictures.read([film])
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(errors.UserError, match=r"picture\.webp: picture is no readable WebP"):
        pictures.read([path])


def test_the_frames_of_a_video_follow_the_pictures(tmp_path):
    film = tmp_path / "film.webp"
    image = tiny_assistant.picture(5)
    image.save(film, save_all=True, append_images=[tiny_assistant.picture(6)], lossless=True)
    found = pictures.read_all([image], film)
    assert len(found) == 9 and "film.webp frame 1" in found[-1].name
    assert pictures.read_all([image], None) == pictures.read([image])
    assert repr(found[-1]).startswith("<Picture ") and "film.webp frame 1" in repr(found[-1])
