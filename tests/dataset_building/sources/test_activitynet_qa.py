import json
import shutil

from m3it_jax.dataset_building.specification import Draft


def test_one_of_a_videos_questions_with_its_answer_from_the_other_file(instances):
    records = {record.meta["group"]: record for record in instances("activitynet-qa", "train")}
    assert sorted(records) == ["d4001_ballsA", "d4002_boxesB"]
    green = records["d4002_boxesB"]
    assert (green.inputs, green.outputs) == ("what color is the box", "green")
    assert green.meta["origin"] == "v_d4002_boxesB_1" and len(green.images) == 8


def test_the_question_depends_on_the_seed(drafts):
    found = [row for seed in range(20) for row in drafts("activitynet-qa", "train", seed=seed)]
    red = {(row.inputs, row.outputs) for row in found if row.group == "d4001_ballsA"}
    assert red == {("what is rolling in the video", "a ball"), ("is the ball red", "yes")}


def test_splits_are_the_publishers(instances):
    assert [record.meta["origin_split"] for record in instances("activitynet-qa", "validation")] == ["val"]
    assert [record.outputs for record in instances("activitynet-qa", "test")] == ["1"]


def test_damaged_rows_and_videos_that_are_gone_are_named(drafts, raw, tmp_path):
    shutil.copytree(raw / "activitynet-qa", tmp_path / "activitynet-qa")
    folder = tmp_path / "activitynet-qa"
    questions = json.loads((folder / "dataset" / "train_q.json").read_text())
    questions += [
        {"video_name": "x", "question": "is it there", "question_id": "v_x_1"},
        {"video_name": "y", "question": "is it", "question_id": "v_y_1"},
        {"video_name": "z", "question_id": "v_z_1"},
    ]
    (folder / "dataset" / "train_q.json").write_text(json.dumps(questions))
    answers = json.loads((folder / "dataset" / "train_a.json").read_text())
    answers += [{"answer": text, "type": 3, "question_id": f"v_{name}_1"} for name, text in (("x", "no"), ("z", "no"))]
    (folder / "dataset" / "train_a.json").write_text(json.dumps(answers))
    shutil.copy(folder / "videos" / "v_d4001_ballsA.mp4", folder / "videos" / "v_z.mp4")
    found = drafts("activitynet-qa", "train", raw=tmp_path)
    assert sum(isinstance(row, Draft) for row in found) == 2
    assert {(row.place, row.reason) for row in found if not isinstance(row, Draft)} == {
        ("dataset/train_q.json: [3]", "picture-missing"),
        ("dataset/train_q.json: [4]", "unknown-id"),
        ("dataset/train_q.json: [5]", "missing-field"),
    }
