"""The vision tower: where a patch comes from, what it is told of its place, which tokens come out."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_models

from m3it_jax.models import vit


@pytest.mark.parametrize(("side", "width"), [(4, 24), (3, 16), (1, 8), (5, 22)])
def test_a_place_is_told_by_sines_of_its_column_and_row(side: int, width: int) -> None:
    """A quarter of the width each: sine and cosine of the column, then of the row; frequencies fall to 1 / 10,000."""
    positions = vit.sincos_positions(side * side + 1, width)
    assert positions.shape == (side * side + 1, width) and positions.dtype == np.float32
    assert not positions[0].any()  # the class token has no place
    quarter = width // 4
    for number in range(side * side):
        row, column = number // side, number % side
        wanted = []
        for place in (column, row):
            angles = [place * 10_000.0 ** (-step / max(quarter - 1, 1)) for step in range(quarter)]
            wanted += [np.sin(angle) for angle in angles] + [np.cos(angle) for angle in angles]
        np.testing.assert_allclose(positions[number + 1, : 4 * quarter], wanted, atol=1e-6)
    assert not positions[:, 4 * quarter :].any()


def test_a_token_begins_as_its_own_patch_and_no_other() -> None:
    """The embedding alone, without blocks: each patch is a product of the pixels in its square of the picture."""
    config = dataclasses.replace(small_models.EVA, num_layers=1, has_final_norm=False)
    tower = vit.ViT(config, jnp.dtype("float32"))
    images = np.random.default_rng(0).normal(size=(2, 28, 28, 3)).astype(np.float32)
    params = jax.jit(tower.init)(jax.random.key(0), images)["params"]
    # Blocks that add nothing: what is left is what went in.
    for name in ("attn", "mlp"):
        out = params["blocks"][name]["out" if name == "attn" else "down"]
        out.update({field: jnp.zeros_like(leaf) for field, leaf in out.items()})
    tokens = np.asarray(jax.jit(tower.apply)({"params": params}, images))
    kernel, bias = (np.asarray(params["patch_embedding"][field]) for field in ("kernel", "bias"))
    places = np.asarray(params["position_embedding"])
    side, patch = 28 // config.patch_size, config.patch_size
    assert tokens.shape == (2, side * side + 1, config.embed_dim) and config.num_positions == side * side + 1
    np.testing.assert_allclose(
        tokens[:, 0], np.asarray(params["class_token"] + places[0])[None].repeat(2, 0), atol=1e-5
    )
    for number in range(side * side):
        row, column = divmod(number, side)
        square = images[:, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch]
        wanted = np.einsum("IYXC,YXCD->ID", square, kernel) + bias + places[number + 1]
        np.testing.assert_allclose(tokens[:, number + 1], wanted, atol=1e-4)


def test_the_class_token_comes_out_only_where_it_is_kept() -> None:
    for keeps in (True, False):
        config = dataclasses.replace(small_models.CLIP, keeps_class_token=keeps)
        tokens = jax.eval_shape(
            vit.ViT(config, jnp.dtype("float32")).init_with_output, jax.random.key(0), jnp.zeros((1, 42, 42, 3))
        )[0]
        assert tokens.shape[1] == config.num_tokens == config.num_positions - (not keeps)


def _normed(x: np.ndarray, norm: dict[str, np.ndarray], epsilon: float) -> np.ndarray:
    spread = np.sqrt(x.var(-1, keepdims=True) + epsilon)
    return (x - x.mean(-1, keepdims=True)) / spread * norm["scale"] + norm["bias"]


@pytest.mark.parametrize("family", ["EVA", "CLIP"])
def test_a_block_adds_attention_and_then_a_feed_forward_to_what_went_in(family: str) -> None:
    """Against NumPy, every parameter of it other than zero."""
    config = getattr(small_models, family)
    block, rng = vit.ViTBlock(config, jnp.dtype("float32")), np.random.default_rng(0)
    x = rng.normal(size=(2, 5, config.embed_dim))
    shapes = jax.eval_shape(block.init, jax.random.key(0), jnp.asarray(x, jnp.float32), None)["params"]
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape) * 0.5, shapes)
    inputs = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), (params, x))
    found, kept = block.apply({"params": inputs[0]}, inputs[1], None)
    attn, mlp, width = params["attn"], params["mlp"], config.embed_dim // config.num_heads
    normed = _normed(x, params["attn_norm"], config.layer_norm_epsilon)
    query, key, value = (
        np.einsum("ipd,dnh->inph", normed, attn[name]["kernel"]) + attn[name]["bias"][:, None]
        for name in ("query", "key", "value")
    )
    weights = np.exp(np.einsum("inph,insh->inps", query, key) / math.sqrt(width))
    weights /= weights.sum(-1, keepdims=True)
    assert weights.std() > 0.1  # it does not look everywhere alike
    attended = np.einsum("inps,insh,nhd->ipd", weights, value, attn["out"]["kernel"]) + attn["out"]["bias"]
    wanted = x + attended
    hidden = _normed(wanted, params["mlp_norm"], config.layer_norm_epsilon) @ mlp["up"]["kernel"] + mlp["up"]["bias"]
    if family == "CLIP":
        hidden = hidden / (1 + np.exp(-1.702 * hidden))
    else:
        hidden = hidden * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2))) / 2
    wanted = wanted + hidden @ mlp["down"]["kernel"] + mlp["down"]["bias"]
    assert kept is None
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-3)
