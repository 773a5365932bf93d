import pytest

from m3it_jax.dataset_building.interchange import dialogues
from m3it_jax.dataset_building.specification import RowError

ASKED, ANSWERED = ("user", "What is it?"), ("assistant", "A ball.")


def text(value):
    return {"type": "text", "text": value}


def chat(*parts, answer="A ball."):
    return [{"role": "user", "content": list(parts)}, {"role": "assistant", "content": answer}]


FORMS = {
    "LLaVA": ("llava", {"image": "0.jpg", "conversations": [
        {"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "A ball."}]}),
    "ShareGPT with a system text": ("llava", {"images": ["0.jpg"], "system": "Be short.", "conversations": [
        {"from": "human", "value": "<image>What is it?"}, {"from": "gpt", "value": "A ball."}]}),
    "MiniCPM-V": ("llava", {"image": "0.jpg", "conversations": [
        {"role": "user", "content": "<image>\nWhat is it?"}, {"role": "assistant", "content": "A ball."}]}),
    "texts alone": ("messages", {"images": ["0.jpg"], "messages": [
        {"role": "user", "content": "<image>What is it?"}, {"role": "assistant", "content": "A ball."}]}),
    "TRL": ("messages", {"images": ["0.jpg"], "messages": chat({"type": "image"}, text("What is it?"))}),
    "TRL in Parquet": ("parquet", {"images": ["0.jpg"], "messages": chat(
        {"type": "image", "text": None, "index": 0}, {"type": "text", "text": "What is it?", "index": None})}),
    "TRL, prompt and completion": ("messages", {"images": ["0.jpg"], "prompt": chat(
        {"type": "image"}, text("What is it?"))[:1], "completion": [{"role": "assistant", "content": "A ball."}]}),
    "path": ("messages", {"messages": chat({"type": "image", "path": "0.jpg"}, text("What is it?"))}),
    "url": ("messages", {"messages": chat({"type": "image", "url": "0.jpg"}, text("What is it?"))}),
    "image": ("messages", {"messages": chat({"type": "image", "image": "0.jpg"}, text("What is it?"))}),
    "OpenAI": ("messages", {"messages": chat(
        {"type": "image_url", "image_url": {"url": "0.jpg"}}, text("What is it?"), answer=[text("A ball.")])}),
    "OpenAI's responses": ("messages", {"messages": chat(
        {"type": "input_image", "image_url": "0.jpg"}, {"type": "input_text", "text": "What is it?"},
        answer=[{"type": "output_text", "text": "A ball."}])}),
    "a mark and a part": ("messages", {"messages": chat(
        {"type": "image", "path": "0.jpg"}, text("<image>\nWhat is it?"))}),
    "ms-swift": ("messages", {"images": [{"bytes": None, "path": "0.jpg"}], "messages": [
        {"role": "user", "content": "<image>What is it?"}, {"role": "assistant", "content": "A ball."}]}),
    "ms-swift's older": ("messages", {"images": ["0.jpg"], "query": "<image>What is it?", "response": "A ball."}),
    "The Cauldron": ("parquet", {"images": ["0.jpg"], "texts": [{"user": "What is it?", "assistant": "A ball."}]}),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_turns(name):
    form, row = FORMS[name]
    found = dialogues.read(row, form)
    turns = [(turn.role, turn.text, turn.pictures) for turn in found.turns]
    if "system" in row:
        assert turns.pop(0) == ("system", "Be short.", ())
    assert turns == [(*ASKED, (0,)), (*ANSWERED, ())] and found.changes == ()
    assert "0.jpg" in str(found.pictures) and len(found.pictures) == 1


def test_parts_keep_the_places_of_their_pictures():
    row = {"images": ["a", "b", "c"], "messages": [
        *chat(text("Before:"), {"type": "image"}, text("After:"), {"type": "image"}, text("What changed?")),
        *chat(text("And now?"), {"type": "image"}, answer="Nothing."),
    ]}  # fmt: skip
    found = dialogues.read(row, "messages")
    assert found.turns[0].text == "Before:\nimage 1\nAfter:\nimage 2\nWhat changed?"
    assert [turn.pictures for turn in found.turns] == [(0, 1), (), (2,), ()] and found.pictures == ("a", "b", "c")
    assert found.turns[2].text == "And now?"
    assert found.changes == (
        "places of pictures named in the text",
        "picture moved from behind a text to before it",
    )


def test_numbers_of_parts_decide_which_picture_it_is():
    row = {
        "images": ["a", "b"],
        "messages": chat({"type": "image", "index": 1}, {"type": "image", "index": 0}, text("q")),
    }
    assert dialogues.read(row, "messages").pictures == ("b", "a")


def test_what_follows_the_last_answer_is_left_out_and_told():
    row = {"image": "a", "messages": [*chat(text("q")), {"role": "user", "content": "And <image>?"}]}
    with pytest.raises(RowError, match="1 times <image>"):
        dialogues.read({**row, "image": []}, "messages")
    row["images"], row["image"] = ["a", "b"], None
    row["messages"][0]["content"] = "<image> q"
    found = dialogues.read(row, "messages")
    assert len(found.turns) == 2 and found.pictures == ("a",)
    assert found.changes == ("what follows the last answer left out",)


BAD = {
    "placeholder-count": {"images": ["a", "b"], "messages": chat({"type": "image"}, text("q"))},
    "no-image": {"img": "0.jpg", "messages": chat({"type": "image"}, text("q"))},
    "no-question": {"image": "a", "messages": [{"role": "assistant", "content": "a"}]},
    "no-answer": {"image": "a", "messages": [{"role": "user", "content": "q"}]},
    "unsupported-part": {"messages": chat({"type": "video", "video": "a.mp4"}, text("q"))},
    "unknown-role": {"image": "a", "messages": [{"role": "tool", "content": "q"}]},
    "wrong-type": {"image": 7, "messages": chat(text("q"))},
    "missing-field": {"image": "a", "text": "q"},
    "other-format": {"image": "a", "conversations": []},
}


@pytest.mark.parametrize("reason", BAD)
def test_what_cannot_be_read_says_why(reason):
    with pytest.raises(RowError) as caught:
        dialogues.read(BAD[reason], "messages")
    assert caught.value.reason == reason
    wanted = {
        "missing-field": "its fields: image, text",
        "other-format": "`m3it import llava`",
        "no-image": "field 'img' holds '0.jpg'",
    }
    assert wanted.get(reason, "") in str(caught.value)


@pytest.mark.parametrize(
    "row",
    [
        {"images": ["a"], "messages": chat({"type": "image", "path": "b"}, text("q"))},
        {"image": "a", "images": ["b"], "messages": chat(text("q"))},
        {"images": ["a"], "messages": chat({"type": "image"}, text("<image> <image>"))},
        {"images": ["a"], "messages": chat({"type": "image", "index": 4}, text("q"))},
        {"messages": chat(text("<image> q"))},
    ],
)
def test_pictures_and_places_have_to_fit(row):
    with pytest.raises(RowError) as caught:
        dialogues.read(row, "messages")
    assert caught.value.reason == "placeholder-count"


def test_an_answer_is_no_picture():
    row = {"images": ["a", "b"], "messages": chat({"type": "image"}, text("q"), answer=[{"type": "image"}])}
    with pytest.raises(RowError, match="an answer is text alone"):
        dialogues.read(row, "messages")
