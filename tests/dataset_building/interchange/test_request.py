import base64

import pytest

from m3it_jax import errors
from m3it_jax.dataset_building.interchange import request
from m3it_jax.dataset_building.interchange.request import Request
from m3it_jax.dataset_building.publishers import raw
from m3it_jax.dataset_building.specification import RowError

DATA = bytes(range(256))
TEXT = base64.b64encode(DATA).decode()


@pytest.mark.parametrize(
    "value",
    [
        TEXT,
        TEXT.encode(),
        f"data:image/jpeg;base64,{TEXT}",
        f"data:;base64,{TEXT}".encode(),
        TEXT[:76] + "\n" + TEXT[76:],
    ],
)
def test_pictures_come_as_base64_bare_or_as_url(value):
    assert request.picture(value) == DATA


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (TEXT[:-5], "bad-base64"),
        (TEXT.replace("A", "*"), "bad-base64"),
        ("é" + TEXT, "bad-base64"),
        ("\ud800" + TEXT, "bad-base64"),
        ("", "bad-base64"),
        ("data:image/png," + TEXT, "bad-base64"),
        ("https://example.org/a.jpg", "picture-remote"),
        ("file:///etc/passwd", "picture-remote"),
        (7, "wrong-type"),
        (None, "wrong-type"),
    ],
)
def test_what_is_no_picture_is_told(value, reason):
    with pytest.raises(RowError) as caught:
        request.picture(value)
    assert caught.value.reason == reason


def test_a_huge_picture_is_not_decoded(monkeypatch):
    monkeypatch.setattr(raw, "MAX_PICTURE_BYTES", 100)
    with pytest.raises(RowError) as caught:
        request.picture(TEXT)
    assert caught.value.reason == "picture-too-large"


def test_the_source_is_named_after_the_path(tmp_path):
    assert Request((tmp_path / "LLaVA_Instruct_150K.json",)).name() == "llava-instruct-150k"
    assert Request((tmp_path / "x",), source="mine").name() == "mine"
    for wrong in (Request((tmp_path / "x",), source="My Data"), Request((tmp_path / "__.json",))):
        with pytest.raises(errors.UserError, match="--source"):
            wrong.name()


def test_group_is_the_pictures_content_each_once():
    first, second = request.group_of([b"a"]), request.group_of([b"b"])
    assert request.group_of([b"a", b"b", b"a"]) == f"{first}+{second}" and first != second


def test_a_missing_path_and_an_empty_folder_are_told(tmp_path):
    with pytest.raises(errors.UserError, match="there is no such"):
        request.files(Request((tmp_path / "none",)), suffixes=(".jsonl",))
    with pytest.raises(errors.UserError, match="holds no file"):
        request.files(Request((tmp_path,)), suffixes=(".jsonl",))


def test_what_macos_lays_beside_files_is_no_file(tmp_path, lines):
    lines(tmp_path / "set" / "train" / "a.jsonl", {})
    (tmp_path / "set" / "train" / "._a.jsonl").write_bytes(b"\0\5\x16\7")
    (file,) = request.files(Request((tmp_path / "set",)), suffixes=(".jsonl",))
    assert (file.name, file.split) == ("train/a.jsonl", "train")
