import io
import struct
import time
import zlib

import numpy as np
import pytest
import tiny_assistant
import tiny_server
from PIL import Image

from m3it_jax import schema
from m3it_jax.generation import pictures, request
from m3it_jax.serving import picture_parts
from m3it_jax.serving.api_errors import ApiError


def _encoded(kind: str, **options) -> bytes:
    stream = io.BytesIO()
    tiny_assistant.picture(1).save(stream, kind, **options)
    return stream.getvalue()


def _bomb(width: int, height: int) -> bytes:
    """Returns a small PNG that says it is so large."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 10_000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def _refusal(url: str) -> ApiError:
    with pytest.raises(ApiError) as error:
        picture_parts.decoded([picture_parts.of_url(url, "image")], 64, "stretch")
    return error.value


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("said", ["image/png", "image/jpeg", "IMAGE/WebP;charset=x"])
def test_pictures_are_told_by_their_bytes(kind, said):
    data = _encoded(kind, **({"lossless": True} if kind == "WEBP" else {}))
    found = picture_parts.of_url(tiny_server.url(data, said), "image")
    (decoded,) = picture_parts.decoded([found], 64, "stretch")
    assert decoded.key == found.key and decoded.pixels(64).shape == (64, 64, 3)
    if kind != "JPEG":
        np.testing.assert_array_equal(decoded.pixels(64), np.asarray(tiny_assistant.picture(1)))


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/a.png", "https://169.254.169.254/latest/meta-data", "http://0x7f000001/", "http://2130706433/",
        "http://[::ffff:127.0.0.1]/", "http:\\\\localhost\\@example.org/", "//localhost/a.png", "file:///etc/passwd",
        "gopher://localhost:70/", "ftp://localhost/", "/etc/passwd", "../../etc/passwd", "a.png", "", "javascript:1",
        "blob:http://localhost/1", "http://user:pw@127.0.0.1./", " http://localhost/",
    ],
)  # fmt: skip
def test_no_address_is_ever_opened(url, monkeypatch):
    import socket

    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("it opened a connection"))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("it asked for an address"))
    error = _refusal(url)
    assert error.status == 400 and error.code == "invalid_image_url" and "data: URLs" in error.message


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "invalid_image_format"),
        (b"%PDF-1.7", "invalid_image_format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "invalid_image_format"),
        (b"GIF89a\x01\x00\x01\x00", "invalid_image_format"),
        (b"SIMPLE  =                    T", "invalid_image_format"),
        (b"II*\0", "invalid_image_format"),
        (b"", "invalid_image_format"),
        (b"\x89PNG\r\n\x1a\n<svg onload=alert(1)>", "invalid_image"),
        (b"\xff\xd8\xff<?php system('x'); ?>", "invalid_image"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "invalid_image"),
        (tiny_assistant.png(1)[:100], "invalid_image"),
        (_bomb(30_000, 30_000), "image_too_large"),
        (_bomb(1, 2**31 - 1), "image_too_large"),
        (_bomb(7_000, 7_000), "image_too_large"),
    ],
    ids=range(14),
)
def test_bombs_polyglots_and_other_formats_are_refused_quickly(data, code):
    began = time.perf_counter()
    error = _refusal(tiny_server.url(data))
    assert error.code == code and error.status in (400, 413) and time.perf_counter() - began < 1
    assert "0x" not in error.message and "object at" not in error.message


def test_all_pictures_of_a_request_have_one_budget():
    stream = io.BytesIO()
    Image.new("L", (6_000, 6_000)).save(stream, "PNG")
    shown = [picture_parts.of_url(tiny_server.url(stream.getvalue()), f"image {number}") for number in range(3)]
    began = time.perf_counter()
    with pytest.raises(ApiError) as error:
        picture_parts.decoded(shown, 64, "stretch")
    assert error.value.status == 413 and error.value.param == "image 2" and time.perf_counter() - began < 0.5


@pytest.mark.parametrize(
    "url", ["data:image/png,abc", "data:;base64,AAAA", "data:text/html;base64,AAAA", "data:image/png;base64", "data:"]
)
def test_data_urls_that_hold_no_picture_are_refused(url):
    assert _refusal(url).code == "invalid_image_url"


def test_what_is_no_base64_is_refused():
    for body in ("!!!!", "AAA", "AA AA", "ü"):
        assert _refusal(f"data:image/png;base64,{body}").code in ("invalid_base64", "invalid_image_format")


def test_addresses_of_allowed_hosts_are_fetched_within_one_budget(monkeypatch):
    data = tiny_assistant.png(1)
    limits = []

    def fetch(url, *, hosts, most_bytes):
        limits.append(most_bytes)
        assert url == "https://pictures.example/a.png" and hosts == {"pictures.example"}
        return data

    monkeypatch.setattr(picture_parts.picture_fetch, "fetch", fetch)
    read = picture_parts.reader({"pictures.example"}, 100_000)
    found = [read("https://pictures.example/a.png", "image") for _ in range(2)]
    assert found[0].key == picture_parts.of_url(tiny_server.url(data), "image").key
    assert limits == [100_000, 100_000 - len(data)]
    assert read(tiny_server.url(data), "image").key == found[0].key
    with pytest.raises(ApiError):
        picture_parts.reader((), 100_000)("https://pictures.example/a.png", "image")
    assert len(limits) == 2


def test_a_model_with_tiles_is_served_the_parts_that_generate_shows():
    sampler = tiny_assistant.make(tiles=4).sampler
    page = tiny_assistant.png(1, size=100, width=200)
    webp = io.BytesIO()
    Image.open(io.BytesIO(page)).save(webp, "WEBP", lossless=True)
    for data in (page, webp.getvalue()):
        asked = [pictures.Picture(pictures.key_of(data), "messages[0]", data)]
        cut = picture_parts.cut(asked, [schema.Turn("What?", new_pictures=1)], sampler)
        assert pictures.slots(cut) == [3]
        parts = picture_parts.decoded(pictures.parts(cut), 64, "stretch")
        wanted = sampler.prepare(request.Request("What?", images=[data])).pictures
        for part, other in zip(parts, wanted, strict=True):
            np.testing.assert_array_equal(part.content, other.pixels(64))
    both = [pictures.Picture(str(number), "messages[0]", page) for number in range(2)]
    assert pictures.slots(picture_parts.cut(both, [schema.Turn("What?", new_pictures=2)], sampler)) == [1, 1]
    broken = [pictures.Picture("1", "messages[0]", page[:30])]
    with pytest.raises(ApiError, match="damaged"):
        picture_parts.cut(broken, [schema.Turn("What?", new_pictures=1)], sampler)
