"""What is told by structure is what the decoder says: nothing is called ordinary that Pillow does not open and load."""

import io
import struct
import warnings

import numpy as np
import pytest
from PIL import Image

from m3it_jax import schema
from m3it_jax.dataset_building.media import jpeg, pictures
from m3it_jax.dataset_building.steps import quality

NUM_MUTANTS = 4000


def saved(mode: str = "RGB", side: int = 48, **options) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (side, side + 7, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, "JPEG", **{"quality": 90, **options})
    return buffer.getvalue()


ORDINARY = {
    "colour": saved(),
    "fine colour": saved(subsampling=0),
    "thinned colour": saved(subsampling=2),
    "grey": saved("L"),
    "own tables": saved(optimize=True),
    "restart marks": saved(restart_marker_blocks=2),
    "comment": saved(comment=b"\xff\xd9 not the end"),
    "profile": saved(icc_profile=bytes(3000)),
}


def loads(data: bytes) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Image.open(io.BytesIO(data), formats=("JPEG",)).load()
    except Exception:
        return False
    return True


@pytest.mark.parametrize("kind", ORDINARY)
def test_what_cameras_and_programs_write_is_ordinary(kind):
    assert jpeg.is_ordinary(ORDINARY[kind]) and loads(ORDINARY[kind])


@pytest.mark.parametrize("data", [saved(progressive=True), saved("CMYK"), b"", b"\xff\xd8", saved() + b"more"])
def test_the_rest_is_left_to_the_decoder(data):
    assert not jpeg.is_ordinary(data)


def test_whatever_is_cut_off_is_not_ordinary():
    data = ORDINARY["restart marks"]
    assert not any(jpeg.is_ordinary(data[:end]) for end in range(len(data)))


def mutant(data: bytes, chance: np.random.Generator) -> bytes:
    """Changes a few bytes, mostly in the headers; or takes a piece out, doubles one, or puts noise in."""
    broken = bytearray(data)
    begin = int(chance.integers(2, 700 if chance.random() < 0.8 else len(data) - 2))
    kind = int(chance.integers(5))
    if kind < 2:
        for place in chance.integers(2, min(len(data), 700), 1 + kind):
            broken[place] = int(chance.choice([0, 1, 2, 3, 0x11, 0x22, 0x44, 0xFF, int(chance.integers(256))]))
    elif kind == 2:
        del broken[begin : begin + int(chance.integers(1, 40))]
    elif kind == 3:
        piece = broken[begin : begin + int(chance.integers(1, 200))]
        broken[begin:begin] = piece
    else:
        broken[begin:begin] = chance.bytes(int(chance.integers(1, 8)))
    return bytes(broken)


def test_no_mutant_is_ordinary_that_the_decoder_refuses():
    chance, kept = np.random.default_rng(0), 0
    for number in range(NUM_MUTANTS):
        data = mutant(list(ORDINARY.values())[number % len(ORDINARY)], chance)
        if jpeg.is_ordinary(data):
            kept += 1
            assert loads(data), f"mutant {number}"
    assert NUM_MUTANTS / 20 < kept < NUM_MUTANTS * 0.95, "the mutants are all sound or all broken, so nothing is shown"


def test_tables_whose_codes_do_not_fit_are_refused_as_the_decoder_refuses_them():
    data, chance, said = ORDINARY["grey"], np.random.default_rng(0), set()
    place = data.index(b"\xff\xc4") + 5  # the counts of the codes of one to sixteen bits
    number = sum(data[place : place + 16])
    for _ in range(600):
        chances = 0.5 ** np.arange(16)[:: int(chance.choice([1, -1]))] + chance.random(16) * chance.choice([0, 0.3])
        counts = chance.multinomial(number, chances / chances.sum())
        changed = data[:place] + bytes(counts.tolist()) + data[place + 16 :]
        assert not jpeg.is_ordinary(changed) or loads(changed), counts
        said.add((jpeg.is_ordinary(changed), loads(changed)))
    for counts, sound in (([1] * number, True), ([1] * (number - 2) + [2], False)):  # the last code is of ones alone
        changed = data[:place] + bytes(counts + [0] * (16 - len(counts))) + data[place + 16 :]
        assert jpeg.is_ordinary(changed) == loads(changed) == sound
    assert {(True, True), (False, False)} <= said


@pytest.mark.parametrize(("width", "height"), [(65_501, 1), (1, 65_535), (0, 9), (9, 0)])
def test_sides_that_the_decoder_refuses_are_refused(width, height):
    data = bytearray(ORDINARY["grey"])
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = struct.pack(">HH", height, width)
    assert not jpeg.is_ordinary(bytes(data)) and not loads(bytes(data))
    assert quality.picture_problem(bytes(data)) is not None


def test_damaged_coefficients_are_kept_as_the_decoder_keeps_them():
    data = ORDINARY["colour"]
    cut = data[: len(data) // 2] + b"\xff\xd9"  # half of the scan, then the end: grey blocks, and no error
    assert loads(cut) and jpeg.is_ordinary(cut)
    assert pictures.stored(cut) == (cut, "") and quality.picture_problem(cut) is None


def test_size_animation_and_turning_are_looked_at_all_the_same(monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = 6
    askew = saved(exif=exif)
    assert jpeg.is_ordinary(askew) and pictures.stored(askew)[1] == "turned upright"
    monkeypatch.setattr(schema, "MAX_PIXELS", 100)
    with pytest.raises(pictures.RowError, match="pixels, at most 100"):
        pictures.stored(ORDINARY["colour"])
