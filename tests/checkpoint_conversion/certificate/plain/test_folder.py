"""Reading tensors of a Hugging Face folder, and what is said of a damaged one."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from m3it_jax import errors
from m3it_jax.checkpoint_conversion.certificate.plain import folder


@pytest.fixture
def matrix(tmp_path):
    values = np.random.default_rng(0).normal(size=(9_001, 3)).astype(np.float32)
    safetensors.numpy.save_file(
        {"a.weight": values, "a.half": values[:5].astype(jnp.bfloat16)}, tmp_path / "model.safetensors"
    )
    return values


def test_rows_and_products_are_those_of_the_whole(tmp_path, matrix):
    tensors = folder.tensors(tmp_path).under("x.", "a.")
    assert sorted(tensors) == ["half", "weight"] and tensors.has("half") and tensors.optional("bias") is None
    np.testing.assert_array_equal(tensors.rows("weight", [7, 0, 9_000]), matrix[[7, 0, 9_000]])
    x = np.random.default_rng(1).normal(size=(2, 3))
    np.testing.assert_allclose(tensors.product(x, "weight"), x @ matrix.astype(np.float64).T, rtol=1e-12)
    assert tensors("half").dtype == np.float64 and tensors.raw("half").dtype == jnp.bfloat16


def test_what_is_missing_or_damaged_is_named(tmp_path, matrix):
    tensors = folder.tensors(tmp_path)
    with pytest.raises(errors.UserError, match="has no tensor b.weight"):
        tensors("b.weight")
    with pytest.raises(errors.UserError, match=r"has no tensor vision_model\.\*"):
        tensors.under("vision_model.", "model.vision_model.")
    (tmp_path / "model.safetensors").write_bytes((tmp_path / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(errors.UserError, match="model.safetensors: cannot be read"):
        folder.tensors(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(errors.UserError, match="has neither model.safetensors nor"):
        folder.tensors(tmp_path)


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", 3])
def test_an_index_names_files_of_its_folder_alone(tmp_path, matrix, name):
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / folder.INDEX_FILE).write_text(json.dumps({"weight_map": {"a.weight": name}}))
    with pytest.raises(errors.UserError, match="names no file beside it"):
        folder.tensors(inner)


@pytest.mark.parametrize(("content", "message"), [("{", "is no JSON"), ("[]", "holds no JSON object")])
def test_a_json_file_must_hold_an_object(tmp_path, content, message):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(errors.UserError, match=message):
        folder.read_json(tmp_path / "config.json")
    with pytest.raises(errors.UserError, match="cannot be read"):
        folder.read_json(tmp_path / "other.json")
