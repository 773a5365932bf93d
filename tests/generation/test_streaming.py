import dataclasses

import tiny_assistant

from m3it_jax import prompts
from m3it_jax.generation import streaming

FORMAT = dataclasses.replace(prompts.YING_VLM, stops=("\n", "###"))


def pieces(text, prompt_format=FORMAT):
    tokenizer = tiny_assistant.words()
    return list(streaming.pieces(tokenizer.encode(text), tokenizer.decode, prompt_format))


def test_pieces_join_to_the_text_up_to_its_stop():
    assert "".join(pieces("a blue circle\nred")) == "a blue circle"
    assert "".join(pieces("a blue circle### red")) == "a blue circle"
    assert len(pieces("a blue circle left of a three")) > 2


def test_what_may_be_the_beginning_of_a_stop_waits():
    text = "left ## right"
    given = pieces(text)
    assert "".join(given) == text
    assert not any(piece.endswith("#") for piece in given)


def test_a_character_of_several_byte_pieces_comes_whole():
    given = pieces("a 🦊 b")
    assert "".join(given) == "a 🦊 b"
    assert all("\ufffd" not in piece for piece in given)
