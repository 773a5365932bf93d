import base64
import unicodedata

import pytest

from m3it_jax.dataset_building.interchange import picture_values
from m3it_jax.dataset_building.publishers import video
from m3it_jax.dataset_building.specification import RowError


@pytest.fixture
def folder(tmp_path, jpeg):
    folder = tmp_path / "pics"
    (folder / "a b").mkdir(parents=True)
    (folder / "0.jpg").write_bytes(jpeg(0))
    (folder / "a b" / "1.jpg").write_bytes(jpeg(1))
    (folder / unicodedata.normalize("NFD", "café.jpg")).write_bytes(jpeg(2))
    (tmp_path / "secret.jpg").write_bytes(jpeg(9))
    return folder


def read(value, folder):
    image, name = picture_values.of(value, folder)
    return (image if isinstance(image, bytes) else image.read(video.uniform)[0]), name


def test_every_form_gives_the_picture(folder, jpeg):
    text = base64.b64encode(jpeg(0)).decode()
    for value in (
        "0.jpg",
        "./0.jpg",
        str(folder / "0.jpg"),
        f"file://{folder}/0.jpg",
        {"path": "0.jpg"},
        {"bytes": None, "path": "0.jpg"},
        {"url": f"file://localhost{folder}/0.jpg"},
        {"image": {"path": "0.jpg"}},
    ):
        assert read(value, folder) == (jpeg(0), "0.jpg"), value
    for value in (
        text,
        f"data:image/jpeg;base64,{text}",
        {"bytes": jpeg(0), "path": "x.jpg"},
        {"bytes": text, "path": None},
        {"url": f"data:image/jpeg;base64,{text}"},
        {"image_url": {"url": f"data:image/jpeg;base64,{text}"}},
        {"source": {"type": "base64", "media_type": "image/jpeg", "data": text}},
    ):
        assert read(value, folder)[0] == read(value, None)[0] == jpeg(0), value
    assert read(f"file://{folder}/a%20b/1.jpg", folder) == (jpeg(1), "a b/1.jpg")


def test_both_unicode_forms_of_a_name_are_one_picture(folder, jpeg):
    for form in ("NFC", "NFD"):
        assert read(unicodedata.normalize(form, "café.jpg"), folder) == (jpeg(2), "café.jpg")
    assert read("a b\\1.jpg", folder)[0] == jpeg(1)  # as Windows writes it


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("../secret.jpg", "path-outside"),
        ("{above}/secret.jpg", "path-outside"),
        ("file://{above}/secret.jpg", "path-outside"),
        ("file://elsewhere/0.jpg", "picture-remote"),
        ("https://example.org/0.jpg", "picture-remote"),
        ({"url": "https://example.org/0.jpg"}, "picture-remote"),
        ("s3://bucket/0.jpg", "picture-remote"),
        ("9.jpg", "picture-missing"),
        ("pics/0.jpg", "picture-missing"),
        ({"name": "0.jpg"}, "missing-field"),
        (7, "wrong-type"),
    ],
)
def test_what_is_no_picture_says_why(folder, value, reason):
    with pytest.raises(RowError) as caught:
        read(value.format(above=folder.parent) if isinstance(value, str) else value, folder)
    assert caught.value.reason == reason
    if value == "pics/0.jpg":
        assert "give the folder above as --images" in str(caught.value)


def test_a_name_without_a_folder_asks_for_one():
    with pytest.raises(RowError, match=r"'0.jpg' is the name of a file; give --images FOLDER"):
        picture_values.of("0.jpg", None)
