import pytest

from m3it_jax.dataset_building.interchange.turns import Conversation, Turn, drafts
from m3it_jax.dataset_building.specification import RowError


def conversation(*turns: Turn, images=(b"a", b"b")) -> Conversation:
    return Conversation(turns, images, "g", "rows.jsonl:1", "train", changes=("x",), extra={"conversation": "7"})


def test_each_answer_shows_the_pictures_that_came_before_it():
    first, second = drafts(
        conversation(
            Turn("system", "Be short."),
            Turn("user", "What?", (0,)),
            Turn("assistant", "One."),
            Turn("user", "And", (1,)),
            Turn("user", "now?"),
            Turn("assistant", "Two."),
        )
    )
    assert (first.images, second.images) == ((b"a",), (b"a", b"b"))
    assert (first.instruction, first.inputs, first.outputs) == ("What?", "System: Be short.", "One.")
    assert (second.instruction, second.outputs) == ("And\nnow?", "Two.")
    assert second.inputs == "System: Be short.\nHuman: What?\nAssistant: One."
    assert (first.origin, second.origin) == ("rows.jsonl:1/2", "rows.jsonl:1/5")
    assert first.meta()["changes"] == ("x",) and first.meta()["conversation"] == "7"


@pytest.mark.parametrize(
    ("reason", "turns"),
    [
        ("no-answer", [Turn("user", "q", (0, 1))]),
        ("no-question", [Turn("assistant", "a", (0, 1))]),
        ("no-question", [Turn("user", "", (0, 1)), Turn("assistant", "a")]),
        ("no-image", [Turn("user", "q"), Turn("assistant", "a"), Turn("user", "r", (0, 1)), Turn("assistant", "b")]),
    ],
)
def test_a_conversation_that_gives_no_record_says_why(reason, turns):
    with pytest.raises(RowError) as caught:
        list(drafts(conversation(*turns)))
    assert caught.value.reason == reason
