import pytest
import tiny_assistant

from m3it_jax import errors
from m3it_jax.generation import pictures
from m3it_jax.generation.request import SamplingConfig
from m3it_jax.serving.conversation import Conversation


def begin(history=0, **sampling):
    return Conversation(
        tiny_assistant.make(), history=history, sampling=SamplingConfig(**{"max_new_tokens": 5, **sampling})
    )


def say(conversation, text):
    return "".join(conversation.ask(text)).strip()


def test_without_history_each_turn_is_answered_as_a_request_of_its_own():
    conversation, picture = begin(), tiny_assistant.png(1)
    conversation.show(pictures.read([picture]))
    for text in ("What colour is the circle?", "left or right", "What colour is the circle?"):
        alone = tiny_assistant.make().generate(text, images=[picture], max_new_tokens=5)
        assert say(conversation, text).rstrip("\ufffd") == alone.rstrip("\ufffd")


def test_with_history_earlier_turns_change_the_answer():
    talked, fresh = begin(history=4), begin(history=4)
    say(talked, "a handwritten seven stands left of a small three")
    answers = say(talked, "What colour?"), say(fresh, "What colour?")
    assert answers[0] != answers[1]
    talked.clear()
    assert say(talked, "What colour?") == answers[1]


def test_turns_that_do_not_fit_are_forgotten_from_the_oldest():
    conversation = begin(history=100)
    for _ in range(8):
        say(conversation, "qz" * 60)  # more than 512 tokens in all
    with pytest.raises(errors.UserError, match="512"):
        say(conversation, "qz" * 300)


def test_pictures_that_cannot_be_shown_are_not_kept():
    conversation = begin()
    for images in ([b"broken"], [tiny_assistant.png()] * 90):
        with pytest.raises(errors.UserError):
            conversation.show(pictures.read(images))
    assert conversation.num_pictures == 0


def test_beam_search_and_empty_lines_are_refused():
    with pytest.raises(errors.ConfigError, match="num_beams=2"):
        begin(num_beams=2)
    with pytest.raises(errors.ConfigError, match="instruction"):
        say(begin(), "  ")
