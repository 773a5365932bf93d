"""The generalisation matrix: cells and shifts over answers whose right values are known."""

import dataclasses

import pytest

from m3it_jax import errors
from m3it_jax.evaluation import conditions, controls, corruptions, matrix, runner, tasks

PROTOCOL = tasks.Protocol(max_new_tokens=5)
WORDINGS = conditions.Wordings("words.json", {"one": ("Which shade?",)})
VARIANTS = matrix.variants([1, 5])


@pytest.fixture
def answered(fakes, folder, store):
    """An evaluation under every condition, by a model that reads the shade of a picture."""
    options = {"identity": {"checkpoint": 1}, "protocol": PROTOCOL, "variants": VARIANTS, "wordings": WORDINGS}
    runner.predict(fakes.Reader(), folder, store, **options)
    return store


def changed(store, tmp_path, change):
    """Returns an evaluation folder with the same answers, each changed."""
    copy = type(store)(tmp_path / "changed")
    copy.write("lock.json", store.lock())
    copy.append([row | change(row) for row in store.predictions()])
    return copy


def measure(store, **options):
    return matrix.measure(store, PROTOCOL, **{"trained_on": ["one"], "is_seen": None, **options})


def shifts(found) -> dict[tuple[str, str], dict]:
    return {(shift["shift"], shift["to"]): shift for shift in found["shifts"]}


def test_every_question_stands_in_each_of_its_conditions_once(answered):
    found = measure(answered)
    numbers: dict[tuple, int] = {}
    for cell in found["cells"]:
        key = (cell["task"], cell["wording"], cell["strength"])
        numbers[key] = numbers.get(key, 0) + cell["n"]
    own = {row["source"]: 0 for row in answered.predictions()}
    for row in answered.predictions():
        own[row["source"]] += row["variant"] == controls.OWN
    assert numbers == {
        **{("seen", wording, strength): own["one"] for wording in matrix.WORDINGS for strength in (0, 1, 5)},
        **{("unseen", "seen", strength): own["two"] for strength in (0, 1, 5)},
    }
    assert found["no_other_wording"] == {"two": own["two"]}


def test_a_shift_is_the_difference_over_the_same_questions(answered, tmp_path):
    def wrong_when_reworded(row):
        condition = conditions.of(row["variant"])
        is_wrong = condition.is_reworded and row["group"] in ("g0", "g1")
        return {"prediction": "wrong" if is_wrong or condition.strength == 5 else row["references"][0]}

    found = shifts(measure(changed(answered, tmp_path, wrong_when_reworded)))
    wording = found["wording", "unseen"]
    assert wording["paired"] and (wording["value_from"], wording["value_to"]) == (100, 60)
    assert wording["difference"] == -40 and wording["low"] < -40 < wording["high"] <= 0
    assert found["pictures", "5"]["difference"] == -100 and found["pictures", "1"]["difference"] == 0
    for name in corruptions.CORRUPTIONS:
        if (name, "mean of strengths") in found:
            assert found[name, "mean of strengths"]["difference"] == -50
    assert not found["task", "unseen"]["paired"]


def test_every_way_of_making_worse_has_its_own_questions(answered):
    found = shifts(measure(answered))
    ways = [corruptions.corruption_of(row["id"], seed=0) for row in answered.predictions() if row["variant"] == "own"]
    numbers = {name: found[name, "mean of strengths"]["n"] for name in corruptions.CORRUPTIONS if name in ways}
    assert numbers == {name: ways.count(name) for name in numbers} and sum(numbers.values()) == len(ways)


def test_a_stored_instruction_that_was_never_trained_with_counts_as_unseen(answered):
    found = measure(answered, is_seen=lambda row: "unseen")
    assert {cell["wording"] for cell in found["cells"]} == {"unseen"}
    assert not any(shift["shift"] == "wording" for shift in found["shifts"])
    assert found["wording"] == "known"


def test_pictures_are_made_worse_for_the_model_and_words_changed(fakes, folder, store):
    model = fakes.Reader()
    runner.predict(
        model,
        folder,
        store,
        identity={"checkpoint": 1},
        protocol=PROTOCOL,
        variants=("reworded-corrupted-5",),
        wordings=WORDINGS,
    )
    assert {request["instruction"] for request in model.asked} == {"Which shade?"}
    table = folder.table("one", "test")
    wanted = {
        corruptions.corrupted(
            image, corruptions.corruption_of(each.id, seed=0), strength=5, seed=0, name=f"{each.id} {place}"
        )
        for each in map(table.read, range(len(table)))
        for place, image in enumerate(each.images)
    }
    assert {image for request in model.asked for image in request["images"]} == wanted


def test_other_words_are_asked_again_and_equal_ones_are_not(fakes, folder, store):
    options = {"identity": {"checkpoint": 1}, "protocol": PROTOCOL, "variants": ("reworded",)}
    runner.predict(fakes.Reader(), folder, store, wordings=WORDINGS, **options)
    again, other = fakes.Reader(), fakes.Reader()
    runner.predict(again, folder, store, wordings=WORDINGS, **options)
    runner.predict(other, folder, store, wordings=dataclasses.replace(WORDINGS, pools={"one": ("Else?",)}), **options)
    assert not again.asked and {request["instruction"] for request in other.asked} == {"Else?"}
    assert {row["instruction"] for row in store.predictions()} == {"Else?"}


def test_the_table_shows_what_was_not_measured(answered):
    text = matrix.table(measure(answered))
    rows = [line for line in text.splitlines() if line.startswith(("seen", "unseen"))]
    assert len(rows) == 24
    assert "two (" in text and "assumed" not in text and "count as seen" in text


def test_no_answer_is_one_line(store):
    with pytest.raises(errors.UserError, match="has no answer to measure"):
        measure(store)
