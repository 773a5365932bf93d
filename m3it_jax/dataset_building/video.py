"""Frames of a video file, by PyAV, and which of them are taken."""

import dataclasses
import importlib.util
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from m3it_jax import errors, rng, schema
from m3it_jax.dataset_building import pictures, raw
from m3it_jax.dataset_building.specification import FramePick, RowError

NUM_FRAMES = 8  # of a video (arXiv 2306.04387, section 4.2)

# CHOICE: an hour at 30 frames a second; a file that claims more would only cost time.
MAX_FRAMES = 108_000


def uniform(key: str, available: int, wanted: int) -> list[int]:
    """Returns the frames in the middle of `wanted` equal parts, as the paper says (arXiv 2306.04387, section 4.2).

    Of a video that is shorter than `wanted` some frames come several times.
    """
    del key
    return [int((part + 0.5) * available / wanted) for part in range(wanted)]


@dataclasses.dataclass(frozen=True)
class Random:
    """Frames at random in their order, as the maintainers say of the released files (discussion 9 of the data set).

    The seed and the video's name alone decide which.
    """

    seed: int

    def __call__(self, key: str, available: int, wanted: int) -> list[int]:
        """Returns the frames: different ones where the video is long enough."""
        chosen = rng.generator(self.seed, "frames", key).choice(available, wanted, replace=available < wanted)
        return sorted(chosen.tolist())


def _uniform(seed: int) -> FramePick:
    del seed
    return uniform


# Ways to take frames, by name: seed -> the way.
PICKS: Mapping[str, Callable[[int], FramePick]] = {"uniform": _uniform, "random": Random}


@dataclasses.dataclass(frozen=True)
class VideoFile:
    """Frames of one video of a raw folder, looked for in each of the roots in turn.

    Attributes:
      roots: Folders.
      name: The file's name in them.
      span: Begin and end of the part that counts, in seconds; None takes the whole video.
    """

    roots: tuple[pathlib.Path, ...]
    name: str
    span: tuple[float, float] | None = None

    def read(self, pick: FramePick) -> tuple[bytes, ...]:
        """Returns `NUM_FRAMES` frames as JPEG.

        Raises:
          RowError: `picture-missing`, `path-outside`, `picture-too-large` or `video-unreadable`.
          UserError: PyAV is not installed.
        """
        path = raw.find(self.roots, self.name)
        if path is None:
            raise RowError("picture-missing", f"there is no {self.name}")
        key = f"{self.name} {self.span}" if self.span else self.name
        return frames(path, key=key, pick=pick, span=self.span)


def frames(
    path: pathlib.Path, *, key: str, pick: FramePick, span: tuple[float, float] | None = None
) -> tuple[bytes, ...]:
    """Returns the chosen `NUM_FRAMES` frames of a video as JPEG.

    The file is read twice: containers often do not say how many frames they hold, or say it wrongly, so the first pass
    counts those that can be decoded.

    Raises:
      RowError: `video-unreadable`: no frame can be decoded; `picture-too-large`: it has too many or too large frames.
      UserError: PyAV is not installed.
    """
    if importlib.util.find_spec("av") is None:
        raise errors.UserError("package av is needed to read videos: pip install 'm3it_jax[build]'")
    times = [time for time, _ in _decoded(path) if span is None or span[0] <= time < span[1]]
    if not times:
        raise RowError("video-unreadable", f"{path.name} has no frame{f' in {span} seconds' if span else ''}")
    wanted = pick(key, len(times), NUM_FRAMES)
    found: dict[int, bytes] = {}
    number = -1
    for time, frame in _decoded(path):
        if span is not None and not span[0] <= time < span[1]:
            continue
        number += 1
        if number in wanted:
            found[number] = pictures.encode_jpeg(frame.to_image())
        if number >= wanted[-1]:
            break
    return tuple(found[number] for number in wanted)


def _decoded(path: pathlib.Path) -> Iterator[tuple[float, Any]]:
    """Yields (seconds from the begin, frame) in order of showing; a damaged end is left out, as players do."""
    import av

    try:
        # Only this file is opened: a playlist must not lead to others, nor to the network.
        with av.open(str(path), options={"protocol_whitelist": "file"}) as container:
            if not container.streams.video:
                raise RowError("video-unreadable", f"{path.name} has no video stream")
            stream = container.streams.video[0]
            if stream.width * stream.height > schema.MAX_PIXELS:
                raise RowError("picture-too-large", f"{path.name} has frames of {stream.width} x {stream.height}")
            for number, frame in enumerate(container.decode(stream)):
                if number >= MAX_FRAMES:
                    raise RowError("picture-too-large", f"{path.name} has more than {MAX_FRAMES} frames")
                yield (frame.time if frame.time is not None else float(number)), frame
    except av.error.EOFError:
        return
    except av.error.FFmpegError as error:
        raise RowError("video-unreadable", f"{path.name} cannot be decoded: {error}") from error
