"""Examples: files that open, and a choice that does not look at the answer."""

from PIL import Image

from m3it_jax.evaluation import examples, runner, tasks

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
