import pytest

from m3it_jax import prompts


def test_prompt_is_the_published_template():
    # The string of YING-VLM's inference_example.py with its two places filled.
    assert prompts.YING_VLM.prompt("Describe.", "a\nb") == "\n<human>:\nDescribe.\na\nb\n<bot>:\n"


def test_the_line_of_inputs_stays_when_it_is_empty():
    assert prompts.YING_VLM.prompt("Describe.", "") == "\n<human>:\nDescribe.\n\n<bot>:\n"


@pytest.mark.parametrize(
    ("outputs", "wanted"),
    [("two", "two\n"), (" two \n words ", "two words\n"), ("a\r\n\r\nb", "a b\n"), ("a\u2028b", "a b\n")],
)
def test_a_response_is_one_line(outputs, wanted):
    assert prompts.YING_VLM.response(outputs) == wanted


@pytest.mark.parametrize("outputs", ["two", " two \n words ", "一个圆形"])
def test_answer_takes_back_what_response_wrote(outputs):
    assert prompts.YING_VLM.answer(prompts.YING_VLM.response(outputs) + "and more\n") == " ".join(outputs.split())
