import pytest

from m3it_jax import schema
from m3it_jax.dataset_building.interchange.turns import Conversation, Turn, drafts
from m3it_jax.dataset_building.specification import RowError


def conversation(*turns: Turn, images=(b"a", b"b")) -> Conversation:
    return Conversation(turns, images, "g", "rows.jsonl:1", "train", changes=("x",), extra={"conversation": "7"})


def test_a_conversation_is_one_draft_with_the_turns_before_its_last():
    (draft,) = drafts(
        conversation(
            Turn("system", "Be short."),
            Turn("user", "What?", (0,)),
            Turn("assistant", "One."),
            Turn("user", "And", (1,)),
            Turn("user", "now?"),
            Turn("assistant", "Two."),
        )
    )
    assert draft.images == (b"a", b"b") and draft.system == "Be short."
    assert (draft.instruction, draft.inputs, draft.outputs, draft.new_pictures) == ("And\nnow?", "", "Two.", 1)
    assert draft.turns == (schema.Turn("What?", "", "One."),)
    assert draft.origin == "rows.jsonl:1/5"
    assert draft.meta()["changes"] == ["x"] and draft.meta()["conversation"] == "7"


def test_a_conversation_of_one_turn_is_a_plain_record():
    (draft,) = drafts(conversation(Turn("user", "What?", (0, 1)), Turn("assistant", "One.")))
    assert not {"turns", "new_pictures", "system"} & draft.meta().keys() and len(draft.images) == 2


def test_pictures_that_are_first_shown_later_say_so():
    talk = [Turn("user", "Hello"), Turn("assistant", "Hi."), Turn("user", "What?", (0, 1)), Turn("assistant", "One.")]
    (draft,) = drafts(conversation(*talk))
    assert (draft.turns[0].new_pictures, draft.new_pictures) == (0, 2)


def test_what_has_no_place_in_a_record_is_named_among_its_changes():
    turns = [Turn("user", "What?", (0,)), Turn("assistant", "One."), Turn("system", "Now loud."), Turn("user", "Why?")]
    (draft,) = drafts(conversation(*turns, Turn("assistant", "So."), Turn("user", "And?", (1,))))
    assert draft.instruction == "Now loud.\nWhy?" and draft.images == (b"a",)
    assert draft.meta()["changes"] == [
        "x",
        "text of the system in the midst put before the question behind it",
        "question without an answer at the end left out",
    ]


@pytest.mark.parametrize(
    ("reason", "turns"),
    [
        ("no-answer", [Turn("user", "q", (0, 1))]),
        ("no-question", [Turn("assistant", "a", (0, 1))]),
        ("no-question", [Turn("user", "", (0, 1)), Turn("assistant", "a")]),
    ],
)
def test_a_conversation_that_gives_no_record_says_why(reason, turns):
    with pytest.raises(RowError) as caught:
        list(drafts(conversation(*turns)))
    assert caught.value.reason == reason
