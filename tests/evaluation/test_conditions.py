"""Conditions have names that can be read back; wordings are read at the door and never those of training."""

import json

import pytest

from m3it_jax import errors
from m3it_jax.evaluation import conditions, m3it_tasks, matrix


def test_a_condition_is_known_by_its_name():
    names = matrix.variants([1, 2, 3, 4, 5])
    assert len(set(names)) == 12
    assert [conditions.of(name).variant for name in names] == names
    assert conditions.of("reworded-corrupted-3") == conditions.Condition(True, 3)


@pytest.mark.parametrize(
    "name", ["blank", "shuffled", "majority", "corrupted-6", "corrupted-0", "", "-corrupted-2", "reworded-"]
)
def test_what_is_no_condition_is_none(name):
    assert conditions.of(name) is None


def test_the_shipped_wordings_hold_every_source_of_m3it_and_twice_as_many_texts():
    found = conditions.read_wordings()
    assert set(found.pools) >= set(m3it_tasks.BY_NAME)
    assert all(len(set(pool)) == 2 for pool in found.pools.values())


def test_a_record_always_has_the_same_wording_and_both_are_drawn(tmp_path):
    file = tmp_path / "words.json"
    file.write_text(json.dumps({"one": ["a [PET]?", "b"]}))
    found = conditions.read_wordings(file)
    drawn = [found.reworded("one", f"id-{number}", slots={"PET": "cat"}, seed=0) for number in range(40)]
    assert set(drawn) == {"a cat?", "b"}
    assert drawn == [found.reworded("one", f"id-{number}", slots={"PET": "cat"}, seed=0) for number in range(40)]
    assert found.reworded("two", "id-0", slots={}, seed=0) is None


def test_a_slot_without_a_text_is_named(tmp_path):
    file = tmp_path / "words.json"
    file.write_text(json.dumps({"one": ["is [HYPO] true?"]}))
    with pytest.raises(errors.UserError, match=r"one: .* slot \[HYPO\] that record id-3 lacks"):
        conditions.read_wordings(file).reworded("one", "id-3", slots={}, seed=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "is not JSON"),
        ("[]", "must be an object"),
        ("{}", "must be an object"),
        ('{"one": "text"}', "one='text'"),
        ('{"one": []}', "one=\\[\\]"),
        ('{"one": [" "]}', "at least one instruction"),
        ('{"one": [1]}', "at least one instruction"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path, content, message):
    file = tmp_path / "words.json"
    file.write_text(content)
    with pytest.raises(errors.UserError, match=message):
        conditions.read_wordings(file)


def test_no_file_is_one_line(tmp_path):
    with pytest.raises(errors.UserError, match=r"gone\.json: cannot be read"):
        conditions.read_wordings(tmp_path / "gone.json")


def test_a_wording_of_training_is_refused():
    found = conditions.Wordings("words.json", {"one": ("Say it.", "Tell it.")})
    conditions.check_unseen(found, {"one": ("Name it.",)})
    with pytest.raises(errors.UserError, match=r"one: 'Tell it\.' was trained with \(source two\)"):
        conditions.check_unseen(found, {"two": ("Tell it.",)})
