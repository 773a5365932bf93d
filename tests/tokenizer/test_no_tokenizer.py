import shutil

import numpy as np
import pytest
from checkpoint_conversion.small_folders import STORED

import m3it_jax
from m3it_jax import errors
from m3it_jax.checkpoint_conversion.folders import importing


def test_imported_weights_without_a_tokenizer_take_ids_alone(tmp_path):
    shutil.copytree(STORED / "blip2_opt", tmp_path / "in")
    importing.convert(tmp_path / "in", tmp_path / "whole")
    for path in (tmp_path / "in").iterdir():
        if any(word in path.name for word in ("token", "vocab", "merges")):
            path.unlink()
    importing.convert(tmp_path / "in", tmp_path / "ids")
    picture = np.random.default_rng(0).normal(size=(3, 28, 28)).astype(np.float32)
    ids = [2, 9, 17, 44]
    alone = m3it_jax.load(tmp_path / "ids")
    np.testing.assert_array_equal(
        alone.logits([picture], ids), m3it_jax.load(tmp_path / "whole").logits([picture], ids)
    )
    with pytest.raises(errors.UserError, match=r"tokenizer\.\w+: is missing, so .* token ids and no text"):
        alone.generate("What is it?", images=[picture])
