"""What an export holds is what the data folder holds, and no cut-off run is taken for a whole one."""

import base64
import dataclasses
import hashlib
import io
import json
import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from m3it_jax import errors, records, schema
from m3it_jax.dataset_building import export
from m3it_jax.dataset_building.export import card, parquet, webdataset

TEXTS = ("id", "source", "task", "language", "instruction", "inputs", "outputs")


def jpeg(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 20, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def data(tiny, tmp_path_factory) -> records.DataFolder:
    """Two sources: PNG pairs, and JPEGs whose texts and ids are as awkward as they may be."""
    awkward = {
        "inputs": 'a "quoted" | text\nof two lines\u2028and 中文',
        "meta": {"references": ["日本", "x"], "n": 1.5},
    }
    ones = [tiny.instance("ones", number, images=(jpeg(number),), **awkward) for number in range(12)]
    ones[3] = dataclasses.replace(ones[3], id="../../a.b c")
    pairs = [tiny.instance("pairs", number) for number in range(5)]
    return tiny.write_folder(tmp_path_factory.mktemp("data"), {"ones": ones, "pairs": pairs})


def exported(data, out, form, **changes) -> dict:
    return export.export(export.order(data, out, form, **{"sources": []} | changes))


def stored(data, source="ones", split="train") -> list[schema.Instance]:
    table = data.table(source, split)
    return [table.read(number) for number in range(len(table))]


def contents(folder: pathlib.Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def small_shards(monkeypatch, form: str, size: int) -> None:
    monkeypatch.setitem(export.FORMATS, form, dataclasses.replace(export.FORMATS[form], shard_bytes=size))


def test_datasets_opens_parquet_with_no_script(data, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    exported(data, tmp_path / "out", "parquet")
    cache = str(tmp_path / "cache")
    whole = datasets.load_dataset(str(tmp_path / "out"), cache_dir=cache)
    assert {split: len(rows) for split, rows in whole.items()} == {"train": 17, "validation": 17}
    for source in ("ones", "pairs"):
        rows = datasets.load_dataset(str(tmp_path / "out"), source, split="train", cache_dir=cache)
        encoded = rows.cast_column("images", datasets.List(datasets.Image(decode=False)))
        for row, raw, wanted in zip(rows, encoded, stored(data, source), strict=True):
            assert tuple(row[name] for name in TEXTS) == tuple(getattr(wanted, name) for name in TEXTS)
            assert json.loads(row["meta"]) == wanted.meta
            assert tuple(picture["bytes"] for picture in raw["images"]) == wanted.images
            pixels = [np.asarray(Image.open(io.BytesIO(data))) for data in wanted.images]
            assert all(np.array_equal(np.asarray(shown), own) for shown, own in zip(row["images"], pixels, strict=True))


def test_a_parquet_file_alone_has_the_feature_too(data, tmp_path):
    import datasets
    import pyarrow.parquet as pq

    exported(data, tmp_path / "out", "parquet", sources=["pairs"])
    found = datasets.Features.from_arrow_schema(pq.read_schema(tmp_path / "out/pairs/train-00000-of-00001.parquet"))
    assert found["images"] == datasets.List(datasets.Image())


def test_a_row_group_ends_before_memory_does(data, tmp_path, monkeypatch):
    import pyarrow.parquet as pq

    monkeypatch.setattr(parquet, "GROUP_ROWS", 5)
    exported(data, tmp_path / "rows", "parquet", sources=["ones"])
    monkeypatch.setattr(parquet, "GROUP_BYTES", 1)
    exported(data, tmp_path / "bytes", "parquet", sources=["ones"])
    name = "ones/train-00000-of-00001.parquet"
    sizes = [
        [read.metadata.row_group(number).num_rows for number in range(read.num_row_groups)]
        for read in (pq.ParquetFile(tmp_path / "rows" / name), pq.ParquetFile(tmp_path / "bytes" / name))
    ]
    assert sizes == [[5, 5, 2], [1] * 12]


def test_json_lines_have_the_released_keys(data, tmp_path):
    exported(data, tmp_path / "out", "jsonl")
    for source in ("ones", "pairs"):
        text = (tmp_path / "out" / source / "train.jsonl").read_text(encoding="utf-8")
        rows = [json.loads(line) for line in text.splitlines()]  # splits at more than newlines
        for row, wanted in zip(rows, stored(data, source), strict=True):
            assert tuple(row[name] for name in TEXTS) == tuple(getattr(wanted, name) for name in TEXTS)
            assert json.loads(row["meta"]) == wanted.meta
            assert tuple(map(base64.b64decode, row["image_base64_str"])) == wanted.images


def test_webdataset_reads_the_tars(data, tmp_path):
    import webdataset as wds

    exported(data, tmp_path / "out", "webdataset")
    for source in ("ones", "pairs"):
        path = str(tmp_path / "out" / source / "train-000000.tar")
        rows = list(wds.WebDataset(path, shardshuffle=False))
        for row, wanted in zip(rows, stored(data, source), strict=True):
            fields = json.loads(row["json"])
            assert tuple(fields[name] for name in TEXTS) == tuple(getattr(wanted, name) for name in TEXTS)
            suffix = "jpg" if source == "ones" else "png"
            assert tuple(row[f"{number}.{suffix}"] for number in range(len(wanted.images))) == wanted.images


def test_a_key_never_leaves_its_folder_nor_ends_early(data):
    keys = {webdataset.key(instance) for instance in stored(data)}
    assert len(keys) == 12 and "ones-4" in keys
    assert not [key for key in keys if "." in key or "/" in key]


@pytest.mark.parametrize("form", export.FORMATS)
def test_the_same_records_give_the_same_bytes(data, tmp_path, form):
    for name in ("a", "b"):
        exported(data, tmp_path / name, form)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.parametrize("form", export.FORMATS)
def test_the_manifest_lists_every_file(data, tmp_path, form):
    made = exported(data, tmp_path / "out", form, limit=4)
    assert json.loads((tmp_path / "out" / export.MANIFEST).read_text()) == made
    assert [source["source"] for source in made["bill_of_materials"]] == ["ones", "pairs"]
    found = contents(tmp_path / "out")
    assert {file["path"]: file["sha256"] for file in made["files"]}.items() <= found.items()
    assert found.keys() - {file["path"] for file in made["files"]} == {export.MANIFEST, card.FILE}
    assert {(file["source"], file["split"]): file["records"] for file in made["files"]} == {
        (source, split): 4 for source in ("ones", "pairs") for split in ("train", "validation")
    }


def test_shards_hold_every_record_once_and_keep_their_size(data, tmp_path, monkeypatch):
    lengths = data.table("ones", "train").lengths
    limit = int(lengths[:3].sum())
    small_shards(monkeypatch, "webdataset", limit)
    order = export.order(data, tmp_path / "out", "webdataset", sources=["ones"])
    parts = export.parts(order, "ones", "train", table=data.table("ones", "train"))
    assert [part.start for part in parts[1:]] == [part.stop for part in parts[:-1]]
    assert (parts[0].start, parts[-1].stop, sum(part.size for part in parts)) == (0, 12, lengths.sum())
    assert len(parts) > 2 and max(part.size for part in parts) <= limit
    small_shards(monkeypatch, "webdataset", 1)
    parts = export.parts(order, "ones", "train", table=data.table("ones", "train"))
    assert len(parts) == 12, "a record that is larger than a shard has one of its own"


def test_the_names_of_parquet_shards_say_how_many_there_are(data, tmp_path, monkeypatch):
    small_shards(monkeypatch, "parquet", int(data.table("ones", "train").lengths[:6].sum()))
    made = exported(data, tmp_path / "out", "parquet", sources=["ones"])
    names = [file["path"] for file in made["files"] if file["split"] == "train"]
    assert names[0] == f"ones/train-00000-of-{len(names):05d}.parquet" and len(names) >= 2


def test_a_run_that_is_cut_off_leaves_nothing_whole_and_goes_on_later(data, tmp_path, monkeypatch):
    out, write, written = tmp_path / "out", export.FORMATS["jsonl"].write, []

    def cut_off(path, rows):
        written.append(path.name)
        write(path, rows)
        if len(written) == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setitem(export.FORMATS, "jsonl", dataclasses.replace(export.FORMATS["jsonl"], write=cut_off))
    with pytest.raises(OSError):
        exported(data, out, "jsonl")
    assert sorted(os.listdir(out)) == [".exporting", ".lock"]
    assert not list(out.rglob("*.partial")), "a full disk is given back what is of no use"
    exported(data, out, "jsonl")
    assert len(written) == 3 + 2, "whole files are not written again"
    exported(data, tmp_path / "undisturbed", "jsonl")
    assert contents(out) == contents(tmp_path / "undisturbed")


def test_a_run_that_is_cut_off_while_it_moves_its_files_goes_on(data, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(card, "text", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            exported(data, tmp_path / "out", "jsonl")
    with pytest.raises(errors.UserError, match="choose an empty folder"):
        exported(data, tmp_path / "out", "jsonl", limit=2)
    exported(data, tmp_path / "out", "jsonl")
    exported(data, tmp_path / "undisturbed", "jsonl")
    assert contents(tmp_path / "out") == contents(tmp_path / "undisturbed")


def test_what_another_order_began_is_begun_anew(data, tmp_path, monkeypatch):
    def full(path, rows):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setitem(export.FORMATS, "jsonl", dataclasses.replace(export.FORMATS["jsonl"], write=full))
        with pytest.raises(OSError):
            exported(data, tmp_path / "out", "jsonl")
    (tmp_path / "out" / ".exporting" / "ones").mkdir(exist_ok=True)
    (tmp_path / "out" / ".exporting" / "ones" / "train.jsonl").write_text("of another order\n")
    exported(data, tmp_path / "out", "jsonl", limit=1)
    assert len((tmp_path / "out" / "ones" / "train.jsonl").read_text().splitlines()) == 1
    assert "another" not in (tmp_path / "out" / "ones" / "train.jsonl").read_text()


def test_a_finished_export_is_known_again(data, tmp_path):
    made = exported(data, tmp_path / "out", "jsonl")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.jsonl")}
    assert exported(data, tmp_path / "out", "jsonl") == made
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.jsonl")} == before
    for changes in ({"limit": 3}, {"sources": ["ones"]}):
        with pytest.raises(errors.UserError, match="holds another export"):
            exported(data, tmp_path / "out", "jsonl", **changes)
    (tmp_path / "out" / "ones" / "train.jsonl").write_text("{}\n")
    with pytest.raises(errors.UserError, match="not as it was exported"):
        exported(data, tmp_path / "out", "jsonl")


@pytest.mark.parametrize("name", ["notes.txt", "m3it.json", "ones"])
def test_a_folder_with_something_else_is_refused(data, tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(errors.UserError, match=f"holds {name}; choose an empty folder"):
        exported(data, tmp_path, "jsonl")
    assert not (tmp_path / ".exporting").exists()


def test_a_damaged_manifest_is_named(data, tmp_path):
    (tmp_path / export.MANIFEST).write_text("[]")
    with pytest.raises(errors.UserError, match="is no export of ours"):
        exported(data, tmp_path, "jsonl")


def test_an_unknown_source_is_named(data, tmp_path):
    with pytest.raises(errors.UserError, match="has no source 'none'; it has ones, pairs"):
        export.order(data, tmp_path, "jsonl", sources=["none"])


def test_without_pyarrow_parquet_is_refused_and_nothing_is_made(data, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(errors.UserError, match=r"package pyarrow is needed .*'.\[build\]'"):
        exported(data, tmp_path / "out", "parquet")
    assert not (tmp_path / "out").exists()


def test_a_damaged_record_is_named_and_no_file_is_left(data, tiny, tmp_path):
    broken = tiny.write_folder(tmp_path / "data", {"ones": [tiny.instance("ones", number) for number in range(3)]})
    shard = next((tmp_path / "data").rglob("*train*-of-00001"))
    raw = bytearray(shard.read_bytes())
    raw[40] ^= 1
    shard.write_bytes(bytes(raw))
    with pytest.raises(errors.UserError, match="record 0 at byte 0"):
        exported(broken, tmp_path / "out", "jsonl")
    assert not list((tmp_path / "out").rglob("*.jsonl*"))


def manifest(**sources):
    facts = {"version": "1.0.0", "task": "vqa", "language": "en", "licence": "MIT", "citation": "A | B\nC", "url": ""}
    return {"name": "toys", "edition": "base", "sources": {name: facts | changes for name, changes in sources.items()}}


def header(text: str) -> dict:
    import yaml

    return yaml.safe_load(text.split("---\n")[1])


def carded(told: dict, form: str = "parquet") -> str:
    file = {"split": "train", "records": 700, "bytes": 9}
    files = [file | {"path": f"{name}/train-0.x", "source": name} for name in told["sources"]]
    made = {"format": form, "limit": None, "sources": list(told["sources"]), "files": files}
    made["data"] = {"name": 'to"ys', "edition": "base", "fingerprint": "f"}
    provenance = {"rejected": {"bad-text": 2}, "known_problems": "", "statistics": {"train": {"languages": {"en": 1}}}}
    return card.text(told, made, dict.fromkeys(told["sources"], provenance))


def test_the_header_of_a_card_names_licences_as_the_hub_does():
    told = manifest(a={}, b={"licence": "CC BY-NC-SA 4.0 (x)"}, c={"licence": "unknown"}, d={"licence": "Custom terms"})
    found = header(carded(told))
    assert found["license"] == ["cc-by-nc-sa-4.0", "mit", "other", "unknown"] and found["license_name"] == "several"
    assert found["pretty_name"] == 'to"ys' and found["size_categories"] == ["1K<n<10K"] and found["language"] == ["en"]
    assert "license_name" not in header(carded(manifest(a={})))


def test_the_first_configuration_is_the_default_and_holds_all_sources():
    found = header(carded(manifest(a={}, b={})))["configs"]
    assert [(config["config_name"], config.get("default")) for config in found] == [
        ("all", True),
        ("a", None),
        ("b", None),
    ]
    assert [config["config_name"] for config in header(carded(manifest(a={})))["configs"]] == ["a"]
    assert "configs" not in header(carded(manifest(a={}), "jsonl"))


def test_a_cell_of_a_card_cannot_break_its_table():
    line = next(line for line in carded(manifest(a={})).splitlines() if line.startswith("| a | 1.0.0"))
    assert line == "| a | 1.0.0 | MIT | commercial | A \\| B C | - | - |"


def test_a_provenance_that_lacks_something_is_told():
    told = manifest(a={})
    made = {"format": "jsonl", "limit": None, "sources": ["a"], "files": [], "data": {}}
    with pytest.raises(errors.UserError, match="toys: its manifest or a provenance.json is not whole"):
        card.text(told, made, {"a": {}})


def test_every_task_has_its_place_on_the_hub():
    assert set(card._TASKS) == set(schema.TASKS)
