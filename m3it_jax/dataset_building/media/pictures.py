"""Encoded pictures from anywhere -> PNG or JPEG that every reader shows alike; what is so already passes untouched."""

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps

from m3it_jax import schema
from m3it_jax.dataset_building.media import jpeg, segments
from m3it_jax.dataset_building.specification import RowError

# What Pillow may open. Formats with a program inside (PostScript, PDF, SVG) or with a history of faults stay shut.
FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF")
KEPT = ("PNG", "JPEG")
JPEG_QUALITY = 95  # CHOICE: of a picture that has to be encoded anew; the difference cannot be seen

_MP_ENTRIES = 0xB002  # CIPA DC-007, section 5.2.3: sizes and places of the pictures in a file
_ORIENTATION = 0x0112  # Exif 2.3, table 4: how the camera was held; 1 is upright


def stored(data: bytes) -> tuple[bytes, str]:
    """Returns a picture as it is stored, and what was changed, empty if nothing.

    A PNG or JPEG with 8 bits a channel, one frame, upright and in grey, RGB, palette or alpha keeps its bytes. Of an
    animation the first frame is taken, of a Multi-Picture file its first JPEG; what the camera held askew is turned;
    CMYK, 16 bits and other formats become RGB, as JPEG where the source was lossy and as PNG elsewhere. A PNG whose
    EXIF block alone is damaged loses that.

    Raises:
      RowError: `picture-format`, `picture-too-large` or `picture-unreadable`.
    """
    try:
        return _stored(data)
    except RowError as error:
        bare = segments.without_exif(data) if error.reason == "picture-unreadable" else data
        if len(bare) == len(data):
            raise
        kept, changes = _stored(bare)
        return kept, "; ".join(part for part in ("damaged EXIF removed", changes) if part)


def _stored(data: bytes) -> tuple[bytes, str]:
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            width, height = picture.size
            if width * height > schema.MAX_PIXELS:
                raise RowError("picture-too-large", f"{width} x {height} pixels, at most {schema.MAX_PIXELS}")
            if picture.format == "MPO" and (first := _first_jpeg(picture, data)):
                kept, changed = _stored(first)
                return kept, "; ".join(part for part in ("first picture of a Multi-Picture file", changed) if part)
            changes = _needed_changes(picture)
            if not changes:
                if picture.format == "JPEG":
                    if jpeg.is_ordinary(data):
                        return data, ""
                    # The whole stream is read, but only at an eighth of the size: a third of the time.
                    picture.draft(picture.mode, (max(1, width // 8), max(1, height // 8)))
                picture.load()
                return data, ""
            picture.seek(0)
            lossy = picture.format in ("JPEG", "WEBP")
            upright = ImageOps.exif_transpose(_eight_bits(picture)).convert("RGB")
    except RowError:
        raise
    except Image.DecompressionBombError as error:
        raise RowError("picture-too-large", str(error)) from error
    except Image.UnidentifiedImageError as error:
        if data.startswith(schema.PICTURE_BEGINS):
            raise RowError("picture-unreadable", "cannot be decoded: its header is damaged") from error
        raise RowError("picture-format", f"is none of {', '.join(FORMATS)}; begins with {data[:8]!r}") from error
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever they meet: OSError, SyntaxError, struct.error, ...
        raise RowError("picture-unreadable", f"cannot be decoded: {error}") from error
    return (encode_jpeg(upright) if lossy else encode_png(np.asarray(upright))), "; ".join(changes)


def _first_jpeg(picture: Image.Image, data: bytes) -> bytes:
    """Returns the first JPEG of a Multi-Picture file, nothing if the file does not say where it ends."""
    try:
        size = picture.mpinfo[_MP_ENTRIES][0]["Size"]  # type: ignore[attr-defined]  # Pillow's, of this format alone
    except (AttributeError, LookupError, TypeError):
        return b""
    first = segments.first_of_several(data, size)
    return first if 0 < size <= len(data) and first.endswith(b"\xff\xd9") else b""


def _needed_changes(picture: Image.Image) -> list[str]:
    found = []
    if picture.format not in KEPT:
        found.append(f"converted from {picture.format}")
    if picture.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
        found.append(f"converted from {picture.mode}")
    if getattr(picture, "n_frames", 1) > 1:
        found.append("first frame of an animation")
    if picture.getexif().get(_ORIENTATION, 1) not in (0, 1):
        found.append("turned upright")
    return found


def _eight_bits(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I") or picture.mode == "F":
        # Pillow would cut off what is above 255; 16 bits are scaled down instead.
        values = np.asarray(picture).astype(np.float64)
        top = 65535.0 if values.max(initial=0) > 255 else 255.0
        scaled = Image.fromarray(np.clip(values * (255.0 / top), 0, 255).astype(np.uint8))
        scaled.info.update({key: value for key, value in picture.info.items() if key == "exif"})
        return scaled
    return picture


def extension(data: bytes) -> str:
    """Returns `png` or `jpg` for a stored picture, by its first bytes."""
    return "png" if data.startswith(schema.PICTURE_BEGINS[0]) else "jpg"


def pixels(data: bytes) -> np.ndarray:
    """Returns a stored picture as uint8 [h, w, 3].

    Raises:
      RowError: as `stored`.
    """
    kept, _ = stored(data)
    return np.asarray(Image.open(io.BytesIO(kept), formats=KEPT).convert("RGB"))


def encode_jpeg(picture: Image.Image) -> bytes:
    """Returns an RGB picture as JPEG, at `JPEG_QUALITY` and without thinned-out colour."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def encode_png(picture: np.ndarray) -> bytes:
    """Returns a uint8 picture [h, w, 3] as PNG.

    Unfiltered rows at zlib level 1: for small drawings this takes half the time of Pillow's writer and is a tenth
    larger. Chunks as in the PNG specification (ISO/IEC 15948), section 11.
    """
    height, width, _ = picture.shape
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # each row begins with its filter, 0 is none
    rows[:, 1:] = picture.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits, RGB, no interlace
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 1)), (b"IEND", b""))
    parts = [b"\x89PNG\r\n\x1a\n"]
    for name, data in chunks:
        parts += [struct.pack(">I", len(data)), name, data, struct.pack(">I", zlib.crc32(name + data))]
    return b"".join(parts)
