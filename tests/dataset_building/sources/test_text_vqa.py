import json
import shutil

from m3it_jax.dataset_building import sources
from m3it_jax.dataset_building.sources import pages
from m3it_jax.dataset_building.steps import pipeline


def test_ocr_is_context_and_stands_in_no_text(instances, raw):
    first, _, third = instances("text-vqa", "train")
    assert (first.inputs, first.outputs) == ("what is written before the number?", "cafe")
    assert first.meta["references"] == ["cafe"] * 7 + ["coffee"] * 2 + ["c"]
    assert first.meta["ocr"] == ["CAFE", "24"] and "CAFE" not in first.instruction + first.inputs
    assert "ocr" not in third.meta
    assert first.images == ((raw / "text-vqa/train_images/b2001f.jpg").read_bytes(),)


def test_the_paper_has_no_validation(drafts):
    assert drafts("text-vqa", "validation") == []


def test_a_test_whose_answers_the_publisher_keeps_is_no_fault(raw, tmp_path):
    shutil.copytree(raw / "text-vqa", tmp_path / "text-vqa")
    file = tmp_path / "text-vqa" / "TextVQA_0.5.1_test.json"
    content = json.loads(file.read_text())
    rows = [{**content["data"][0], "question_id": number} for number in range(50)]
    for row in rows:
        del row["answers"]
    file.write_text(json.dumps({"data": rows}))
    told = []
    stream = pipeline.Stream(
        sources.load("text-vqa"),
        {"text-vqa": tmp_path / "text-vqa"},
        0,
        max_bad=0.05,
        on_rejected=lambda split, row: told.append((row.reason, row.place)),
    )
    assert list(stream.instances("test")) == []
    assert [reason for reason, _ in told] == ["answer-withheld"] * 50
    assert told[49] == ("answer-withheld", "TextVQA_0.5.1_test.json: data[49]")


def test_the_page_says_that_the_test_stays_empty():
    for name in ("text-vqa", "st-vqa"):
        spec = sources.load(name)
        assert spec.published.withheld == ("test",) and "publisher keeps the answers" in pages.page(spec)
        assert pages.entry(spec)["withheld"] == ["test"]
    assert "keeps the answers" not in pages.page(sources.load("coco"))


def test_test_and_ocr_files_may_be_missing(drafts, raw, tmp_path):
    shutil.copytree(raw / "text-vqa", tmp_path / "text-vqa")
    for file in (tmp_path / "text-vqa").glob("*.json"):
        if "train" not in file.name or "OCR" in file.name:
            file.unlink()
    assert drafts("text-vqa", "test", raw=tmp_path) == []
    assert [dict(draft.extra) for draft in drafts("text-vqa", "train", raw=tmp_path)] == [{}, {}, {}]


def test_damaged_rows_are_named(drafts, raw, tmp_path):
    shutil.copytree(raw / "text-vqa", tmp_path / "text-vqa")
    file = tmp_path / "text-vqa" / "TextVQA_0.5.1_train.json"
    content = json.loads(file.read_text())
    content["data"][0]["image_id"] = ["b2001f"]
    del content["data"][1]["answers"]
    content["data"][2] = None
    file.write_text(json.dumps(content))
    found = drafts("text-vqa", "train", raw=tmp_path)
    assert [(row.place, row.reason) for row in found] == [
        ("TextVQA_0.5.1_train.json: data[0]", "wrong-type"),
        ("TextVQA_0.5.1_train.json: data[1]", "missing-field"),
        ("TextVQA_0.5.1_train.json: data[2]", "wrong-type"),
    ]
