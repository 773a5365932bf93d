"""The table of what is trained: it must cover, and every row must matter."""

import pytest

from m3it_jax import errors
from m3it_jax.training import state

PATHS = ["vit/a", "decoder/blocks/attn/query/kernel", "decoder/blocks/attn/key/kernel", "qformer/q"]
STAGE_2 = ((r"qformer/.*", True), (r"decoder/blocks/attn/(query|value)/kernel", True), (r"(vit|decoder)/.*", False))


def test_first_matching_row_decides() -> None:
    decided = state.decide(PATHS, STAGE_2)
    assert [path for path in PATHS if decided[path]] == ["decoder/blocks/attn/query/kernel", "qformer/q"]


def test_an_undecided_parameter_is_named() -> None:
    with pytest.raises(errors.ConfigError, match="vit/a"):
        state.decide(PATHS, STAGE_2[:2] + ((r"decoder/.*", False),))


def test_a_row_that_decides_nothing_is_named() -> None:
    with pytest.raises(errors.ConfigError, match="projektion"):
        state.decide(PATHS, (*STAGE_2, (r"projektion/.*", True)))


def test_a_row_hidden_by_an_earlier_one_is_named() -> None:
    with pytest.raises(errors.ConfigError, match="query"):
        state.decide(PATHS, ((r".*", False), (r"decoder/.*query.*", True)))


def test_split_and_merge_are_inverse() -> None:
    params = {"vit": {"a": 1}, "qformer": {"q": 2}, "decoder": {"blocks": {"attn": {"query": {"kernel": 3}}}}}
    trainable, frozen = state.split(params, STAGE_2)
    assert trainable == {"qformer": {"q": 2}, "decoder": {"blocks": {"attn": {"query": {"kernel": 3}}}}}
    assert frozen == {"vit": {"a": 1}}
    assert state.merge(trainable, frozen) == params


@pytest.mark.parametrize("pattern", [r"decoder/blocks/attn/query", r"decoder", r"attn/query/kernel", r"ecoder/.*"])
def test_a_pattern_must_match_the_whole_path(pattern: str) -> None:
    """A part of a path takes nothing: neither its beginning, nor its end, nor its middle."""
    with pytest.raises(errors.ConfigError, match=f"{pattern!r} decides no parameter".replace("*", r"\*")):
        state.decide(PATHS, ((pattern, True), (r".*", False)))


def test_the_parts_that_a_wrong_row_could_have_meant_are_told() -> None:
    with pytest.raises(errors.ConfigError, match="parts are decoder, qformer, vit$"):
        state.decide(PATHS, ((r"nothing", True), (r".*", False)))


def test_the_whole_tree_of_a_state_is_its_two_halves() -> None:
    halves = {"qformer": {"q": 2}}, {"vit": {"a": 1}, "qformer": {"k": 3}}
    assert state.TrainState(0, *halves, None).params == {"vit": {"a": 1}, "qformer": {"q": 2, "k": 3}}
