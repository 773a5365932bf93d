import pytest

from m3it_jax import errors


def row(**changes):
    fields = {
        "unique_id": "vqa_1",
        "image_source": "coco2014",
        "task_name": "open-domain_VQA",
        "image_path": "raw_datasets/a.jpg",
        "prompt": "What is it? [Options]: a ball||||a box",
        "target": "a ball",
        "options": ["a ball", "a box"],
    }
    return fields | changes


def test_options_follow_the_instruction(imported, tmp_path, lines, jpeg):
    (tmp_path / "raw_datasets").mkdir()
    (tmp_path / "raw_datasets" / "a.jpg").write_bytes(jpeg(0))
    path = lines(
        tmp_path / "train.jsonl",
        row(),
        row(prompt="How many?", target=3, options=None),
        row(image_path="../a.jpg"),
        row(image_path="/etc/passwd"),
        row(target=None),
        row(prompt=["x"]),
    )
    found, rejected = imported("multiinstruct", path, images=tmp_path)
    first, second = found["train"]
    assert (first.instruction, first.inputs) == ("What is it?", "[Options]: a ball||||a box")
    assert (first.meta["options"], first.meta["unique_id"], first.images) == (["a ball", "a box"], "vqa_1", (jpeg(0),))
    assert (second.instruction, second.inputs, second.outputs) == ("How many?", "", "3")
    assert [each.reason for each in rejected] == ["path-outside", "path-outside", "missing-field", "wrong-type"]


def test_the_folder_of_the_pictures_must_be_given(imported, tmp_path, lines):
    with pytest.raises(errors.UserError, match="give --images FOLDER"):
        imported("multiinstruct", lines(tmp_path / "train.jsonl", row()))
