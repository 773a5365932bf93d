import io
import json
import tarfile
import zlib

import pytest

from m3it_jax import errors, schema
from m3it_jax.dataset_building import interchange
from m3it_jax.dataset_building.export import webdataset
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
        ["caption-missing", "text-only", "picture-format", "not-a-file", "not-utf8"]
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


def test_our_own_export_comes_back_as_it_was(imported, tmp_path, jpeg):
    records = [
        schema.Instance(
            schema.content_id("toys", str(number)), "toys", "video", "de", "Sag.", f"was {number}?", str(number),
            tuple(jpeg(number + frame) for frame in range(12 if number else 1)), {"group": f"g{number}", "skill": "s"},
        )
        for number in range(3)
    ]  # fmt: skip
    (tmp_path / "toys").mkdir()
    webdataset.write(tmp_path / "toys" / "test-00000-of-00001.tar", iter(records))
    found, rejected = imported("image-text", tmp_path / "toys")
    assert (found, rejected) == ({"test": records}, [])
    foreign = tar(tmp_path / "toys" / "train-0.tar", ("x.jpg", jpeg(0)), ("x.txt", b"a caption"))
    asked = interchange.Request((tmp_path / "toys", foreign), source="others")
    assert [spec.name for spec in interchange.order("image-text", asked, tmp_path / "out").specs] == ["toys", "others"]


def members(*names, jpeg):
    return [(name, jpeg(number) if name.endswith("g") else name.encode()) for number, name in enumerate(names)]


def told(found, rejected):
    return sorted(each.outputs for each in found.get("train", [])), sorted((row.place, row.reason) for row in rejected)


def test_names_with_dots_are_pairs_where_they_bring_a_text(imported, tmp_path, jpeg):
    names = ("a.v2.1.jpg", "a.v2.1.txt", "a.v2.2.jpg", "a.v2.2.txt", "b.jpg", "b.txt", "b.seg.png", "c.x.jpg")
    found = imported("image-text", tar(tmp_path / "a.tar", *members(*names, jpeg=jpeg)))
    assert told(*found) == (
        ["a.v2.1.txt", "a.v2.2.txt", "b.txt"],
        [("a.tar:b.seg.png", "extra-picture"), ("a.tar:c.x", "caption-missing")],
    )


def test_the_files_of_a_pair_need_not_stand_together(imported, tmp_path, jpeg):
    names = [f"d/{n}.{end}" for end in ("jpg", "txt") for n in range(5)] + ["._d/0.jpg", "d/._0.jpg", "d/"]
    found, rejected = imported("image-text", tar(tmp_path / "a.tar", *members(*names, jpeg=jpeg)))
    assert {each.outputs: each.images[0] for each in found["train"]} == {f"d/{n}.txt": jpeg(n) for n in range(5)}
    assert [row.reason for row in rejected] == ["not-a-file", "caption-missing"]  # of the folder ._d and of d/, a file


def test_a_name_that_stands_twice_loses_nothing(imported, tmp_path, jpeg):
    pair = ("0.jpg", "0.txt")
    first = members(*pair, jpeg=jpeg)
    second = [("0.jpg", jpeg(7)), ("0.txt", b"another")]
    for between in ([], [("1.jpg", jpeg(1)), ("1.txt", b"one")]):
        found, rejected = imported("image-text", tar(tmp_path / "a.tar", *first, *between, *second))
        assert {each.outputs: each.images[0] for each in found["train"]}.items() >= {
            "0.txt": jpeg(0),
            "another": jpeg(7),
        }.items()
        assert rejected == []
    found, rejected = imported(
        "image-text", tar(tmp_path / "a.tar", first[0], second[0], *between, first[1], second[1])
    )
    assert len(found["train"]) + len(rejected) == 3 and {row.reason for row in rejected} <= {"duplicate-key"}


def test_tars_that_were_joined_are_read_to_the_end(imported, tmp_path, jpeg):
    one = tar(tmp_path / "1.tar", *members("0.jpg", "0.txt", jpeg=jpeg)).read_bytes()
    two = tar(tmp_path / "2.tar", ("1.jpg", jpeg(4)), ("1.txt", b"x")).read_bytes()
    (tmp_path / "both.tar").write_bytes(one + two)
    found, rejected = imported("image-text", tmp_path / "both.tar")
    assert (len(found["train"]), rejected) == (2, [])
    (tmp_path / "both.tar").write_bytes(one + b"nothing of a tar" * 40)
    found, rejected = imported("image-text", tmp_path / "both.tar")
    assert (len(found["train"]), [row.reason for row in rejected]) == (1, ["broken-tar"])


def test_a_damaged_header_is_no_end(imported, tmp_path, jpeg):
    path = tar(tmp_path / "a.tar", *members("0.jpg", "0.txt", "1.jpg", "1.txt", jpeg=jpeg))
    data = bytearray(path.read_bytes())
    data[data.index(b"1.jpg") + 20 :][:1] = b""
    place = data.index(b"1.jpg")
    data[place + 148 : place + 156] = b"99999999"  # its checksum
    path.write_bytes(data)
    found, rejected = imported("image-text", path)
    assert len(found["train"]) == 1 and [row.reason for row in rejected] == ["broken-tar"]
    assert f"byte {place} is damaged" in rejected[0].text


def test_folders_of_another_split_in_a_tar_are_told(imported, tmp_path, jpeg):
    names = ("train/0.jpg", "train/0.txt", "val/1.jpg", "val/1.txt")
    path = tar(tmp_path / "a.tar", *members(*names, jpeg=jpeg))
    found, rejected = imported("image-text", path)
    assert len(found["train"]) == 1 and [row.reason for row in rejected] == ["other-split"]
    assert len(imported("image-text", path, split="test")[0]["test"]) == 2


@pytest.fixture
def pairs(tmp_path, jpeg):
    """pairs(name, ...): writes pictures with captions into a folder and returns it."""

    def write(*names):
        for number, name in enumerate(names):
            path = tmp_path / "pairs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(jpeg(number) if path.suffix == ".jpg" else f"text {name}".encode())
            if path.suffix == ".jpg":
                path.with_suffix(".txt").write_text(f"{number}")
        return tmp_path / "pairs"

    return write


@pytest.mark.parametrize(
    ("names", "counts"),
    [
        (("train/0.jpg", "val2014/1.jpg", "x/Test/2.jpg"), {"train": 1, "validation": 1, "test": 1}),
        (("0.jpg", "test_drive.jpg"), {"train": 2}),
        (("train_0.jpg", "x/test_1.jpg", "test-2.jpg"), {"train": 1, "test": 2}),
        (("val/0.jpg", "test_1.jpg"), {"train": 1, "validation": 1}),
    ],
)
def test_folders_tell_the_split_of_pairs(imported, pairs, names, counts):
    found, rejected = imported("image-text", pairs(*names))
    assert {split: len(each) for split, each in found.items()} == counts and rejected == []
    assert sum(map(len, imported("image-text", pairs(), split="test")[0].values())) == len(names)


def test_a_folder_of_two_splits_is_refused(imported, pairs):
    with pytest.raises(errors.UserError, match=r"train/test: its name and folders tell several splits"):
        imported("image-text", pairs("train/test/0.jpg"))


def test_what_lies_in_a_folder_without_a_partner_is_told(imported, pairs, tmp_path):
    folder = pairs("0.jpg", "1.txt", "README.txt", "._0.jpg", "2.heic", "2.txt")
    (folder / "linked").symlink_to(tmp_path)
    (folder / "é.jpg").write_bytes((folder / "0.jpg").read_bytes())
    (folder / "e\u0301.txt").write_text("another form of the name")
    found, rejected = imported("image-text", folder)
    assert sorted(each.outputs for each in found["train"]) == ["0", "another form of the name"]
    assert {(row.place, row.reason) for row in rejected} == {
        ("1.txt", "text-only"),
        ("2.heic", "picture-format"),
        ("linked", "path-outside"),
    }
