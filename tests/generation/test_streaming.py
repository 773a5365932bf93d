import dataclasses
import itertools

import numpy as np
import pytest
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


@pytest.mark.parametrize(("seconds", "sizes"), [(0.001, [1, 1, 2, 4, 8, 4]), (0.015, [1] * 20), (0.5, [1] * 20)])
def test_a_call_makes_as_many_tokens_as_pass_in_a_moment(monkeypatch, seconds, sizes):
    clock = itertools.count(0, seconds)  # it is looked at before and after each call
    monkeypatch.setattr(streaming.time, "perf_counter", lambda: next(clock))

    def state(num_new):
        ids = np.where(np.arange(20) < num_new, np.arange(20), 0)
        return {"new_tokens": ids[None], "num_new": np.array([num_new]), "done": np.array([num_new == 20])}

    given = list(streaming.groups(state(1), lambda before, steps: state(min(before["num_new"][0] + steps, 20))))
    assert [len(tokens) for tokens, _ in given] == sizes
    assert [token for tokens, _ in given for token in tokens] == list(range(20))
    assert [end is None for _, end in given] == [True] * (len(sizes) - 1) + [False]
