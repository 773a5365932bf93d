"""Schedule, decay mask, and what Muon takes for a matrix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from m3it_jax import parameter_paths
from m3it_jax.config import OptimizerConfig
from m3it_jax.training import optimizer


def test_schedule_of_the_paper() -> None:
    """0 at step 0, 5e-5 at 2,000, 0 at the end (arXiv 2306.04387, section 4.1)."""
    rate = optimizer.schedule(OptimizerConfig(warmup_steps=2_000), 300_000, 5e-5)
    assert float(rate(0)) == 0.0
    assert float(rate(1_000)) == pytest.approx(2.5e-5)
    assert float(rate(2_000)) == pytest.approx(5e-5)
    assert float(rate(151_000)) == pytest.approx(2.5e-5, rel=1e-3)
    assert float(rate(300_000)) == pytest.approx(0.0, abs=1e-12)


def test_hold_then_linear_decay() -> None:
    config = OptimizerConfig(warmup_steps=10, hold_share=0.5, decay="linear", end_share=0.1)
    rate = optimizer.schedule(config, 100, 1.0)
    assert [float(rate(step)) for step in (5, 10, 50)] == pytest.approx([0.5, 1.0, 1.0])
    assert float(rate(75)) == pytest.approx(0.55, rel=1e-3)
    assert float(rate(100)) == pytest.approx(0.1, rel=1e-3)


PARAMS = {
    "decoder": {
        "blocks": {
            "attn": {"query": {"kernel": jnp.ones((2, 8, 2, 4))}, "out": {"kernel": jnp.ones((2, 2, 4, 8))}},
            "attn_norm": {"scale": jnp.ones((2, 8))},
        },
        "token_embedding": {"embedding": jnp.ones((16, 8))},
    }
}


def test_only_matrices_decay() -> None:
    mask = parameter_paths.flatten(optimizer.decay_mask(PARAMS))
    assert {path for path, decays in mask.items() if decays} == {
        "decoder/blocks/attn/query/kernel",
        "decoder/blocks/attn/out/kernel",
    }


def test_muon_orthogonalises_each_layer_apart() -> None:
    """Singular values of the update are about equal within a layer, whatever the gradient's scale in another."""
    config = OptimizerConfig(name="muon", warmup_steps=0, weight_decay=0.0, clip_norm=1e9, matrix_learning_rate=1.0)
    transform = optimizer.make_optimizer(config, 10)
    gradients = jax.tree.map(lambda x: jax.random.normal(jax.random.key(0), x.shape), PARAMS)
    kernel = gradients["decoder"]["blocks"]["attn"]["out"]["kernel"]
    gradients["decoder"]["blocks"]["attn"]["out"]["kernel"] = kernel.at[1].multiply(1e3)
    updates, _ = transform.update(gradients, transform.init(PARAMS), PARAMS)
    for name, shape in (("query", (8, 8)), ("out", (8, 8))):
        update = np.asarray(updates["decoder"]["blocks"]["attn"][name]["kernel"])
        for layer in update:
            values = np.linalg.svd(layer.reshape(shape), compute_uv=False)
            # Newton-Schulz with Muon's coefficients leaves singular values between about 0.7 and 1.2.
            assert 0.5 < values[-2] <= values[0] < 1.5
