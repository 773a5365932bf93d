"""Pictures and videos in any form -> what the model reads, with a key that tells equal pictures by their content."""

import dataclasses
import functools
import hashlib
import io
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from m3it_jax import errors
from m3it_jax.input_pipeline.pixels import preprocessing, tiling

_FRAME_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_VIDEO_FORMATS = ("GIF", "WEBP", "PNG")  # Pillow reads their frames without another package


@dataclasses.dataclass(frozen=True)
class Picture:
    """One picture that is not decoded yet.

    Attributes:
      key: Equal for equal content.
      name: What to call it in a message.
      content: Encoded PNG or JPEG; float32 [3, h, w] that is normalised already; or the uint8 pixels that are wanted.
      text_ids: What a Q-Former that reads text reads beside it; () if there is none.
      cut: How it is cut into tiles.
      part: Which of its tiles this is, the overview last; None: the whole picture.
    """

    key: str
    name: str
    content: bytes | np.ndarray
    text_ids: tuple[int, ...] = ()
    cut: tiling.Grid = tiling.WHOLE
    part: int | None = None

    def __repr__(self) -> str:
        content = f"{len(self.content):,} bytes" if isinstance(self.content, bytes) else f"array {self.content.shape}"
        return f"<Picture {self.name}, {content}>"

    def beside(self, text_ids: Iterable[int]) -> "Picture":
        """Returns the picture beside a text: another thing to encode, so its key tells the text too."""
        ids = tuple(int(index) for index in text_ids)
        return dataclasses.replace(self, key=f"{self.key} beside {ids}", text_ids=ids)

    def decoded(self, size: int, fit: str = "stretch") -> "Picture":
        """Returns the picture with its pixels as content, so that `pixels` of this size and fit costs nothing.

        Raises:
          UserError: as `pixels`.
        """
        return dataclasses.replace(self, content=self.pixels(size, fit))

    def alone(self, how: tiling.Tiling) -> tiling.Grid:
        """Returns how it is cut where its turn shows no other; one that was given normalised is not.

        Raises:
          UserError: it is no picture.
        """
        if how.most == 1 or isinstance(self.content, np.ndarray):
            return tiling.WHOLE
        try:
            return tiling.grid(preprocessing.upright_size(self.content), how)
        except errors.UserError as error:
            raise errors.UserError(f"{self.name}: {error}") from error

    def parts(self) -> list["Picture"]:
        """Returns what the tower encodes of it: its tiles and the overview, each a picture of its own, or itself."""
        if self.cut == tiling.WHOLE:
            return [self]
        columns, rows = self.cut
        keys = [f"{self.key} part {part} of {columns} x {rows}" for part in range(self.cut.slots)]
        return [dataclasses.replace(self, key=key, part=part) for part, key in enumerate(keys)]

    def pixels(self, size: int, fit: str = "stretch") -> np.ndarray:
        """Returns uint8 [size, size, 3], or float32 of that shape if the picture was given normalised.

        `fit` is a key of `preprocessing.FITS`.

        Raises:
          UserError: the picture cannot be decoded, or an array has another size.
        """
        if isinstance(self.content, np.ndarray) and self.content.dtype == np.uint8:
            return self.content
        if isinstance(self.content, np.ndarray):
            if self.content.shape != (3, size, size):
                raise errors.UserError(
                    f"{self.name}: a normalised picture has shape (3, {size}, {size}), this one {self.content.shape}"
                )
            return np.ascontiguousarray(self.content.transpose(1, 2, 0), dtype=np.float32)
        try:
            if self.part is not None:
                return _tiles(self.content, self.cut, size)[self.part]
            return preprocessing.decode_image(self.content, size, fit)
        except errors.UserError as error:
            raise errors.UserError(f"{self.name}: {error}") from error


@functools.lru_cache(maxsize=4)  # the parts of a picture are asked for one after another
def _tiles(data: bytes, cut: tiling.Grid, size: int) -> np.ndarray:
    tiles = np.empty((cut.slots, size, size, 3), np.uint8)
    tiling.decode((data, cut), tiles, fit="stretch")
    return tiles


def read(images: Sequence[Any]) -> list[Picture]:
    """Returns the pictures of a request: PIL images, paths, encoded bytes, or float32 arrays [3, h, w].

    Raises:
      UserError: a file cannot be read, or an element is something else.
    """
    if isinstance(images, str | bytes | os.PathLike | Image.Image) or not isinstance(images, Iterable):
        raise errors.UserError("images: must be a list, also for one picture or none; write images=[...]")
    return [_read(image, f"images[{number}]") for number, image in enumerate(images)]


def slots(shown: Iterable[Picture]) -> list[int]:
    """Returns the slots of each picture, its tiles and overview."""
    return [picture.cut.slots for picture in shown]


def parts(shown: Iterable[Picture]) -> list[Picture]:
    """Returns what the tower encodes of pictures, in the order of their slots."""
    return [part for picture in shown for part in picture.parts()]


def read_all(images: Sequence[Any], video: str | os.PathLike[str] | None) -> list[Picture]:
    """Returns the pictures of a request, and behind them the frames of its video.

    Raises:
      UserError: as `read` and `read_video`.
    """
    return read(images) + ([] if video is None else read_video(video))


def _read(image: Any, name: str) -> Picture:
    if isinstance(image, Picture):
        return image
    if isinstance(image, str | os.PathLike):
        path = Path(image)
        try:
            return _encoded(path.read_bytes(), str(path))
        except OSError as error:
            raise errors.UserError(
                f"{path}: cannot be read ({error.strerror}); give a PNG, JPEG or WebP file"
            ) from error
    if isinstance(image, bytes | bytearray | memoryview):
        return _encoded(bytes(image), name)
    if isinstance(image, Image.Image):
        try:
            return _encoded(to_png(image), name)
        except (OSError, SyntaxError, ValueError) as error:  # an empty picture, a mode without a way to RGB, a cut file
            size = f"{image.width} x {image.height} pixels"
            raise errors.UserError(
                f"{name}: the PIL image of mode {image.mode}, {size}, cannot be taken ({error}); convert it to RGB"
            ) from error
    if hasattr(image, "__array__"):
        array = np.asarray(image)
        if array.ndim != 3 or not np.issubdtype(array.dtype, np.floating):
            raise errors.UserError(
                f"{name}: an array must be float32 [3, h, w], normalised; it is {array.dtype} {list(array.shape)}. "
                "Give pixels as PIL.Image.fromarray(...)"
            )
        array = array.astype(np.float32)
        if not np.isfinite(array).all():
            raise errors.UserError(f"{name}: the array holds values that are not finite; check its normalisation")
        return Picture(key_of(array.tobytes(), str(array.shape)), name, array)
    raise errors.UserError(f"{name}: {type(image).__name__} is no picture; give a path, bytes, a PIL image or an array")


def _encoded(data: bytes, name: str) -> Picture:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":  # what is stored and trained on is PNG or JPEG
        data = _still(data, name)
    return Picture(key_of(data), name, data)


def _still(data: bytes, name: str) -> bytes:
    """Returns a WebP picture as PNG.

    Raises:
      UserError: it is damaged, too large, or moves.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("WEBP",)) as image:
            if image.width * image.height > preprocessing.MAX_PIXELS:
                raise errors.UserError(
                    f"{name}: picture of {image.width} x {image.height} pixels is above the limit of "
                    f"{preprocessing.MAX_PIXELS}; shrink it"
                )
            count = getattr(image, "n_frames", 1)
            if count > 1:
                raise errors.UserError(f"{name}: has {count} frames; give it as a video")
            return to_png(image)
    except (OSError, EOFError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise errors.UserError(f"{name}: picture is no readable WebP ({error}); convert or replace it") from error


def key_of(data: bytes, kind: str = "") -> str:
    """Returns the key of content, equal for equal bytes of one kind."""
    return hashlib.sha256(kind.encode() + b"\x00" + data).hexdigest()


def to_png(image: Image.Image) -> bytes:
    """Returns a PIL image as PNG, so that it takes the one way that every picture takes; nothing is lost."""
    image = ImageOps.exif_transpose(image)
    if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        image = image.convert("RGB")
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def read_video(path: str | os.PathLike[str], num_frames: int = 8) -> list[Picture]:
    """Returns `num_frames` frames of a video, taken evenly, in order; 8 as in the paper (arXiv 2306.04387, 4.2).

    Args:
      path: An animated GIF, WebP or PNG, or a folder of PNG, JPEG or WebP frames (by name, numbers in their order).
      num_frames: How many to take; a shorter video gives some twice.

    Raises:
      UserError: there is no such file, no frame, or it is damaged.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted((file for file in path.iterdir() if file.suffix.lower() in _FRAME_SUFFIXES), key=_natural)
        if not files:
            raise errors.UserError(f"{path}: holds no frame; a video folder has PNG, JPEG or WebP files")
        return read([files[number] for number in preprocessing.sample_frames(len(files), num_frames)])
    try:
        with Image.open(path, formats=_VIDEO_FORMATS) as video:
            return _frames(video, path, num_frames)
    except Image.UnidentifiedImageError as error:
        raise errors.UserError(
            f"{path}: is no animated GIF, WebP or PNG; convert it, or give a folder of its frames"
        ) from error
    except Image.DecompressionBombError as error:
        raise errors.UserError(
            f"{path}: frames are above the limit of {preprocessing.MAX_PIXELS} pixels; shrink them"
        ) from error
    except (OSError, EOFError, SyntaxError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise errors.UserError(f"{path}: the video cannot be read ({reason}); give another file") from error


def _frames(video: Image.Image, path: Path, num_frames: int) -> list[Picture]:
    if video.width * video.height > preprocessing.MAX_PIXELS:
        raise errors.UserError(
            f"{path}: frames of {video.width} x {video.height} pixels are above the limit of {preprocessing.MAX_PIXELS}"
        )
    encoded: dict[int, bytes] = {}
    numbers = [int(number) for number in preprocessing.sample_frames(getattr(video, "n_frames", 1), num_frames)]
    for number in numbers:
        if number not in encoded:
            video.seek(number)
            encoded[number] = to_png(video.convert("RGBA"))
    return [_encoded(encoded[number], f"{path} frame {number}") for number in numbers]


def _natural(file: Path) -> list[tuple[int, int | str]]:
    """Returns a key that puts frame_10 after frame_9."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", file.name) if part]
