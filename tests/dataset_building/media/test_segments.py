import io
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from m3it_jax.dataset_building.media import jpeg, pictures, segments
from m3it_jax.dataset_building.specification import RowError


def noise(seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (24, 32, 3), np.uint8))


def encoded(kind, **options):
    file = io.BytesIO()
    noise().save(file, kind, **options)
    return file.getvalue()


def chunk(name, data, *, damage=0):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data) ^ damage)


def with_chunk(part):
    data = encoded("PNG")
    place = data.index(b"IDAT") - 4
    return data[:place] + part + data[place:]


def multi_picture(**options):
    return encoded("MPO", save_all=True, append_images=[noise(1), noise(2)], **options)


BAD_EXIF = [
    chunk(b"eXIf", b"\0\1\2junkjunk"),
    chunk(b"eXIf", b"II*\0", damage=1),
    chunk(b"tEXt", b"Raw profile type exif\0\nexif\n  zz\nno digits"),
    chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n      12\nzzzz")),
]


@pytest.mark.parametrize("part", BAD_EXIF)
def test_a_sound_png_with_a_bad_exif_block_loses_only_that(part):
    assert pictures.stored(with_chunk(part)) == (encoded("PNG"), "damaged EXIF removed")
    assert pictures.stored(encoded("PNG"))[1] == ""


def test_a_damaged_png_is_not_mended_by_taking_out_its_exif():
    data = with_chunk(BAD_EXIF[0])
    for cut in (len(data) - 400, len(data) // 2, 60):
        with pytest.raises(RowError):
            pictures.stored(data[:cut])


def test_an_exif_block_that_can_be_read_stays_and_turns():
    exif = Image.Exif()
    exif[0x0112] = 6
    kept, changes = pictures.stored(encoded("PNG", exif=exif))
    assert changes == "turned upright" and Image.open(io.BytesIO(kept)).size == (24, 32)
    exif[0x0112] = 1
    upright = encoded("PNG", exif=exif)
    assert pictures.stored(upright) == (upright, "")


def test_a_multi_picture_file_is_kept_as_its_first_jpeg():
    data = multi_picture(quality=90)
    kept, changes = pictures.stored(data)
    assert changes == "first picture of a Multi-Picture file" and jpeg.is_ordinary(kept)
    with Image.open(io.BytesIO(kept)) as found, Image.open(io.BytesIO(data)) as first:
        assert found.format == "JPEG" and np.array_equal(np.asarray(found), np.asarray(first))  # not encoded anew
    assert pictures.stored(kept) == (kept, "")


def test_a_multi_picture_file_held_askew_is_turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    kept, changes = pictures.stored(multi_picture(exif=exif))
    assert changes == "first picture of a Multi-Picture file; turned upright"
    assert Image.open(io.BytesIO(kept)).size == (24, 32)


@pytest.mark.parametrize("data", [multi_picture(), *map(with_chunk, BAD_EXIF)])
def test_mutated_files_are_kept_whole_or_refused(data):
    draw = random.Random(0)
    for _ in range(400):
        mutant = bytearray(data)
        for _ in range(draw.randrange(1, 6)):
            mutant[draw.randrange(len(mutant))] = draw.randrange(256)
        if draw.random() < 0.3:
            mutant = mutant[: draw.randrange(len(mutant))]
        try:
            kept, _ = pictures.stored(bytes(mutant))
        except RowError:
            continue
        with Image.open(io.BytesIO(kept), formats=("PNG", "JPEG")) as found:
            found.load()
            assert found.format in ("PNG", "JPEG")


def test_what_is_no_png_stays():
    assert segments.without_exif(b"\xff\xd8eXIf") == b"\xff\xd8eXIf"
    assert segments.without_exif(with_chunk(BAD_EXIF[0])[:-3]) == with_chunk(BAD_EXIF[0])[:-3]
