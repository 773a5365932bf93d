import errno
import hashlib
import http.server
import io
import json
import os
import pathlib
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile

import pytest

from m3it_jax import errors
from m3it_jax.dataset_building import sources
from m3it_jax.dataset_building.publishers import download, raw
from m3it_jax.dataset_building.specification import Published, RawFile, SourceSpec


class Site:
    """A publisher: `answers` by path, each bytes to send, a status, or a function of the request."""

    def __init__(self):
        self.answers, self.asked = {}, []
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):  # noqa: N802 (the name that http.server looks for)
                site.asked.append(self.path)
                answer = site.answers.get(self.path, 404)
                if callable(answer):
                    answer(self)
                elif isinstance(answer, int):
                    self.send_error(answer)
                else:
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)

            def log_message(self, *words):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._server.server_port}{path}"

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "_RETRIES", 0)
    site = Site()
    yield site
    site.close()


def zipped(files: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


def tarred(files: dict[str, bytes | str], mode: str = "w:gz") -> bytes:
    """Packs files; a text is what a link of that name points at."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return data.getvalue()


def source(name: str, *files: RawFile, borrows: tuple[str, ...] = ()) -> SourceSpec:
    published = Published(held_out=False, counts={}, raw=files, selection="", known_from=(), borrows=borrows)
    return SourceSpec(
        name, "vqa", "en", "", lambda *_: iter(()), {}, url=f"https://{name}.example", published=published
    )


def obtained(tmp_path: pathlib.Path, *specs: SourceSpec) -> list[str]:
    """Fetches in this process what the sources lack, and returns what was told."""
    wanted, _ = download.plan(specs, tmp_path, load=sources.load)
    (tmp_path / download.DOWNLOADS).mkdir(exist_ok=True, parents=True)
    return [line for line in map(download.obtain, wanted) if line]


def tree(folder: pathlib.Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_all_kinds_of_download_come_to_their_places_and_are_fetched_once(site, tmp_path):
    import gzip

    site.answers = {
        "/rows.json": b"[1]",
        "/pictures.zip": zipped({"around/train/1.jpg": b"one", "around/train/2/2.jpg": b"two", "around/read.me": b""}),
        "/texts.tar.gz": tarred({"./v1/rows.csv": b"a,b", "./v1/other.csv": b"c"}),
        "/list.txt.gz": gzip.compress(b"listed"),
        "/odd.gz": tarred({"whatever.json": b"{}"}),
    }
    spec = source(
        "coco",
        RawFile("rows.json", "", site.url("/rows.json")),
        RawFile("images/train/", "", site.url("/pictures.zip")),
        RawFile("data/rows.csv", "", site.url("/texts.tar.gz")),
        RawFile("list.txt", "", site.url("/list.txt.gz"), optional=True),
        RawFile("named/by/us.json", "", site.url("/odd.gz")),
        RawFile("pictures.zip", "", site.url("/pictures.zip")),
    )
    assert obtained(tmp_path, spec) == []
    assert tree(tmp_path / "coco") == {
        "rows.json": b"[1]",
        "images/train/1.jpg": b"one",
        "images/train/2/2.jpg": b"two",
        "data/rows.csv": b"a,b",
        "list.txt": b"listed",
        "named/by/us.json": b"{}",
        "pictures.zip": site.answers["/pictures.zip"],
    }
    assert sorted(site.asked) == sorted(site.answers)
    left = tree(tmp_path / download.DOWNLOADS)
    assert {site.url(path): hashlib.sha256(data).hexdigest() for path, data in site.answers.items()} == json.loads(
        left.pop(download.CHECKSUMS)
    )
    assert left == {}, "the archives were left behind"

    assert download.plan([spec], tmp_path, load=sources.load) == ([], [])
    assert download.fetch([], tmp_path / "new") == [] and not (tmp_path / "new").exists()


def test_the_publishers_checksum_is_compared(site, tmp_path):
    site.answers["/a.txt"] = b"as published"
    right = hashlib.sha256(b"as published").hexdigest()
    (told,) = obtained(tmp_path, source("coco", RawFile("a.txt", "", site.url("/a.txt"), sha256="0" * 64)))
    assert right in told and "publisher" in told and "0" * 64 in told and "\n" not in told
    assert not (tmp_path / "coco").exists()
    assert obtained(tmp_path, source("coco", RawFile("a.txt", "", site.url("/a.txt"), sha256=right))) == []
    assert (tmp_path / "coco" / "a.txt").read_bytes() == b"as published"


def test_what_the_first_fetch_gave_is_compared_with_every_later_one(site, tmp_path):
    spec = source("coco", RawFile("a.txt", "", site.url("/a.txt")))
    site.answers["/a.txt"] = b"first"
    assert obtained(tmp_path, spec) == []
    (tmp_path / "coco" / "a.txt").unlink()
    site.answers["/a.txt"] = b"second"
    (told,) = obtained(tmp_path, spec)
    assert hashlib.sha256(b"first").hexdigest() in told and download.CHECKSUMS in told
    assert not (tmp_path / "coco" / "a.txt").exists()
    site.answers["/a.txt"] = b"first"
    assert obtained(tmp_path, spec) == []

    (tmp_path / "coco" / "a.txt").unlink()
    (tmp_path / download.DOWNLOADS / download.CHECKSUMS).write_text("{")
    with pytest.raises(errors.UserError, match="checksums.json: cannot be read"):
        obtained(tmp_path, spec)


def _cut(request):
    request.send_response(200)
    request.send_header("Content-Length", "1000")
    request.end_headers()
    request.wfile.write(b"x" * 100)


def _to_a_file(request):
    request.send_response(302)
    request.send_header("Location", "file:///etc/hostname")
    request.end_headers()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (404, "404"),
        (503, "503"),
        (_cut, "100 bytes read, 900 more expected"),
        (_to_a_file, "file:"),
        (b"\n<!DOCTYPE html><title>Sign in</title>", "login"),
        (b"no zip", "not a zip"),
        (zipped({"train/1.jpg": b"1" * 5000})[:-40], "not a zip"),
        (zipped({"train/1.jpg": b"12345"}).replace(b"12345", b"1x345"), None),
        (zipped({"test/1.jpg": b"1"}), "holds no train/"),
    ],
)
def test_what_cannot_be_used_is_told_and_leaves_nothing(site, tmp_path, answer, why):
    if why is None:  # stored, so that a byte can be changed
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as archive:
            archive.writestr("train/1.jpg", b"12345")
        answer, why = data.getvalue().replace(b"12345", b"1x345"), "CRC"
    site.answers["/a.zip"] = answer
    (told,) = obtained(tmp_path, source("coco", RawFile("train/", "", site.url("/a.zip"))))
    assert why in told and site.url("/a.zip") in told and str(tmp_path / "coco" / "train") in told and "\n" not in told
    assert tree(tmp_path) == {}, "something was left, or recorded"


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/a", "httpx", "/etc/hostname"])
def test_only_web_addresses_are_fetched(tmp_path, url):
    (told,) = obtained(tmp_path, source("coco", RawFile("a", "", url)))
    assert "only http and https" in told and tree(tmp_path) == {}


def test_archives_write_nothing_outside(site, tmp_path):
    folder = tmp_path / "raw"
    outside = tmp_path / "outside"
    outside.mkdir()
    hostile = {
        "train/1.jpg": b"one",
        "train/../../../evil": b"x",
        "../../outside/evil": b"x",
        f"{outside}/evil": b"x",
        "train/../../evil/train/x": b"x",
    }
    links = {"train/out": str(outside), "train/out/evil": b"x", "train/secret": "/etc/passwd", "train/same": "1.jpg"}
    site.answers = {"/a.zip": zipped(hostile), "/b.tar": tarred({**hostile, **links}, "w")}
    for name in ("a.zip", "b.tar"):
        assert obtained(folder, source(name[0], RawFile("train/", "", site.url(f"/{name}")))) == []
    assert tree(folder / "a") == {"train/1.jpg": b"one"}
    assert tree(folder / "b") == {"train/1.jpg": b"one", "train/out/evil": b"x", "train/same": b"one"}
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))
    assert list(outside.iterdir()) == [] and set(os.listdir(tmp_path)) == {"raw", "outside"}


def test_no_more_is_unpacked_than_the_disk_has(site, tmp_path, monkeypatch):
    site.answers["/a.zip"] = zipped({"train/1.jpg": bytes(8 << 20)})
    assert len(site.answers["/a.zip"]) < 10_000
    spec = source("coco", RawFile("train/", "", site.url("/a.zip")))
    free = download.shutil.disk_usage(tmp_path)._replace(free=4 << 20)
    with monkeypatch.context() as small:
        small.setattr(download.shutil, "disk_usage", lambda _: free)
        with pytest.raises(OSError) as caught:
            obtained(tmp_path, spec)
    assert caught.value.errno == errno.ENOSPC
    assert tree(tmp_path / "coco") == {}
    assert obtained(tmp_path, spec) == [] and site.asked == ["/a.zip"], "what was fetched is fetched again"
    assert len(tree(tmp_path / "coco")["train/1.jpg"]) == 8 << 20


def test_sources_that_need_one_address_fetch_it_once(site, tmp_path, monkeypatch):
    site.answers["/a.zip"] = zipped({"a.json": b"a", "b.json": b"b", "train2014/1.jpg": b"1"})
    pictures = RawFile("train2014/", "", site.url("/a.zip"))
    lender = source("coco", pictures)
    monkeypatch.setattr(sources, "load", {"coco": lender}.get)
    first = source("vqa-v2", RawFile("a.json", "", site.url("/a.zip")), pictures, borrows=("coco",))
    second = source("okvqa", RawFile("b.json", "", site.url("/a.zip")), pictures, borrows=("coco",))
    assert obtained(tmp_path, first, second) == []
    assert site.asked == ["/a.zip"]
    assert tree(tmp_path / "vqa-v2") == {"a.json": b"a"} and tree(tmp_path / "okvqa") == {"b.json": b"b"}
    assert tree(tmp_path / "coco") == {"train2014/1.jpg": b"1"}, "the pictures lie where all three find them"
    assert not any(raw.absent(spec, sources.folders(tmp_path)) for spec in (lender, first, second))


def test_what_a_person_has_to_get_is_told_in_a_line_for_each_source(tmp_path):
    files = (RawFile("train.json", ""), RawFile("pages/", ""), RawFile("more/", "", optional=True))
    wanted, told = download.plan(
        [source("docvqa", *files), source("ss", RawFile("video/", ""))], tmp_path, load=sources.load
    )
    assert wanted == [] and len(told) == 2 and not any("\n" in line for line in told)
    assert told[0].startswith("docvqa: train.json, pages/: ")
    assert "https://docvqa.example" in told[0] and f"{tmp_path / 'docvqa'}/" in told[0] and "more" not in told[0]


def test_a_host_that_cannot_be_reached_is_told_in_one_line(site, tmp_path):
    site.close()
    (told,) = obtained(tmp_path, source("coco", RawFile("a.txt", "", site.url("/a.txt"))))
    assert "Connection refused" in told and "\n" not in told and tree(tmp_path) == {}


@pytest.mark.parametrize(
    ("names", "wanted", "chosen"),
    [
        (["x/deep/train/1", "train/1", "train/a/2"], "train/", {"train/1": "1", "train/a/2": "a/2"}),
        (["train/val/1", "val/1"], "images/val/", {"val/1": "1"}),
        (["images/val/1", "val/1"], "images/val/", {"images/val/1": "1"}),
        (["1.jpg", "2.jpg"], "train/", {"1.jpg": "1.jpg", "2.jpg": "2.jpg"}),
        (["strain/1.jpg"], "train/", {}),
        (["a/b.json", "b.json"], "b.json", {"b.json": ""}),
        (["ab.json", "c.json"], "b.json", {}),
        (["ab.json"], "b.json", {"ab.json": ""}),
        ([""], "b.json", {"": ""}),
        ([""], "train/", {}),
        ([], "train/", {}),
    ],
)
def test_entries_are_found_whatever_stands_around_them(names, wanted, chosen):
    assert download.choose(names, wanted) == chosen


BUILD = """
import pathlib, sys
from m3it_jax.cli import program
from m3it_jax.dataset_building.publishers import download
raw, url = pathlib.Path(sys.argv[1]), sys.argv[2]
wanted = download.Wanted(url, "", (("a.txt", raw / "coco" / "a.txt"),), raw / download.DOWNLOADS)
download.plan = lambda specs, folder, *, load: ([] if (raw / "coco" / "a.txt").exists() else [wanted], [])
sys.argv = ["m3it", "build", "coco", "--raw", str(raw), "--out", str(raw / "out"), "--download"]
program.main()
"""


@pytest.mark.slow
def test_ctrl_c_ends_a_download_at_once_and_leaves_nothing(site, tmp_path):
    begun, ended = threading.Event(), threading.Event()

    def endless(request):
        """Sends bytes until nobody takes them any more."""
        request.send_response(200)
        request.end_headers()
        try:
            while not time.sleep(0.01):
                request.wfile.write(bytes(1000))
                begun.set()
        except OSError:
            ended.set()

    site.answers["/a.txt"] = endless
    # As from a terminal: the signal goes to the program and to its worker.
    words = [sys.executable, "-c", BUILD, str(tmp_path), site.url("/a.txt")]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert begun.wait(300), "it did not come to the download"
        os.killpg(process.pid, signal.SIGINT)
        told = process.communicate(timeout=300)[1]
    assert process.returncode == 130 and [line for line in told.splitlines() if line.startswith("m3it:")] == [
        "m3it: interrupted; the same command resumes where it left off"
    ], told
    assert "Traceback" not in told and ended.wait(300), "somebody is still downloading"
    assert not (tmp_path / "coco").exists() and not (tmp_path / "out").exists()

    site.answers["/a.txt"] = b"whole"
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 1 and "lacks coco/dataset_coco.json" in done.stderr
    assert tree(tmp_path) == {
        "coco/a.txt": b"whole",
        ".downloads/.lock": b"",
        ".downloads/checksums.json": (tmp_path / ".downloads" / "checksums.json").read_bytes(),
    }, "what was cut off is still there"


def test_a_link_out_of_the_raw_folder_is_refused(tmp_path):
    (tmp_path / "coco").mkdir()
    (tmp_path / "coco" / "train").symlink_to(tmp_path)
    with pytest.raises(errors.UserError, match="leads out of"):
        download.plan([source("coco", RawFile("train/", "", "https://example.org/a.zip"))], tmp_path, load=sources.load)


@pytest.mark.parametrize("name", sources.NAMES)
def test_an_address_is_of_a_file_and_not_of_a_page(name):
    for file in sources.load(name).published.raw:
        if file.url:
            assert file.url.startswith(("http://", "https://")) and "/tree/" not in file.url
            assert pathlib.PurePosixPath(file.url).suffix and file.url.count("/") > 3
        assert file.sha256 == "" or len(bytes.fromhex(file.sha256)) == 32
