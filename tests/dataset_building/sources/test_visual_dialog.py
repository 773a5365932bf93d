import json
import shutil

from m3it_jax.dataset_building import sources

TEST = "visual-dialog/visdial_1.0_test.json"


def test_a_turn_is_asked_after_the_turns_before_it(instances, raw) -> None:
    first, second = instances("visual-dialog", "train")
    assert first.inputs == (
        "Q: what is the biggest object?\nA: the book\nQ: what color is the ball?\nA: orange\n"
        "Q: is there a book?\nA: yes it is right of the ball\nQ: where is the kite?"
    )
    assert first.outputs == "above everything"
    assert first.meta["origin"] == "1001/3" and first.meta["caption"] == "a ball , a book and a kite"
    assert first.images[0] == (raw / "coco/train2014/COCO_train2014_000000001001.jpg").read_bytes()
    assert second.images[0] == (raw / "coco/val2014/COCO_val2014_000000001009.jpg").read_bytes()


def test_any_turn_may_be_asked_for(instances) -> None:
    turns = {
        record.meta["origin"] for seed in range(12) for record in instances("visual-dialog", "validation", seed=seed)
    }
    assert turns == {"1021/0", "1021/1", "1021/2", "1021/3"}


def test_the_open_question_of_a_test_dialogue_is_never_asked_for(instances) -> None:
    for seed in range(6):
        (record,) = instances("visual-dialog", "test", seed=seed)
        assert record.meta["origin"] in ("1022/0", "1022/1") and "is there a book" not in record.inputs
        assert record.meta["group"] == "VisualDialog_test2018_000000001022.jpg"


def test_no_more_dialogues_are_drawn_than_the_paper_has(instances, monkeypatch) -> None:
    monkeypatch.setitem(sources.load("visual-dialog").published.counts, "train", 1)
    assert len(instances("visual-dialog", "train")) == 1


def test_damaged_dialogues_are_named(drafts, raw, tmp_path) -> None:
    shutil.copytree(raw / "visual-dialog", tmp_path / "visual-dialog")
    file = tmp_path / TEST
    content = json.loads(file.read_text())
    (sound,) = content["data"]["dialogs"]
    content["data"]["dialogs"] = [
        {**sound, "image_id": 1, "dialog": [{"question": 0, "answer_options": [0, 1]}]},
        {**sound, "image_id": 2, "dialog": [{"question": 0, "answer": 999}]},
        {**sound, "image_id": "3"},
        {**sound, "dialog": "none"},
        7,
        sound,
    ]
    file.write_text(json.dumps(content))
    *rejected, kept = drafts("visual-dialog", "test", raw=tmp_path)
    assert [(row.place, row.reason) for row in rejected] == [
        ("visdial_1.0_test.json: dialogs[0]", "answer-withheld"),
        ("visdial_1.0_test.json: dialogs[1]", "unknown-id"),
        ("visdial_1.0_test.json: dialogs[2]", "wrong-type"),
        ("visdial_1.0_test.json: dialogs[3]", "wrong-type"),
        ("visdial_1.0_test.json: dialogs[4]", "wrong-type"),
    ]
    assert kept.origin.startswith("1022/")
