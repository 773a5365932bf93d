import os
import pathlib
import threading

import pytest

from m3it_jax import errors, file_safety


def held(folder):
    return file_safety.held(folder, doing="evaluating", instead="folder with --out")


def test_a_second_holder_is_refused_and_the_lock_is_let_go(tmp_path) -> None:
    with held(tmp_path), pytest.raises(errors.UserError, match="another process is evaluating.*--out"), held(tmp_path):
        pass
    with held(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_told(tmp_path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(errors.UserError, match="cannot be written.*--out"), held(tmp_path / "file"):
        pass


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path) -> None:
    file_safety.write_whole(tmp_path / "a.json", "old")
    with pytest.raises(UnicodeEncodeError):
        file_safety.write_whole(tmp_path / "a.json", "\ud800")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "old"


@pytest.mark.parametrize(
    "given", ["gs://bucket/data", pathlib.Path("gs://bucket/data"), "https://host/a.png", "s3://b/x"]
)
def test_an_address_is_no_path(given) -> None:
    with pytest.raises(errors.UserError, match=r"--out: (gs|https|s3)://\S+ is an address, not a path"):
        file_safety.check_local(given, "--out")


def test_paths_are_let_through(tmp_path) -> None:
    odd = tmp_path / "a:b"
    odd.mkdir()
    for path in ("data/m3it", "package:mini", "C", odd, "./gs:/x", str(tmp_path / "x:/y")):
        file_safety.check_local(path, "data")


def test_what_is_no_file_is_written_to_and_not_replaced(tmp_path, monkeypatch) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    file_safety.write_whole(pipe, "a" * 200_000)
    reader.join()
    assert got == [b"a" * 200_000] and file_safety.is_stream(pipe), "it is a pipe as before"
    assert not file_safety.is_stream(tmp_path) and not file_safety.is_stream(tmp_path / "new.json")


@pytest.mark.parametrize("name", ["/dev/null", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "/dev/no-such-thing"])
def test_devices_and_open_files_are_never_replaced(name) -> None:
    assert file_safety.is_stream(pathlib.Path(name))


def test_an_open_file_that_was_redirected_keeps_what_stood_in_it(tmp_path) -> None:
    with open(tmp_path / "shown", "w") as file:
        file_safety.write_whole(pathlib.Path(f"/dev/fd/{file.fileno()}"), "told\n")
        assert os.fstat(file.fileno()).st_ino == (tmp_path / "shown").stat().st_ino, "the same file as before"
    assert (tmp_path / "shown").read_text() == "told\n"


@pytest.mark.skipif(not pathlib.Path("/dev/full").is_char_device(), reason="this system has no /dev/full")
def test_a_full_device_is_told_by_its_name() -> None:
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        file_safety.write_whole(pathlib.Path("/dev/full"), "x")
    assert pathlib.Path("/dev/full").is_char_device()
