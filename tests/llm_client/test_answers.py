"""Where answers lie, and which files count as one."""

import json

import pytest

from m3it_jax.llm_client import Answer, Cache, Request, Tokens

REQUEST, ANSWER = Request("toy", (("user", "hello"),), {"seed": 3}), Answer("hi", "stop", Tokens(4, 5))


def test_an_answer_lies_under_the_first_two_digits_of_its_key(tmp_path) -> None:
    cache = Cache(tmp_path)
    assert cache.get(REQUEST) is None
    cache.put(REQUEST, ANSWER)
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert file == tmp_path / REQUEST.key[:2] / f"{REQUEST.key[2:]}.json" and len(REQUEST.key) == 64
    assert json.loads(file.read_text("utf-8")) == {
        "request": {"seed": 3, "model": "toy", "messages": [{"role": "user", "content": "hello"}]},
        "answer": {"text": "hi", "finish": "stop", "prompt_tokens": 4, "answer_tokens": 5},
    }
    assert Cache(tmp_path).get(REQUEST) == ANSWER


@pytest.mark.parametrize("name", ["text", "finish", "prompt_tokens", "answer_tokens"])
@pytest.mark.parametrize("value", [None, -1, 1.5, True, ["x"]])
def test_a_file_with_one_field_that_is_none_of_ours_counts_as_missing(tmp_path, name: str, value) -> None:
    cache = Cache(tmp_path)
    cache.put(REQUEST, ANSWER)
    (file,) = tmp_path.rglob("*.json")
    whole = json.loads(file.read_text("utf-8"))
    whole["answer"][name] = value
    file.write_text(json.dumps(whole), "utf-8")
    assert cache.get(REQUEST) is None


def test_an_answer_to_another_request_counts_as_missing(tmp_path) -> None:
    cache, other = Cache(tmp_path), Request("toy", (("user", "hello"),), {"seed": 4})
    cache.put(REQUEST, ANSWER)
    (tmp_path / other.key[:2]).mkdir(exist_ok=True)
    next(tmp_path.rglob("*.json")).rename(tmp_path / other.key[:2] / f"{other.key[2:]}.json")
    assert cache.get(other) is None


def test_tokens_add_up_kind_by_kind() -> None:
    assert Tokens(1, 2) + Tokens(30, 40) == Tokens(31, 42) and Tokens(31, 42) - Tokens(1, 2) == Tokens(30, 40)
    assert Tokens(31, 42).total() == 73 and Tokens() == Tokens(0, 0)
