import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from m3it_jax import errors, prompts
from m3it_jax.input_pipeline import transforms

CHANCE = np.random.default_rng(5)


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
    pixels = transforms.decode_image(data, 64)
    assert pixels.dtype == np.uint8 and pixels.shape == (64, 64, 3)
    np.testing.assert_array_equal(pixels, np.asarray(wanted))


def test_cmyk_jpeg_becomes_rgb():
    image = smooth(40, 40).convert("CMYK")
    data = encoded(image, "JPEG", quality=95)
    wanted = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(transforms.decode_image(data, 40), wanted)


def test_exif_orientation_is_applied():
    upright = np.zeros((32, 32, 3), np.uint8)
    upright[:16] = (250, 10, 10)  # red above, black below
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side: turn by 90 degrees clockwise to show
    stored = Image.fromarray(np.rot90(upright))
    for kind in ("PNG", "JPEG"):
        pixels = transforms.decode_image(encoded(stored, kind, exif=exif), 32).astype(int)
        assert pixels[:12, :, 0].min() > 200 and pixels[20:].max() < 60, kind


def test_transparent_parts_become_white():
    pixels = np.zeros((32, 32, 4), np.uint8)
    pixels[8:24, 8:24] = (20, 40, 200, 255)
    for size in (32, 16):
        shown = transforms.decode_image(encoded(Image.fromarray(pixels), "PNG"), size).astype(int)
        assert (shown[0, 0] == 255).all()
        np.testing.assert_array_equal(shown[size // 2, size // 2], (20, 40, 200))
        assert shown.min(axis=(0, 1)).tolist()[2] >= 200  # the hidden black under alpha 0 bleeds nowhere
    palette = Image.fromarray(pixels[..., :3]).quantize(4)
    data = encoded(palette, "PNG", transparency=palette.getpixel((0, 0)))
    np.testing.assert_array_equal(transforms.decode_image(data, 32)[0, 0], (255, 255, 255))


def test_grey_of_8_and_16_bits():
    ramp = np.tile(np.arange(32, dtype=np.uint16) * 2000, (32, 1))
    deep = transforms.decode_image(encoded(Image.fromarray(ramp), "PNG"), 32)
    np.testing.assert_array_equal(deep[..., 0], (ramp >> 8).astype(np.uint8))
    flat = transforms.decode_image(encoded(smooth(32, 32).convert("L"), "PNG"), 32)
    np.testing.assert_array_equal(flat[..., 0], flat[..., 2])


@pytest.mark.parametrize("size", [(30000, 30000), (1, 2**31 - 1), (6400, 6400)])
def test_a_bomb_is_refused_by_its_header(size, monkeypatch):
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("it was decoded"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(errors.UserError, match="limit|readable|damaged"):
            transforms.decode_image(png_header(*size), 64)


def test_the_limit_itself_is_allowed(monkeypatch):
    monkeypatch.setattr(transforms, "MAX_PIXELS", 40 * 50)
    assert transforms.decode_image(encoded(smooth(40, 50), "PNG"), 16).shape == (16, 16, 3)
    with pytest.raises(errors.UserError, match="41 x 50"):
        transforms.decode_image(encoded(smooth(41, 50), "PNG"), 16)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_cut_off_picture_is_refused_at_any_length(kind):
    data = encoded(Image.fromarray(CHANCE.integers(0, 256, (90, 90, 3), np.uint8)), kind)
    for part in range(16):
        with pytest.raises(errors.UserError, match="damaged|readable"):
            transforms.decode_image(data[: len(data) * part // 16], 64)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "BMP", "WEBP", "EPS", "PDF"])
def test_other_formats_are_not_opened_whatever_their_name(kind):
    with pytest.raises(errors.UserError, match="no readable PNG or JPEG"):
        transforms.decode_image(encoded(smooth(20, 20), kind), 16)


def test_damaged_bytes_are_refused_or_decoded_but_never_crash():
    for kind in ("PNG", "JPEG"):
        data = encoded(smooth(40, 30), kind)
        for place in CHANCE.integers(0, len(data), 300):
            broken = bytearray(data)
            broken[place] ^= 1 << int(CHANCE.integers(8))
            try:
                assert transforms.decode_image(bytes(broken), 16).shape == (16, 16, 3)
            except errors.UserError:
                pass


def test_frames_are_the_centres_of_equal_segments():
    assert transforms.sample_frames(80).tolist() == [5, 15, 25, 35, 45, 55, 65, 75]
    assert transforms.sample_frames(8).tolist() == list(range(8))
    assert transforms.sample_frames(3, 6).tolist() == [0, 0, 1, 1, 2, 2]
    assert transforms.sample_frames(1, 2).tolist() == [0, 0]
    with pytest.raises(ValueError, match="0 frames"):
        transforms.sample_frames(0)


def row_of(layout, words, **changes):
    fields = {"instruction": "What is this?", "inputs": "hint 3", "outputs": "a picture", "num_images": 2} | changes
    return transforms.training_row(layout, words, **fields)


def test_a_row_is_pictures_begin_prompt_response_end(layout, words):
    row = row_of(layout, words)
    block = [*layout.open_ids, 0, 0, 0, 0, *layout.close_ids]
    prompt = words.encode(prompts.prompt("What is this?", "hint 3"))
    response = [*words.encode("a picture\n"), words.eos_id]
    text = [words.bos_id, *prompt, *response]
    used = 2 * len(block) + len(text)
    assert row["token_ids"].tolist()[:used] == block * 2 + text
    assert {array.shape for array in row.values()} == {(layout.row_len(2),)}
    assert layout.row_len(2) == 2 * len(block) + layout.max_text_len
    np.testing.assert_array_equal(row["segment_ids"], np.arange(layout.row_len(2)) < used)
    np.testing.assert_array_equal(row["positions"][:used], np.arange(used))
    assert not row["positions"][used:].any() and not row["token_ids"][used:].any()
    shown = row["image_token_index"]
    assert shown[shown >= 0].tolist() == list(range(8))
    assert (row["token_ids"][shown >= 0] == 0).all() and (row["segment_ids"][shown >= 0] == 1).all()


def test_loss_falls_exactly_on_response_and_end(layout, words):
    row = row_of(layout, words, outputs="two\nlines")
    counted = row["token_ids"][row["loss_mask"] > 0].tolist()
    assert counted == [*words.encode("two lines\n"), words.eos_id]
    assert set(np.unique(row["loss_mask"])) == {0.0, 1.0} and row["loss_mask"].dtype == np.float32


def test_a_prompt_row_is_the_training_row_up_to_the_response(layout, words):
    asked = transforms.prompt_row(layout, words, instruction="What is this?", inputs="hint 3", num_images=2)
    taught = row_of(layout, words)
    length = len(asked["token_ids"])
    assert length == int(np.flatnonzero(taught["loss_mask"])[0])
    for name, array in asked.items():
        np.testing.assert_array_equal(array, taught[name][:length], err_msg=name)


@pytest.mark.parametrize("length", [80, 60, 45, 40])
def test_too_long_inputs_lose_their_end_and_nothing_else_goes(words, length):
    layout = transforms.Layout.of(words, num_queries=4, max_text_len=length, max_response_len=20)
    inputs = "hint 12 hint 34 hint 56 " * 40
    text = transforms.fit_text(layout, words, instruction="What is this?", inputs=inputs, outputs="a picture")
    kept = words.decode(text.prompt_ids)
    begin, end = prompts.prompt("What is this?", "\0").split("\0")
    assert kept.startswith(begin) and kept.endswith(end)
    middle = kept[len(begin) : len(kept) - len(end)]
    assert middle and inputs.startswith(middle)
    assert text.response_ids == [*words.encode("a picture\n"), words.eos_id]
    whole = len(words.encode(prompts.prompt("What is this?", inputs)))
    assert text.num_dropped == whole - len(text.prompt_ids) > 0
    used = 1 + len(text.prompt_ids) + len(text.response_ids)
    assert used <= length
    longer = words.encode(prompts.prompt("What is this?", inputs[: len(middle) + 1]))
    assert used + len(longer) - len(text.prompt_ids) > length  # no character more would have fitted
    row = row_of(layout, words, inputs=inputs, num_images=3)
    assert (row["image_token_index"] >= 0).sum() == 12


def test_a_too_long_response_keeps_its_end_marks(layout, words):
    text = transforms.fit_text(layout, words, instruction="What?", inputs="", outputs="number 7 " * 60)
    assert len(text.response_ids) == layout.max_response_len
    assert words.decode(text.response_ids).endswith("\n") and text.response_ids[-1] == words.eos_id
    assert "number 7 number 7 number 7".startswith(words.decode(text.response_ids)[:20])


def test_a_long_instruction_stays_and_the_response_gives_way(words):
    layout = transforms.Layout.of(words, num_queries=4, max_text_len=60, max_response_len=40)
    longest, instruction = "", "What is this?"
    while True:
        try:
            text = transforms.fit_text(
                layout, words, instruction=instruction, inputs="hint", outputs="number 7 number 8 number 9"
            )
        except errors.UserError as error:
            assert "data.max_text_len" in str(error) and "it is 60" in str(error)
            break
        longest, instruction = instruction, instruction + " Say what you see."
        assert longest in words.decode(text.prompt_ids)
        assert text.response_ids[-1] == words.eos_id and words.decode(text.response_ids[-2:]) == "\n"
        assert 1 + len(text.prompt_ids) + len(text.response_ids) <= 60
    assert longest and longest != "What is this?"


def test_special_spellings_in_a_record_stay_ordinary_text(layout, words):
    row = row_of(layout, words, inputs="</s><s><Img><pad>", num_images=1)
    text = row["token_ids"][: int(row["segment_ids"].sum())]
    assert (text == words.bos_id).sum() == 1 and (text == words.eos_id).sum() == 1
    assert (row["image_token_index"] >= 0).sum() == layout.num_queries


def test_captions_stand_in_the_blocks_and_are_counted(layout, words):
    captions = [transforms.caption_ids(words, text) for text in ("picture 1 frame 0", "hint")]
    text = transforms.fit_text(layout, words, instruction="What?", inputs="", outputs="a picture")
    row = transforms.make_row(layout, text, num_images=2, captions=captions)
    assert (row["image_token_index"] == -1).all()
    counted = row["token_ids"][row["loss_mask"] > 0].tolist()
    assert counted == [*captions[0], *captions[1], *words.encode("a picture\n"), words.eos_id]
    assert len(transforms.caption_ids(words, "number 7 " * 50)) == transforms.CAPTION_LEN


def test_padding_never_cuts(layout, words):
    row = transforms.prompt_row(layout, words, instruction="What?", inputs="", num_images=1)
    with pytest.raises(ValueError, match="does not fit"):
        transforms.pad_row(row, len(row["token_ids"]) - 1)


def test_a_layout_without_room_for_a_response_is_refused(words):
    with pytest.raises(errors.ConfigError, match="max_response_len=2"):
        transforms.Layout.of(words, num_queries=4, max_text_len=20, max_response_len=2)


def test_tower_rows_hold_labels_in_the_tables_order(words):
    tables = {"shape": {"circle": 0, "square": 1}, "digit": {3: 0, 7: 1}}
    row = transforms.tower_row(
        words, caption="picture 1", attributes={"shape": "square", "digit": 9, "other": 1}, tables=tables
    )
    assert row["attributes"].tolist() == [-1, 1]  # digit, shape
    ids = words.encode("picture 1")
    assert row["caption_ids"].tolist() == ids + [0] * (transforms.CAPTION_LEN - len(ids))
