import dataclasses

import hypothesis
import pytest
from hypothesis import strategies as st

from m3it_jax import prompts, schema

YING, MINIGPT4, LLAVA = (prompts.FORMATS[name] for name in ("ying_vlm", "minigpt4", "llava"))
FORMATS = pytest.mark.parametrize("name", prompts.FORMATS)
SAID = "Give the following image: <Img>ImageContent</Img>. You will be able to see the image once I provide it to you. "
SAID += "Please answer my questions."
CHAT = "A chat between a curious user and an artificial intelligence assistant. "
CHAT += "The assistant gives helpful, detailed, and polite answers to the user's questions."


def test_prompt_is_the_published_template():
    # The string of YING-VLM's inference_example.py with its two places filled.
    assert YING.prompt("Describe.", "a\nb") == "\n<human>:\nDescribe.\na\nb\n<bot>:\n"


def test_the_line_of_inputs_stays_when_it_is_empty():
    assert YING.prompt("Describe.", "") == "\n<human>:\nDescribe.\n\n<bot>:\n"


@pytest.mark.parametrize(
    ("outputs", "wanted"),
    [("two", "two\n"), (" two \n words ", "two words\n"), ("a\r\n\r\nb", "a b\n"), ("a\u2028b", "a b\n")],
)
def test_a_response_is_one_line(outputs, wanted):
    assert YING.response(outputs) == wanted


@FORMATS
@pytest.mark.parametrize("outputs", ["two", " two \n words ", "一个圆形"])
def test_answer_takes_back_what_response_wrote(name, outputs):
    asked = prompts.FORMATS[name]
    found = asked.answer(asked.response(outputs) + "".join(f"{stop}and more{stop}" for stop in asked.stops))
    assert found == (" ".join(outputs.split()) if asked.has_one_line else outputs.strip())


@pytest.mark.parametrize(
    ("name", "segments"),
    [
        ("ying_vlm", ["\n<human>:\nWhat?\nhint\n<bot>:\n"]),
        ("blip2", ["Question: What? hint Answer:"]),
        ("blip2_t5", ["Question: What? hint Short answer:"]),
        ("instructblip", ["What?\nhint"]),
        ("instructblip_t5", ["What?\nhint"]),
        ("minigpt4", [f"{SAID}###Human: <Img>", "</Img> <Img>", "</Img> What?\nhint###Assistant:"]),
        ("llava", [f"{CHAT} USER: ", "\n", "\nWhat?\nhint ASSISTANT:"]),
    ],
)
def test_turns_are_worded_and_cut_at_pictures_as_released(name, segments):
    assert prompts.FORMATS[name].segments(schema.Turn("What?", "hint", new_pictures=2)) == segments


@FORMATS
def test_a_turn_without_pictures_is_one_text_and_a_later_one_has_no_system_text(name):
    asked = prompts.FORMATS[name]
    (first,), (later,) = asked.segments(schema.Turn("What?")), asked.segments(schema.Turn("What?"), is_first=False)
    assert "{" not in first + later and "What?" in later
    assert first.removeprefix(asked.system) == later.removeprefix(asked.between)
    assert "<Img>" not in first.removeprefix(asked.system) and asked.prompt("What?", "") == first


def test_a_conversation_reads_as_the_released_code_writes_it():
    formats = (MINIGPT4, LLAVA, prompts.FORMATS["blip2"])
    turns = [asked.segments(schema.Turn("Why?"), is_first=False)[0] for asked in formats]
    assert turns == ["###Human: Why?###Assistant:", "USER: Why? ASSISTANT:", ". Question: Why? Answer:"]
    assert LLAVA.has_end_between and not MINIGPT4.has_end_between


def test_a_minigpt4_that_writes_both_sides_is_cut_to_its_answer():
    assert MINIGPT4.answer(" Assistant: A cat.###Human: no") == "A cat."


@FORMATS
@hypothesis.given(text=st.text(alphabet="ab# \n", max_size=12))
@hypothesis.settings(max_examples=100)
def test_what_is_settled_stays_whatever_follows(name, text):
    asked = prompts.FORMATS[name]
    said = ""
    for end in range(len(text) + 1):
        settled = asked.settled(text[:end])
        assert settled.startswith(said)
        said = settled
    assert asked.cut(text).startswith(said)


def test_braces_in_a_question_are_text():
    assert "{question} {0}" in LLAVA.prompt("{question} {0}", "")
    marked = MINIGPT4.segments(schema.Turn("{pictures}", new_pictures=1))
    assert marked[1].startswith("</Img> {pictures}")


@pytest.mark.parametrize(
    ("name", "begin"),
    [
        ("ying_vlm", "\n<human>:\nBe short.\nWhat?"),
        ("blip2", "Question: Be short.\nWhat?"),
        ("instructblip", "Be short.\nWhat?"),
        ("minigpt4", "Be short.###Human: What?"),
        ("llava", "Be short. USER: What?"),
    ],
)
def test_what_was_said_before_all_turns_takes_the_place_of_the_formats_own_words(name, begin):
    asked = prompts.FORMATS[name]
    assert asked.segments(schema.Turn("What?"), system="Be short.")[0].startswith(begin)
    later = schema.Turn("Why?")
    assert asked.segments(later, is_first=False, system="Be short.") == asked.segments(later, is_first=False)


@FORMATS
def test_a_format_is_a_row_of_plain_values(name):
    values = dataclasses.asdict(prompts.FORMATS[name])
    assert prompts.PromptFormat(**values) == prompts.FORMATS[name]
    assert ("{pictures}" in values["turn"]) == values["has_pictures_inside"]


# name -> what holds; what stands before and behind an answer. From the released code that prompts.py names.
BEHAVIOUR = {
    "ying_vlm": ("begin end_id one_line keeps_empty_inputs", "", "\n"),
    "blip2": ("begin one_line", " ", "\n"),
    "blip2_t5": ("prompt_end_id end_id", "", ""),
    "instructblip": ("begin end_id reads_prompt", " ", ""),
    "instructblip_t5": ("prompt_end_id end_id reads_prompt", "", ""),
    "minigpt4": ("begin pictures_inside texts_alone", " ", "###"),
    "llava": ("begin end_id end_between pictures_inside", " ", ""),
}


@FORMATS
def test_ids_and_ends_are_those_of_the_released_code(name):
    asked = prompts.FORMATS[name]
    flags = {
        "begin": asked.has_begin_id,
        "prompt_end_id": asked.has_prompt_end_id,
        "end_id": asked.has_end_id,
        "end_between": asked.has_end_between,
        "one_line": asked.has_one_line,
        "keeps_empty_inputs": asked.keeps_empty_inputs,
        "pictures_inside": asked.has_pictures_inside,
        "texts_alone": asked.has_texts_alone,
        "reads_prompt": asked.qformer_reads_prompt,
    }
    told, before, behind = BEHAVIOUR[name]
    assert {flag for flag, value in flags.items() if value} == set(told.split())
    assert asked.response("two") == f"{before}two{behind}"
    assert asked.stops == ((behind,) if behind else ()), "what ends a wanted answer ends a generated one"


def test_wordings_are_those_of_version_1():
    """Whoever changes a wording above raises the number, so that no model is asked with another's words."""
    assert prompts.TEMPLATE_VERSION == 1


def test_slots_are_filled_once_and_one_without_text_is_told():
    text = "Does [HYPO] follow from [PREMISE]?"
    assert prompts.fill_slots(text, {"HYPO": "[PREMISE]", "PREMISE": "rain", "OTHER": "x"}) == (
        "Does [PREMISE] follow from rain?"
    )
    assert prompts.fill_slots(text, {}) == text
    with pytest.raises(KeyError, match="PREMISE"):
        prompts.fill_slots(text, {"HYPO": "rain"})
    assert prompts.SLOT.findall("[A] [AB] [A_B] [ab] [AB1] AB [ABC") == ["AB", "A_B"]


def test_only_an_answers_own_speaker_and_first_stop_count():
    assert MINIGPT4.answer("Human: no. Assistant: A cat. Assistant: A dog. ### Assistant: x") == "A dog."
    assert LLAVA.answer(" Assistant: a ### b\nc ") == "Assistant: a ### b\nc"
    assert YING.answer(" a \n b") == "a" and YING.cut(" a \n b") == " a "


@pytest.mark.parametrize(
    ("generated", "settled"), [("a", "a"), ("a#", "a"), ("a##", "a"), ("a###b", "a"), ("a#b", "a#b"), ("a##b#", "a##b")]
)
def test_no_more_than_the_beginning_of_a_stop_is_held_back(generated, settled):
    assert MINIGPT4.settled(generated) == settled
