import functools
import http.server
import io
import os
import pathlib
import random
import struct
import subprocess
import sys
import threading

import av
import numpy as np
import pytest
from PIL import Image

from m3it_jax import errors, schema
from m3it_jax.dataset_building.publishers import video
from m3it_jax.dataset_building.specification import RowError

WIDTH, HEIGHT, RATE = 32, 24, 10
GREYS = tuple(range(16, 240, 5))  # frame k is of one grey, GREYS[k], so that a frame says which it is


def write_video(
    path: pathlib.Path, frames: int, codec: str = "mpeg4", size: tuple[int, int] = (WIDTH, HEIGHT), title: str = ""
) -> pathlib.Path:
    """Writes a video whose container follows from the path's suffix; the left upper quarter is always black."""
    with av.open(str(path), "w") as container:
        if title:
            container.metadata["title"] = title
        stream = container.add_stream(codec, rate=RATE)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.bit_rate = 4_000_000
        for number in range(frames):
            pixels = np.full((size[1], size[0], 3), GREYS[number % len(GREYS)], np.uint8)
            pixels[: size[1] // 2, : size[0] // 2] = 0
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture
def clip(tmp_path):
    return functools.partial(write_video, tmp_path / "clip.mp4")


def shown(images: tuple[bytes, ...]) -> list[int]:
    """Returns which frame of a video each picture is."""
    lower = [np.asarray(Image.open(io.BytesIO(image)))[-4:].mean() for image in images]
    return [min(range(len(GREYS)), key=lambda number: abs(GREYS[number] - grey)) for grey in lower]


def read(path: pathlib.Path, pick=video.uniform, span=None) -> tuple[bytes, ...]:
    return video.VideoFile((path.parent,), path.name, span).read(pick)


def refused(path: pathlib.Path) -> RowError:
    with pytest.raises(RowError) as caught:
        read(path)
    return caught.value


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "mpeg4"), ("a.mp4", "libx264"), ("a.avi", "mpeg4"), ("a.webm", "libvpx"), ("a.mkv", "libvpx-vp9")],
)
def test_uniform_takes_the_middle_of_eight_equal_parts(tmp_path, name, codec):
    images = read(write_video(tmp_path / name, 40, codec))
    assert shown(images) == [2, 7, 12, 17, 22, 27, 32, 37]
    assert all(Image.open(io.BytesIO(image)).format == "JPEG" for image in images)
    assert {Image.open(io.BytesIO(image)).size for image in images} == {(WIDTH, HEIGHT)}


@pytest.mark.parametrize("available", [1, 3, 8, 9, 100])
@pytest.mark.parametrize("pick", [video.uniform, video.Random(0)])
def test_a_pick_is_ascending_and_within_the_video(pick, available):
    wanted = pick("a", available, video.NUM_FRAMES)
    assert len(wanted) == video.NUM_FRAMES and wanted == sorted(wanted)
    assert 0 <= wanted[0] and wanted[-1] < available
    if available >= video.NUM_FRAMES:
        assert len(set(wanted)) == video.NUM_FRAMES


def test_random_frames_depend_on_seed_and_name_alone(clip):
    path = clip(40)
    first = read(path, video.Random(0))
    assert first == read(path, video.Random(0))
    assert shown(first) != shown(read(path, video.Random(1)))
    assert video.Random(0)("a", 40, 8) != video.Random(0)("b", 40, 8)
    assert video.PICKS["random"](0) == video.Random(0) and video.PICKS["uniform"](3) is video.uniform


def test_a_short_video_repeats_frames(clip):
    assert shown(read(clip(3))) == [0, 0, 0, 1, 1, 2, 2, 2]


def test_a_span_counts_from_the_begin_of_the_video(clip):
    path = clip(40)
    assert shown(read(path, span=(1.0, 1.8))) == list(range(10, 18))
    assert shown(read(path, span=(3.5, 99.0))) == [35, 35, 36, 37, 37, 38, 39, 39]
    with pytest.raises(RowError, match="no frame from 5 to 6 seconds") as caught:
        read(path, span=(5.0, 6.0))
    assert caught.value.reason == "video-unreadable"


def test_the_same_bytes_in_another_process(clip):
    path = clip(40)
    code = (
        "import hashlib, pathlib, sys; from m3it_jax.dataset_building.publishers import video;"
        "path = pathlib.Path(sys.argv[1]);"
        "print(hashlib.sha256(b''.join(video.frames(path, key='a', pick=video.uniform))).hexdigest())"
    )
    runs = {subprocess.check_output([sys.executable, "-c", code, str(path)]) for _ in range(2)}
    assert len(runs) == 1 and read(path) == read(path)


def test_a_wrong_number_of_packets_changes_nothing(clip, monkeypatch):
    path = clip(40)
    sound = read(path)
    for count in (0, 1, 39, 41, 400):
        monkeypatch.setattr(video, "_packet_times", lambda _, count=count: iter([None] * count))
        assert read(path) == sound


def test_a_turned_video_is_put_upright(clip):
    data = bytearray(clip(9).read_bytes())
    # The matrix of the track header (ISO/IEC 14496-12, 8.3.2): a quarter turn clockwise, as telephones write it.
    one = 0x10000
    still = struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, 0x40000000)
    turned = struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, 0x40000000)
    place = data.index(still, data.index(b"tkhd"))
    data[place : place + len(turned)] = turned
    path = clip(9)
    path.write_bytes(data)
    picture = np.asarray(Image.open(io.BytesIO(read(path)[-1])))
    assert picture.shape == (WIDTH, HEIGHT, 3)
    assert picture[2, -3].mean() < 30 < picture[2, 2].mean()  # the black quarter is now at the right


def test_a_video_that_does_not_begin_at_zero_counts_from_its_begin(tmp_path):
    with av.open(str(write_video(tmp_path / "a.mp4", 40))) as whole, av.open(str(tmp_path / "late.mkv"), "w") as late:
        stream = late.add_stream_from_template(whole.streams.video[0])
        for packet in whole.demux(whole.streams.video[0]):
            if packet.size:
                packet.pts += int(5 / packet.time_base)
                packet.dts += int(5 / packet.time_base)
                packet.stream = stream
                late.mux(packet)
    assert shown(read(tmp_path / "late.mkv", span=(1.0, 1.8))) == list(range(10, 18))


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.webm", "libvpx")])
def test_what_is_damaged_in_the_middle_is_left_out(tmp_path, name, codec):
    path = write_video(tmp_path / name, 40, codec)
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][20]
        begin, end = packet.pos, packet.pos + packet.size
    data = path.read_bytes()
    path.write_bytes(data[:begin] + b"\xff" * (end - begin) + data[end:])
    numbers = shown(read(path))
    assert len(set(numbers)) == video.NUM_FRAMES and numbers == sorted(numbers)
    assert numbers[-1] > (30 if name == "a.mp4" else 15)  # WebM's frames are lost from there on


def test_a_cut_video_gives_what_is_left(tmp_path):
    whole = write_video(tmp_path / "a.avi", 40)
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 3 // 4])
    numbers = shown(read(cut))
    assert numbers == sorted(numbers) and 5 < numbers[-1] < 37


def test_damaged_videos_are_told_or_give_pictures(tmp_path):
    whole = {suffix: write_video(tmp_path / f"a{suffix}", 12).read_bytes() for suffix in (".mp4", ".avi", ".mkv")}
    chance = random.Random(0)
    told = 0
    for number in range(120):
        suffix = chance.choice(sorted(whole))
        data = bytearray(whole[suffix])
        for _ in range(chance.randrange(1, 40)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        path = tmp_path / f"{number}{suffix}"
        path.write_bytes(data[: chance.choice([len(data), len(data) // 2])])
        try:
            assert len(read(path)) == video.NUM_FRAMES
        except RowError as error:
            told += 1
            assert error.reason in ("video-unreadable", "picture-too-large") and path.name in str(error)
    assert 10 < told < 110


@pytest.mark.parametrize("data", [b"", b"no video at all" * 100, b"\x89PNG\r\n\x1a\n" + bytes(100), b"\0" * 5000])
def test_a_file_that_is_no_video_is_told(tmp_path, data):
    (tmp_path / "a.mp4").write_bytes(data)
    assert refused(tmp_path / "a.mp4").reason == "video-unreadable"


def test_sound_without_a_picture_is_told(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert "no video stream" in str(refused(tmp_path / "a.mp4"))


def test_a_missing_file_and_a_folder_are_told(tmp_path):
    assert refused(tmp_path / "a.mp4").reason == "picture-missing"
    (tmp_path / "b.mp4").mkdir()
    assert refused(tmp_path / "b.mp4").reason == "video-unreadable"


def test_a_name_that_leads_outside_is_told(tmp_path, clip):
    clip(9)
    (tmp_path / "raw").mkdir()
    os.symlink(tmp_path / "clip.mp4", tmp_path / "raw" / "link.mp4")
    for name in ("../clip.mp4", str(tmp_path / "clip.mp4"), "link.mp4"):
        with pytest.raises(RowError) as caught:
            video.VideoFile((tmp_path / "raw",), name).read(video.uniform)
        assert caught.value.reason == "path-outside"


@pytest.mark.parametrize("name", ["list.m3u8", "list.mp4", "list.ffconcat", "list.mpd", "list.sdp"])
def test_a_playlist_leads_nowhere(tmp_path, name):
    secret = write_video(tmp_path / "secret.mp4", 9)
    playlists = [
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{secret}\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile {secret}\n",
        f"<?xml version='1.0'?><MPD><Period><AdaptationSet><BaseURL>{secret}</BaseURL></AdaptationSet></Period></MPD>",
        "v=0\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    ]
    (tmp_path / "raw").mkdir()
    for text in playlists:
        (tmp_path / "raw" / name).write_text(text)
        assert refused(tmp_path / "raw" / name).reason == "video-unreadable"


def test_a_playlist_does_not_reach_the_network(tmp_path):
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):  # noqa: N802  (the library's name)
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/a.ts"
        (tmp_path / "a.m3u8").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{address}\n#EXT-X-ENDLIST\n")
        assert refused(tmp_path / "a.m3u8").reason == "video-unreadable"
        server.shutdown()
    assert asked == []


@pytest.mark.parametrize("name", ["concat:a.mp4|b.mp4", "http:a.mp4", "file:a.mp4", "pipe:0"])
def test_a_name_like_a_protocol_is_a_file_name(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "a.mp4", 9)
    os.replace("a.mp4", pathlib.Path(name))
    assert len(video.VideoFile((pathlib.Path(),), name).read(video.uniform)) == video.NUM_FRAMES


def test_frames_too_large_are_refused_before_they_take_memory(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", 2, "libx264", size=(4096, 2304))
    monkeypatch.setattr(schema, "MAX_PIXELS", 4096 * 2304 - 1)
    error = refused(path)
    assert error.reason == "picture-too-large" and "4096 x 2304" in str(error)


def test_a_header_that_hides_the_size_is_no_way_in(tmp_path):
    # The container says 32 x 24, the stream itself a size above the limit, as only a forged file does.
    path = write_video(tmp_path / "a.avi", 1, size=(8000, 5400))
    data = path.read_bytes()
    assert 8000 * 5400 > schema.MAX_PIXELS
    path.write_bytes(data.replace(struct.pack("<II", 8000, 5400), struct.pack("<II", WIDTH, HEIGHT)))
    # Had the decoder made a frame, its size would be what is wrong.
    assert refused(path).reason == "video-unreadable"


def test_a_video_of_too_many_frames_is_refused(clip, monkeypatch):
    monkeypatch.setattr(video, "MAX_FRAMES", 20)
    assert len(read(clip(20))) == video.NUM_FRAMES
    assert refused(clip(21)).reason == "picture-too-large"


def test_a_title_in_another_encoding_does_not_matter(tmp_path):
    path = write_video(tmp_path / "a.avi", 9, title="Cafe")
    path.write_bytes(path.read_bytes().replace(b"Cafe", b"Caf\xe9"))
    assert len(read(path)) == video.NUM_FRAMES


def test_without_pyav_the_user_is_told_what_to_install(clip, monkeypatch):
    path = clip(9)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(errors.UserError, match=r"pip install -e '.\[build\]'"):
        read(path)
