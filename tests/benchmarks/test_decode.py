"""The benchmark's own arithmetic; what it measures is measured by hand."""

import sys

import numpy as np
import pytest


@pytest.fixture
def decode(monkeypatch):
    import pathlib

    monkeypatch.syspath_prepend(str(pathlib.Path(__file__).parents[2] / "benchmarks"))
    import decode

    yield decode
    sys.modules.pop("decode", None)


def test_the_model_has_the_stated_size_and_a_step_reads_its_kernels(decode):
    params = decode.shapes(decode.own_variant())
    sizes = {part: sum(np.prod(leaf.shape) for leaf in decode.jax.tree.leaves(params[part])) for part in params}
    assert {part: round(size / 1e6, 1) for part, size in sizes.items() if part != "projection"} == {
        "vit": 11.0,
        "qformer": 12.4,
        "decoder": 58.1,
    }
    num_bytes, operations = decode.step_cost(params, decode.own_variant(), num_rows=1)
    assert 160e6 < num_bytes < 175e6 and 80e6 < operations < 90e6  # 167 MB: docs/performance.md


def test_rows_hold_one_picture_each_and_no_placeholder_among_their_text(decode):
    rows = decode.make_rows(3, 32, 32_000)
    assert rows["token_ids"].shape == (3, 128)
    np.testing.assert_array_equal(rows["image_token_index"][1, :32], np.arange(32, 64))
    assert (rows["image_token_index"][:, 32:] == -1).all() and rows["token_ids"].max() < decode.PLACEHOLDER
