"""Examples: files that open, and a choice that does not look at the answer."""

import json

import pytest
from PIL import Image

from m3it_jax import errors
from m3it_jax.evaluation import examples, output, runner, tasks

PROTOCOL = tasks.Protocol()


class Silent:
    def generate_batch(self, requests):
        return ["" for _ in requests]


def written(folder, store, model) -> list[dict]:
    runner.predict(model, folder, store, identity={"a": 1}, protocol=PROTOCOL)
    return examples.write(store, folder, protocol=PROTOCOL)


def test_examples_of_each_skill(fakes, folder, store) -> None:
    found = written(folder, store, fakes.Reader())
    assert [example["skill"] for example in found] == ["digit"] * 2 + ["two-sum"] * 2
    assert [len(example["files"]) for example in found] == [1, 1, 2, 2]
    assert all(example["right"] for example in found)
    for example in found:
        with Image.open(store.path / "examples" / example["files"][0]) as opened:
            assert f"shade {opened.getpixel((0, 0))[0]}" == example["reference"] == example["prediction"]


def test_the_choice_does_not_depend_on_the_answers(fakes, folder, store, tmp_path) -> None:
    right = written(folder, store, fakes.Reader())
    wrong = written(folder, type(store)(tmp_path / "other"), Silent())
    assert [example["id"] for example in right] == [example["id"] for example in wrong]
    assert not any(example["right"] for example in wrong)


def test_a_skill_of_any_text_stays_in_the_folder_and_apart(fakes, folder, store) -> None:
    written(folder, store, fakes.Reader())
    rows = store.predictions()
    before = sorted(path for path in store.path.parent.rglob("*.png") if path.parent.name != "examples")
    odd = ["../../evil", "a/b", "a:b", "图", "x" * 500]
    for number, skill in enumerate(odd):
        rows[number]["skill"] = skill
    store.append(rows[: len(odd)])
    found = examples.write(store, folder, protocol=PROTOCOL)
    files = [name for example in found for name in example["files"]]
    assert sorted(path for path in store.path.parent.rglob("*.png") if path.parent.name != "examples") == before
    assert len(set(files)) == len(files)
    assert all((store.path / "examples" / name).is_file() and "/" not in name for name in files)


@pytest.mark.parametrize(
    ("skill", "stem"),
    [
        ("digit", "digit"),
        ("a/b", "a-b-c14cddc0"),  # the first digits of the text's SHA-256
        ("-a", "a-c2748917"),
        ("图", "skill-"),
        ("x" * 80, "x" * 80),
        ("x" * 81, "x" * 60 + "-"),
    ],
)
def test_a_file_is_named_after_its_skill_where_that_is_a_name(skill: str, stem: str) -> None:
    found = examples._file_stem(skill)
    assert found == stem or (stem.endswith("-") and found.startswith(stem) and len(found) == len(stem) + 8)


def test_a_row_of_other_data_is_refused(fakes, folder, store) -> None:
    written(folder, store, fakes.Reader())
    for row in store.predictions():
        store.append([{**row, "number": row["number"] + 1000}])
    with pytest.raises(errors.UserError, match=r"record 10\d\d of one in data/fake is not one-"):
        examples.write(store, folder, protocol=PROTOCOL)
    assert json.loads((store.path / output.EXAMPLES / examples.INDEX).read_text())  # the former ones stay


@pytest.mark.parametrize(
    ("metric", "prediction", "right"),
    [
        ("exact_match", "3", True),
        ("exact_match", "4", False),
        ("rouge_l", "a 3", False),
        ("bleu", "3", True),  # of one word there are no pairs: as a corpus it would have 0
        ("cider_words", "3", True),  # of a single row always 0
        ("chrf", "4", False),
    ],
)
def test_an_answer_is_right_by_its_headline_or_as_it_stands(metric: str, prediction: str, right: bool) -> None:
    task = tasks.EvalTask("digit", "vqa", "en", (metric,))
    assert examples._is_right(task, {"references": ["3", "three"], "prediction": prediction}) is right
