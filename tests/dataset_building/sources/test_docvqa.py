import json
import shutil

from m3it_jax.dataset_building import sources


def test_a_page_has_its_answers_and_the_lines_of_its_ocr(instances, raw):
    first, second = instances("docvqa", "train")
    assert (first.inputs, first.outputs) == ("What kind of document is this?", "INVOICE")
    assert first.meta["references"] == ["INVOICE", "invoice"]
    assert first.images == ((raw / "docvqa/train/documents/bnkw2001_1.png").read_bytes(),)
    assert (first.meta["group"], first.meta["origin"]) == ("bnkw2001_1.png", "2001")
    assert first.meta["ocr"] == second.meta["ocr"] == ["INVOICE"]


def test_val_is_validation_and_needs_no_ocr(instances, drafts):
    (record,) = instances("docvqa", "validation")
    assert (record.outputs, record.meta["origin_split"], record.meta.get("ocr")) == ("MEMO", "val", None)
    assert drafts("docvqa", "test") == []


def test_damaged_rows_and_ocr_are_named(drafts, raw, tmp_path):
    shutil.copytree(raw / "docvqa", tmp_path / "docvqa")
    file = tmp_path / "docvqa" / "train" / "train_v1.0.json"
    content = json.loads(file.read_text())
    content["data"][0]["answers"] = []
    file.write_text(json.dumps(content))
    ocr = tmp_path / "docvqa" / "train" / "ocr_results" / "bnkw2001_1.json"
    for damaged in ("{", '{"recognitionResults": [3]}', '{"recognitionResults": [{"lines": [{}]}]}'):
        ocr.write_text(damaged)
        assert [row.reason for row in drafts("docvqa", "train", raw=tmp_path)] == ["ocr-unreadable"] * 2
    ocr.unlink()
    bad, good = drafts("docvqa", "train", raw=tmp_path)
    assert (bad.place, bad.reason) == ("train/train_v1.0.json: data[0]", "no-answer")
    assert good.origin == "2002"


def test_the_layout_handed_out_today_gives_the_same_records(instances, raw, tmp_path):
    today = tmp_path / "docvqa"
    for kind in ("spdocvqa_qas", "spdocvqa_images", "spdocvqa_ocr"):
        (today / kind).mkdir(parents=True)
    for name in ("train", "val"):
        shutil.copy(raw / f"docvqa/{name}/{name}_v1.0.json", today / f"spdocvqa_qas/{name}_v1.0_withQT.json")
        for page in (raw / f"docvqa/{name}/documents").iterdir():
            shutil.copy(page, today / "spdocvqa_images" / page.name)
    shutil.copy(raw / "docvqa/train/ocr_results/bnkw2001_1.json", today / "spdocvqa_ocr")
    for split in ("train", "validation"):
        assert instances("docvqa", split, raw=tmp_path) == instances("docvqa", split)
    assert sources.order(tmp_path / "out", tmp_path, ["docvqa"]).specs == (sources.load("docvqa"),)
