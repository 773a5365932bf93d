import json
import shutil


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
