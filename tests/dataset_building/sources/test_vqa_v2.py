import json
import shutil

from m3it_jax.dataset_building import sources


def test_the_most_common_answer_is_the_output_and_all_ten_are_references(instances, raw):
    first = instances("vqa-v2", "train")[0]
    assert (first.inputs, first.outputs) == ("What colour is the dog?", "brown")
    assert first.meta["references"] == ["brown"] * 8 + ["tan"] * 2
    assert first.images == ((raw / "coco/train2014/COCO_train2014_000000002001.jpg").read_bytes(),)
    assert (first.meta["group"], first.meta["origin"]) == ("COCO_train2014_000000002001.jpg", "2001000")


def test_the_caption_is_context_and_stands_in_no_text(instances):
    records = instances("vqa-v2", "train")
    assert [record.meta.get("caption") for record in records] == ["A brown dog stands on a green lawn."] * 2 + [None]
    assert not any("lawn" in record.instruction + record.inputs + record.outputs for record in records)


def test_validation_lies_in_val2014_and_there_is_no_test(instances, drafts):
    groups = [record.meta["group"] for record in instances("vqa-v2", "validation")]
    assert groups == ["COCO_val2014_000000002003.jpg", "COCO_val2014_000000002004.jpg"]
    assert drafts("vqa-v2", "test") == []


def test_at_most_the_papers_number_is_drawn(drafts, monkeypatch):
    monkeypatch.setitem(sources.load("vqa-v2").published.counts, "train", 2)
    drawn = {seed: [draft.origin for draft in drafts("vqa-v2", "train", seed=seed)] for seed in range(20)}
    assert {len(origins) for origins in drawn.values()} == {2}
    assert len({tuple(origins) for origins in drawn.values()}) == 3  # every pair comes, in the file's order


def test_damaged_rows_are_named(drafts, raw, tmp_path):
    shutil.copytree(raw / "vqa-v2", tmp_path / "vqa-v2")
    name = "v2_OpenEnded_mscoco_train2014_questions.json"
    content = json.loads((tmp_path / "vqa-v2" / name).read_text())
    content["questions"][0]["image_id"] = "2001"
    content["questions"][1]["question_id"] = 5
    content["questions"][2] = "none"
    (tmp_path / "vqa-v2" / name).write_text(json.dumps(content))
    found = [(row.place, row.reason, row.text.split(";")[0]) for row in drafts("vqa-v2", "train", raw=tmp_path)]
    assert found == [
        (f"{name}: questions[0]", "wrong-type", "field 'image_id' is str '2001', must be a whole number"),
        (f"{name}: questions[1]", "missing-field", "has no field 'multiple_choice_answer'"),
        (f"{name}: questions[2]", "wrong-type", "the row is str, must be an object"),
    ]
