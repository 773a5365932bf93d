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
