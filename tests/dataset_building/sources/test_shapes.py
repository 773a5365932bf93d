import io
import shutil

import numpy as np
import pytest
from PIL import Image

from m3it_jax import errors


def test_questions_answers_and_drawings_go_together_and_colours_are_put_right(instances) -> None:
    first, second, _ = instances("shapes", "train")
    assert first.inputs == second.inputs == "is a green shape left of a red shape"
    assert (first.outputs, second.outputs) == ("true", "false")
    drawing = np.asarray(Image.open(io.BytesIO(first.images[0])))
    assert drawing.shape == (30, 30, 3)
    assert drawing[5, 5].tolist() == [0, 255, 0] and drawing[5, 15].tolist() == [255, 0, 0]


def test_splits_are_train_large_val_and_test(instances) -> None:
    splits = {split: len(instances("shapes", split)) for split in ("train", "validation", "test")}
    assert splits == {"train": 3, "validation": 2, "test": 2}
    assert instances("shapes", "train")[2].meta["origin"] == "train.large/2"


def test_an_answer_that_is_none_is_named(drafts, raw, tmp_path) -> None:
    folder = shutil.copytree(raw / "shapes", tmp_path / "shapes")
    (folder / "val.output").write_text("perhaps\nfalse\n")
    found = drafts("shapes", "validation", raw=tmp_path)
    assert (found[0].place, found[0].reason) == ("val.query_str.txt:1", "unknown-label")
    assert found[1].outputs == "false"


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "val.output").write_text("true\n"),
        lambda folder: (folder / "val.input.npy").write_bytes(b"\x93NUMPY"),
        lambda folder: np.save(folder / "val.input.npy", np.zeros((2, 30, 30, 3))),
        lambda folder: np.save(folder / "val.input.npy", np.array([{}], dtype=object), allow_pickle=True),
        lambda folder: np.savez(open(folder / "val.input.npy", "wb"), a=np.zeros(1)),
    ],
    ids=["counts", "cut off", "type", "pickle", "archive"],
)
def test_files_that_do_not_fit_are_refused(damage, drafts, raw, tmp_path) -> None:
    damage(shutil.copytree(raw / "shapes", tmp_path / "shapes"))
    with pytest.raises(errors.UserError, match=r"shapes/val.*get the (three )?files? again"):
        drafts("shapes", "validation", raw=tmp_path)
