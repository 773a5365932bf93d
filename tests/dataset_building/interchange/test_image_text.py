import io
import json
import tarfile
import zlib

import pytest

from m3it_jax import errors
from m3it_jax.dataset_building.steps import instructions


def tar(path, *members):
    """Writes a tar of (name, bytes), or of (name, text) for a link."""
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path


def test_tars_of_img2dataset_give_captions_with_the_coco_instructions(imported, tmp_path, jpeg):
    about = json.dumps({"url": "https://example.org/1", "caption": "not this one"}).encode()
    path = tar(
        tmp_path / "00000.tar",
        ("000000000.jpg", jpeg(0)),
        ("000000000.txt", b" a ball \n"),
        ("000000000.json", about),
        ("000000001.json", json.dumps({"caption": "two balls"}).encode()),
        ("000000001.jpg", jpeg(1)),
        ("000000002.jpg", jpeg(2)),
        ("000000003.txt", b"no picture"),
        ("000000004.jpg", b"no jpeg"),
        ("000000004.txt", b"c"),
        ("../../000000005.jpg", jpeg(5)),
        ("../../000000005.txt", b"outside"),
        ("000000006.jpg", "/etc/passwd"),
        ("000000007.jpg", jpeg(7)),
        ("000000007.txt", b"\xff"),
    )
    found, rejected = imported("image-text", path, source="laion")
    first, second, third = found["train"]
    assert (first.outputs, first.images, first.meta["url"]) == ("a ball", (jpeg(0),), "https://example.org/1")
    assert (second.outputs, third.outputs) == (
        "two balls",
        "outside",
    )  # a name in a tar is a label, nothing is unpacked
    assert first.instruction in instructions.pool("captioning/coco") and first.task == "captioning"
    assert sorted(row.reason for row in rejected) == sorted(
        ["caption-missing", "no-image", "picture-format", "not-a-file", "not-utf8"]
    )
    assert not list(tmp_path.parent.glob("000000005*"))


def test_a_tar_that_is_cut_off_loses_its_end_alone(imported, tmp_path, jpeg):
    path = tar(
        tmp_path / "a.tar",
        *((f"{n}.{end}", jpeg(n) if end == "jpg" else b"c") for n in range(4) for end in ("jpg", "txt")),
    )
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"2.jpg") + 600])
    found, rejected = imported("image-text", path)
    assert [each.images[0] for each in found["train"]] == [jpeg(0), jpeg(1)] and rejected[-1].reason == "broken-tar"


def test_a_table_names_pictures_as_downloaders_do(imported, tmp_path, jpeg):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / f"0_{zlib.crc32(b'https://x.org/a.jpg')}").write_bytes(jpeg(0))
    (pictures / "b.jpg").write_bytes(jpeg(1))
    (tmp_path / "secret.jpg").write_bytes(jpeg(9))
    table = "a ball\thttps://x.org/a.jpg\ntwo\thttps://x.org/p/b.jpg\nthree\thttps://x.org/c.jpg\nalone\n\nfour\t../secret.jpg\n"
    (tmp_path / "cc3m.tsv").write_text(table)
    found, rejected = imported("image-text", tmp_path / "cc3m.tsv", images=pictures)
    assert [(each.outputs, each.images) for each in found["train"]] == [("a ball", (jpeg(0),)), ("two", (jpeg(1),))]
    assert [row.reason for row in rejected] == ["picture-missing", "missing-field", "path-outside"]
    (tmp_path / "headed.tsv").write_text("filename\tcaption\nb.jpg\tsaid\n")
    assert [each.outputs for each in imported("image-text", tmp_path / "headed.tsv", images=pictures)[0]["train"]] == [
        "said"
    ]


def test_a_table_with_cells_in_quotes(imported, tmp_path, jpeg):
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(jpeg(number))
    (tmp_path / "a.tsv").write_text('caption\tfile\n"a ""big"" dog"\t0.jpg\n"two\nlines"\t1.jpg\na cat\t"2.jpg"\n')
    found, rejected = imported("image-text", tmp_path / "a.tsv", images=tmp_path)
    assert [each.outputs for each in found["train"]] == ['a "big" dog', "two\nlines", "a cat"] and not rejected


def test_folders_with_texts_beside(imported, tmp_path, jpeg):
    folder = tmp_path / "pairs"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.jpg", "sub/b.JPG", "c.png", "d.jpg"):
        (folder / name).write_bytes(jpeg(len(name)))
    (folder / "a.txt").write_text("one")
    (folder / "sub" / "b.txt").write_text("two")
    (folder / "c.txt").write_bytes(b"x" * (1 << 21))
    (folder / "e.jpg").symlink_to(tmp_path / "nowhere")
    (folder / "e.txt").write_text("a link")
    found, rejected = imported("image-text", folder)
    assert [each.outputs for each in found["train"]] == ["one", "two"]
    assert [(row.place, row.reason) for row in rejected] == [
        ("c.png", "line-too-long"),
        ("d.jpg", "caption-missing"),
        ("e.jpg", "path-outside"),
    ]


def test_what_holds_nothing_is_refused(imported, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(errors.UserError, match="holds no picture"):
        imported("image-text", tmp_path / "empty")
    (tmp_path / "a.tsv").touch()
    with pytest.raises(errors.UserError, match="give --images FOLDER"):
        imported("image-text", tmp_path / "a.tsv")
    with pytest.raises(errors.UserError, match="no such file"):
        imported("image-text", tmp_path / "nothing.tar")
