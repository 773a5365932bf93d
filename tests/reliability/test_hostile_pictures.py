"""R11: pictures made to harm. Each gets its verdict within a second, and the process hardly grows."""

import functools
import io
import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from m3it_jax.dataset_building.media import pictures
from m3it_jax.dataset_building.specification import RowError

NOISE = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, data: bytes = b"", *more: bytes, depth: int = 8, kind: int = 2) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def saved(form: str, picture: Image.Image | None = None, **options) -> bytes:
    buffer = io.BytesIO()
    (picture or Image.fromarray(NOISE)).save(buffer, form, **options)
    return buffer.getvalue()


def animation(form: str, number: int) -> bytes:
    frames = [Image.new("RGB", (4, 4), (n % 255, n // 255, 0)) for n in range(number)]
    return saved(form, frames[0], save_all=True, append_images=frames[1:])


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved("JPEG", exif=exif)


def looping_exif() -> bytes:
    """An Exif block whose first directory names itself as the next."""
    tiff = b"II*\0\x08\0\0\0" + b"\x01\0" + b"\x69\x87\x04\0\x01\0\0\0\x08\0\0\0" + b"\x08\0\0\0"
    body = b"Exif\0\0" + tiff
    plain = saved("JPEG")
    return plain[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + plain[2:]


def zipped_text() -> bytes:
    """A text chunk of a few kilobytes that unpacks to 200 MB."""
    return png(1, 1, b"\0\0\0\0", chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(200_000_000), 9)))


def cut(form: str, sixteenths: int) -> bytes:
    data = saved(form)
    return data[: len(data) * sixteenths // 16]


CUTS = range(1, 16)
KEPT = "kept"
CHANGED = "changed"

# A picture that takes seconds to make is a function: every worker reads this file, and one runs its tests.
CASES: dict[str, tuple[bytes | Callable[[], bytes], str]] = {
    "bomb-30000": (png(30_000, 30_000, bytes(1000)), "picture-too-large"),
    "bomb-line": (png(1, 2**31 - 1), "picture-too-large"),
    "bomb-column": (png(2**31 - 1, 1), "picture-too-large"),
    "bomb-both": (png(2**31 - 1, 2**31 - 1), "picture-too-large"),
    "zero-width": (png(0, 10), "picture-unreadable"),
    "zero-height": (png(10, 0), "picture-unreadable"),
    "no-pixels": (png(10, 10), "picture-unreadable"),
    "zipped-text": (zipped_text, "picture-unreadable"),
    "gif-10000": (lambda: animation("GIF", 10_000), CHANGED),
    "apng": (animation("PNG", 30), CHANGED),
    "webp-animation": (animation("WEBP", 30), CHANGED),
    "cmyk": (saved("JPEG", Image.fromarray(NOISE).convert("CMYK")), CHANGED),
    "16-bit": (saved("PNG", Image.fromarray(NOISE[:, :, 0].astype(np.uint16) * 257)), CHANGED),
    "palette": (saved("PNG", Image.fromarray(NOISE).convert("P")), KEPT),
    "grey": (saved("PNG", Image.fromarray(NOISE).convert("L")), KEPT),
    "one-bit": (saved("PNG", Image.fromarray(NOISE).convert("1")), KEPT),
    "alpha": (saved("PNG", Image.fromarray(NOISE).convert("RGBA")), KEPT),
    "progressive": (saved("JPEG", progressive=True), KEPT),
    "turned": (turned(), CHANGED),
    "exif-loop": (looping_exif(), KEPT),
    "icc-junk": (saved("JPEG", icc_profile=b"junk" * 1000), KEPT),
    "webp": (saved("WEBP"), CHANGED),
    "bmp": (saved("BMP"), CHANGED),
    "tiff": (saved("TIFF"), CHANGED),
    "tail": (saved("PNG") + b"<script>alert(1)</script>" * 100, KEPT),
    "empty": (b"", "picture-format"),
    "html": (b"<html><body>404</body></html>", "picture-format"),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', "picture-format"),
    "svg-remote": (b'<svg><image href="http://127.0.0.1:9/a.png"/></svg>', "picture-format"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) print\n", "picture-format"),
    "pdf": (b"%PDF-1.4\n1 0 obj<<>>endobj\n", "picture-format"),
    "fits": (b"SIMPLE  =                    T".ljust(2880), "picture-format"),
    "ico": (b"\0\0\x01\0\x01\0" + bytes(60), "picture-format"),
    "text": (b"just a text", "picture-format"),
    "zeros": (bytes(10_000), "picture-format"),
    "png-magic": (b"\x89PNG\r\n\x1a\n", "picture-unreadable"),
    "jpeg-magic": (b"\xff\xd8\xff", "picture-unreadable"),
    "jpeg-as-png": (b"\x89PNG\r\n\x1a\n" + saved("JPEG"), "picture-unreadable"),
    **{f"cut-{form}-{part}": (cut(form, part), "picture-unreadable") for form in ("PNG", "JPEG") for part in CUTS},
}  # fmt: skip


@functools.cache
def picture(name: str) -> bytes:
    data, _ = CASES[name]
    return data() if callable(data) else data


def verdict(data: bytes) -> str:
    try:
        kept, change = pictures.stored(data)
    except RowError as error:
        return error.reason
    if change:
        with Image.open(io.BytesIO(kept)) as again:
            again.load()
            assert again.format in ("PNG", "JPEG") and again.mode == "RGB"
        return CHANGED
    assert kept == data
    return KEPT


@pytest.mark.parametrize("name", CASES)
def test_each_gets_its_verdict(name):
    assert verdict(picture(name)) == CASES[name][1]


def test_there_are_sixty_and_none_costs_much(tmp_path):
    """Peak memory and time of each, in a process of its own that has seen an ordinary picture first."""
    assert len(CASES) >= 60
    for name in CASES:
        (tmp_path / name).write_bytes(picture(name))
    (tmp_path / "0-ordinary").write_bytes(saved("JPEG"))
    script = """
import json, pathlib, resource, sys, time
from m3it_jax.dataset_building.media import pictures
from m3it_jax.dataset_building.specification import RowError
told = {}
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    data, begin = path.read_bytes(), time.perf_counter()
    try:
        pictures.stored(data)
    except RowError:
        pass
    told[path.name] = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps(told))
"""
    run = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    told = json.loads(run.stdout)
    first = told["0-ordinary"][1]
    assert {name: seconds for name, (seconds, _) in told.items() if seconds > 1} == {}
    assert max(peak for _, peak in told.values()) - first < 200 * 1024  # ru_maxrss counts kilobytes


def test_sixteen_bits_are_scaled_and_not_cut_off():
    ramp = (np.arange(256, dtype=np.uint16) * 257).reshape(1, 256)
    kept, _ = pictures.stored(saved("PNG", Image.fromarray(ramp)))
    np.testing.assert_allclose(np.asarray(Image.open(io.BytesIO(kept)))[0, :, 0], np.arange(256), atol=1)


def test_what_the_camera_held_askew_is_turned():
    kept, change = pictures.stored(turned())
    assert Image.open(io.BytesIO(kept)).size == (40, 60) and "turned upright" in change
