"""Frames of a video file, by PyAV, and which of them are taken."""

import contextlib
import dataclasses
import importlib.util
import itertools
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from m3it_jax import errors, rng, schema
from m3it_jax.dataset_building.media import pictures
from m3it_jax.dataset_building.publishers import raw
from m3it_jax.dataset_building.specification import FramePick, RowError

NUM_FRAMES = 8  # of a video (arXiv 2306.04387, section 4.2)

# CHOICE: an hour at 30 frames a second; a file that claims more would only cost time.
MAX_FRAMES = 108_000

# Options of FFmpeg (libavformat/options_table.h, libavcodec/options_table.h). Only these containers are opened, and
# only as files: a playlist would lead to other files or to the network. Frames above the limit are never allocated.
_OPTIONS: Mapping[str, str] = {
    "format_whitelist": "mov,mp4,matroska,webm,avi",
    "protocol_whitelist": "file",
    "max_pixels": str(schema.MAX_PIXELS),
    "flags": "+bitexact",
}
# SWS_BILINEAR | SWS_ACCURATE_RND | SWS_BITEXACT (libswscale/swscale.h): the same pixels on every processor.
_EXACT = 0x2 | 0x40000 | 0x80000


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

    Which frames are chosen depends on how many can be decoded, and containers say that wrongly or not at all. The
    packets, which are fast to count, nearly always number the same; where they do not, the file is decoded twice.

    Raises:
      RowError: `video-unreadable`: no frame can be decoded; `picture-too-large`: it has too many or too large frames.
      UserError: PyAV is not installed.
    """
    if importlib.util.find_spec("av") is None:
        raise errors.UserError("package av is needed to read videos: pip install -e '.[build]' in the repository")
    available = max(1, sum(_inside(span, time) for time in _packet_times(path)))
    wanted = pick(key, available, NUM_FRAMES)
    found, decoded = _taken(path, wanted, span)
    if decoded and decoded != available:
        wanted = pick(key, decoded, NUM_FRAMES)
        found, decoded = _taken(path, wanted, span)
    if not decoded:
        where = f" from {span[0]:g} to {span[1]:g} seconds" if span else ""
        raise RowError("video-unreadable", f"{path.name} has no frame{where} that can be decoded")
    return tuple(found[number] for number in wanted)


def _inside(span: tuple[float, float] | None, time: float | None) -> bool:
    return span is None or time is None or span[0] <= time < span[1]


def _taken(path: pathlib.Path, wanted: Sequence[int], span: tuple[float, float] | None) -> tuple[dict[int, bytes], int]:
    """Returns the wanted frames as JPEG by their number within the span, and how many frames that has."""
    found: dict[int, bytes] = {}
    number = 0
    for time, frame in _decoded(path):
        if _inside(span, time):
            if number in wanted:
                # A telephone held upright says so beside the pixels; players turn the frame.
                upright = frame.to_image(interpolation=_EXACT).rotate(90 * round(frame.rotation / 90), expand=True)
                found[number] = pictures.encode_jpeg(upright)
            number += 1
    return found, number


def _seconds(stream: Any, stamp: int | None) -> float | None:
    return None if stamp is None else float((stamp - (stream.start_time or 0)) * stream.time_base)


def _packet_times(path: pathlib.Path) -> Iterator[float | None]:
    """Yields for each packet when it is shown, in seconds from the begin, or None; what is damaged ends it."""
    import av

    with _opened(path) as (container, stream), contextlib.suppress(av.error.FFmpegError):
        packets = (packet for packet in container.demux(stream) if packet.size)  # the last is empty
        for packet in itertools.islice(packets, MAX_FRAMES + 1):
            yield _seconds(stream, packet.pts)


def _decoded(path: pathlib.Path) -> Iterator[tuple[float, Any]]:
    """Yields (seconds from the begin, frame) in order of showing; what is damaged is left out, as players do."""
    with _opened(path) as (container, stream):
        rate = float(stream.average_rate or 0) or 25.0  # CHOICE: for files that state neither times nor a rate
        for number, frame in enumerate(_sound_frames(container, stream)):
            if number >= MAX_FRAMES:
                raise RowError("picture-too-large", f"{path.name} has more than {MAX_FRAMES} frames")
            time = _seconds(stream, frame.pts)
            yield (number / rate if time is None else time), frame


def _sound_frames(container: Any, stream: Any) -> Iterator[Any]:
    import av

    with contextlib.suppress(av.error.FFmpegError):  # of the container: what follows cannot be read
        for packet in container.demux(stream):
            try:
                decoded = packet.decode()
            except av.error.FFmpegError:
                continue
            yield from decoded


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[tuple[Any, Any]]:
    """Opens a video and yields (container, its first video stream).

    Raises:
      RowError: `video-unreadable` or `picture-too-large`.
    """
    import av

    # Titles in any encoding must not spoil a file; from version 19 on PyAV takes them all and knows no such argument.
    tolerant: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
    try:
        container = av.open(str(path.resolve()), options=dict(_OPTIONS), **tolerant)
    except av.error.FFmpegError as error:
        raise RowError("video-unreadable", f"{path.name} cannot be opened: {error.strerror}") from error
    with container:
        if not container.streams.video or container.streams.video[0].codec_context is None:
            raise RowError("video-unreadable", f"{path.name} has no video stream that can be decoded")
        stream = container.streams.video[0]
        if stream.width * stream.height > schema.MAX_PIXELS:
            raise RowError("picture-too-large", f"{path.name} has frames of {stream.width} x {stream.height}")
        stream.codec_context.options = dict(_OPTIONS)
        stream.codec_context.thread_count = 1  # the build has a process for each core already
        yield container, stream
