"""A T5 whose feed-forward is not gated, as the first T5 has it: no stored checkpoint is one."""

import numpy as np
import pytest
import safetensors.numpy

from m3it_jax.checkpoint_conversion.certificate.plain import folder, t5

WIDTH, HIDDEN, EPSILON = 6, 10, 0.25
CONFIG = {
    "num_layers": 1,
    "num_heads": 2,
    "relative_attention_max_distance": 16,
    "layer_norm_epsilon": EPSILON,
}


@pytest.mark.parametrize("activation", ["relu", "gelu_new"])
def test_a_feed_forward_that_is_not_gated_is_one_product_and_its_activation(tmp_path, activation) -> None:
    draw = np.random.default_rng(0)
    attention = {f"SelfAttention.{name}.weight": draw.normal(size=(WIDTH, WIDTH)) for name in "qkv"}
    attention |= {
        "SelfAttention.o.weight": np.zeros((WIDTH, WIDTH)),  # attention adds nothing, so the rest is the feed-forward
        "SelfAttention.relative_attention_bias.weight": draw.normal(size=(4, 2)),
        "layer_norm.weight": np.ones(WIDTH),
    }
    scale, up, down = draw.normal(size=WIDTH), draw.normal(size=(HIDDEN, WIDTH)), draw.normal(size=(WIDTH, HIDDEN))
    plain = {"layer_norm.weight": scale, "DenseReluDense.wi.weight": up, "DenseReluDense.wo.weight": down}
    tensors = {f"encoder.block.0.layer.0.{name}": array for name, array in attention.items()}
    tensors |= {f"encoder.block.0.layer.1.{name}": array for name, array in plain.items()}
    tensors |= {"encoder.final_layer_norm.weight": np.ones(WIDTH)}
    safetensors.numpy.save_file(tensors, tmp_path / folder.SINGLE_FILE)
    x = draw.normal(size=(5, WIDTH))
    config = CONFIG | {"is_gated_act": False, "dense_act_fn": activation}
    before, after, _ = t5.encoder_states(folder.tensors(tmp_path).under("encoder."), config, x)
    hidden = (x / np.sqrt((x**2).mean(-1, keepdims=True) + EPSILON) * scale) @ up.T
    assert (hidden < 0).any() and (hidden > 0).any()
    if activation == "relu":
        hidden = np.maximum(hidden, 0)
    else:
        hidden = hidden / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (hidden + 0.044715 * hidden**3)))
    np.testing.assert_array_equal(before, x)
    np.testing.assert_allclose(after, x + hidden @ down.T, atol=1e-12)
