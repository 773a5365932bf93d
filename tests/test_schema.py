"""What a record may hold beside its texts and pictures."""

import pytest

from m3it_jax import schema


def codes(meta) -> list[str]:
    record = schema.Instance("a-1", "a", "vqa", "en", "Look.", "", "yes", (b"\xff\xd8\xff",), meta)
    return [code for code, _ in schema.problems(record)]


def test_known_entries_of_meta_have_their_types() -> None:
    meta = {"captions": ["x"], "references": ["yes"], "options": [], "attributes": {"shape": "circle", "count": 3}}
    assert codes({**meta, "skill": "digit", "group": "g1", "anything": [1, None]}) == []


@pytest.mark.parametrize(
    "meta",
    [
        {"captions": "x"},
        {"references": [1]},
        {"options": None},
        {"attributes": ["x"]},
        {"attributes": {"shape": ["circle"]}},
        {"skill": None},
        {"group": 3},
        [],
        3,
    ],
)
def test_other_types_are_told(meta) -> None:
    assert codes(meta) == ["bad-meta"]


def conversation(*turns, pictures=2, **meta) -> schema.Instance:
    images = (b"\xff\xd8\xff",) * pictures
    return schema.Instance(
        "a-1", "a", "vqa", "en", "And now?", "hint", "two", images, {"turns": [*turns], **meta} if turns else meta
    )


FIRST = {"instruction": "What?", "outputs": "one"}


def test_all_turns_of_a_record_come_in_order_and_each_picture_is_in_one_of_them() -> None:
    record = conversation(FIRST, {"instruction": "Why?", "inputs": "x", "outputs": "so", "new_pictures": 1}, pictures=4)
    assert schema.turns_of(record) == (
        schema.Turn("What?", "", "one", 3),
        schema.Turn("Why?", "x", "so", 1),
        schema.Turn("And now?", "hint", "two", 0),
    )
    assert schema.turns_of(conversation(FIRST, new_pictures=1))[-1].new_pictures == 1
    assert schema.turns_of(conversation()) == (schema.Turn("And now?", "hint", "two", 2),)
    assert not list(schema.problems(record))


def test_a_turn_is_written_as_it_is_read() -> None:
    turn = schema.Turn("Why?", "x", "so", 1)
    assert schema.Turn.of(turn.entry()) == turn and schema.Turn.of(FIRST).entry() == FIRST


@pytest.mark.parametrize(
    ("reason", "words", "turns"),
    [
        ("bad-meta", "meta.turns is str, must be a list of turns", "abc"),
        ("bad-meta", "meta.turns[0] is str", ["abc"]),
        ("bad-meta", "meta.turns[1].outputs is int, must be text", [FIRST, {**FIRST, "outputs": 3}]),
        ("bad-meta", "meta.turns[0].answer is unknown, the fields of a turn are", [{**FIRST, "answer": "x"}]),
        ("bad-meta", "meta.turns[0].new_pictures is True, must be a whole number", [{**FIRST, "new_pictures": True}]),
        ("bad-meta", "are 3, the record has 2 pictures", [{**FIRST, "new_pictures": 3}]),
        ("empty-output", "meta.turns[0].outputs is empty", [{"instruction": "What?"}]),
        ("empty-instruction", "meta.turns[0].instruction is empty", [{**FIRST, "instruction": " "}]),
        ("bad-text", "meta.turns[0].inputs holds a lone surrogate", [{**FIRST, "inputs": "\udc80"}]),
    ],
)
def test_what_is_wrong_with_a_turn_is_told(reason, words, turns) -> None:
    record = conversation(pictures=2, turns=turns)
    assert [code for code, text in schema.problems(record) if words in text] == [reason]
