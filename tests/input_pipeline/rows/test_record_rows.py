import dataclasses

import pytest

from m3it_jax import errors
from m3it_jax.input_pipeline.rows import record_rows

POOL = ("What is this?", "Name the [THING].")


def test_a_pool_suits_a_record_whose_instruction_is_in_it(tiny):
    record = tiny.instance("ones", 0)
    assert record_rows.suitable(record, tiny.POOL) == list(tiny.POOL)
    without = dataclasses.replace(record, meta={"slots": {"OTHER": "bird"}})
    assert record_rows.suitable(without, POOL) == []  # it has no text for the slot
    slotted = dataclasses.replace(record, meta={"slots": {"THING": "bird"}}, instruction="Name the bird.")
    assert record_rows.suitable(slotted, POOL) == ["What is this?", "Name the bird."]
    assert record_rows.suitable(dataclasses.replace(record, instruction="Say it in French."), tiny.POOL) == []


def test_earlier_answers_are_learned_only_if_all_are(layout, words, tiny):
    meta = {"turns": [{"instruction": "What?", "outputs": "a picture"}]}
    record = dataclasses.replace(tiny.instance("ones", 0), meta=meta)
    lengths = {}
    for answers in ("all", "last"):
        text = record_rows.fitted(layout, words, record, instruction="Name it.", supervised_answers=answers)
        lengths[answers] = len(text.learned)
    assert lengths == {"all": 1, "last": 0}


def test_descriptions_must_be_as_many_as_pictures(layout, words, tiny):
    record = dataclasses.replace(tiny.instance("pairs", 0), meta={"captions": ["one"]})
    text = record_rows.fitted(layout, words, record, instruction="What?", supervised_answers="all")
    with pytest.raises(errors.UserError, match="has 1 captions for 2 pictures"):
        record_rows.captioned(layout, words, record, text=text)


def test_more_to_learn_than_was_told_is_refused(layout, words, tiny):
    record = tiny.instance("ones", 0)
    text = record_rows.fitted(layout, words, record, instruction="What?", supervised_answers="all")
    row = record_rows.captioned(layout, words, record, text=text)
    most = int(row["loss_mask"].sum())
    assert record_rows.check_targets(row, record, most) is row
    with pytest.raises(errors.UserError, match="has 1 turns"):
        record_rows.check_targets(row, record, most - 1)


def test_a_record_is_asked_with_the_instruction_that_was_drawn(layout, words, tiny):
    record = tiny.instance("ones", 3, instruction="What is this?")
    text = record_rows.fitted(layout, words, record, instruction="Name the picture.", supervised_answers="all")
    said = words.decode(text.prompt_ids)
    assert "Name the picture.\nhint 3" in said and "What is this?" not in said
