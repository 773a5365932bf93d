import dataclasses
import json

import pytest

from m3it_jax.dataset_building import sources
from m3it_jax.dataset_building.publishers import raw, vqa_files
from m3it_jax.dataset_building.specification import RowError

FILES = vqa_files.Files("q.json", "a.json", "train2014")


def _spec(number):
    spec = sources.load("vqa-v2")
    return dataclasses.replace(spec, published=dataclasses.replace(spec.published, counts={"train": number}))


@pytest.fixture
def folder(tmp_path):
    questions = [{"question_id": number, "image_id": number, "question": f"q{number}?"} for number in range(200)]
    annotations = [{"question_id": number, "answers": [{"answer": f" a{number} "}]} for number in reversed(range(199))]
    (tmp_path / "q.json").write_text(json.dumps({"questions": [*questions, 7]}))
    (tmp_path / "a.json").write_text(json.dumps({"annotations": [None, *annotations]}))
    return raw.RawFolder(_spec(1), {"vqa-v2": tmp_path})


def test_a_question_gets_its_own_annotation(folder):
    rows = vqa_files.joined(folder, FILES, _spec(500), split="train", seed=0)
    assert [place for place, _ in rows] == [f"q.json: questions[{number}]" for number in range(201)]
    assert all(row["answers"] == [{"answer": f" a{number} "}] for number, (_, row) in enumerate(rows[:199]))
    assert vqa_files.answers(rows[3][1]) == ("a3",)
    assert "answers" not in rows[199][1] and rows[200][1] == 7


def test_the_papers_number_is_drawn_by_seed(folder):
    draws = [vqa_files.joined(folder, FILES, _spec(20), split="train", seed=seed) for seed in (0, 0, 1)]
    assert [len(rows) for rows in draws] == [20, 20, 20]
    assert draws[0] == draws[1] != draws[2]


def test_the_first_of_the_most_common_answers_is_taken():
    assert vqa_files.most_common(("red", "blue", "red", "blue", "tan")) == "red"
    with pytest.raises(RowError) as caught:
        vqa_files.most_common(())
    assert caught.value.reason == "no-answer"


@pytest.mark.parametrize(
    ("row", "split", "reason"),
    [
        ({"question": "?"}, "test", "answer-withheld"),
        ({"answers": []}, "test", "answer-withheld"),
        ({"question": "?"}, "train", "missing-field"),
        ({"answers": ["a", 3]}, "train", "wrong-type"),
        (3, "test", "wrong-type"),
    ],
)
def test_only_a_test_may_keep_its_answers(row, split, reason):
    with pytest.raises(RowError) as caught:
        vqa_files.given_answers(row, split)
    assert caught.value.reason == reason


def test_captions_are_read_where_they_are(folder, tmp_path):
    assert vqa_files.captions(folder, "train2014", {1, 2}) == {}
    (tmp_path / "annotations").mkdir()
    rows = [{"image_id": 2, "caption": " first \n"}, {"image_id": 2, "caption": "second"}, {"image_id": 3}, "bad"]
    (tmp_path / "annotations" / "captions_train2014.json").write_text(json.dumps({"annotations": rows}))
    assert vqa_files.captions(folder, "train2014", {1, 2}) == {2: "first"}
