"""A model run layer by layer from stored parameters gives what the whole model gives."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_models import OPT, SMALL, T5

from m3it_jax import parameter_paths
from m3it_jax.checkpoint_conversion.certificate.layerwise import LayerwiseModel
from m3it_jax.models import variants, vlm

# Between them every kind of part but the LLaMA, which each certificate in the tests has.
VARIANTS = {
    "instructblip_t5": dataclasses.replace(SMALL["instructblip"], decoder=T5),
    "llava_opt": dataclasses.replace(SMALL["llava"], decoder=OPT),
}


def _batch(variant: variants.Variant, pixels: np.ndarray, row: np.ndarray, text_ids: np.ndarray | None) -> dict:
    batch = {
        "images": pixels[None],
        "token_ids": np.maximum(row, 0)[None],
        "image_token_index": np.where(row < 0, np.cumsum(row < 0) - 1, -1)[None],
        "positions": np.arange(len(row))[None],
        "segment_ids": np.ones((1, len(row)), int),
    }
    batch = {name: jnp.asarray(array, jnp.float32 if name == "images" else jnp.int32) for name, array in batch.items()}
    if text_ids is not None:
        batch |= {"text_ids": jnp.asarray(text_ids[None], jnp.int32), "text_mask": jnp.ones((1, len(text_ids)), bool)}
    if variant.decoder is T5:
        batch["decoder_ids"] = jnp.asarray([[0, 5, 9, 2]])
    return batch


def _through(steps, context=None, start=None):
    for step in steps:
        start = step(start, context)
    return start


@pytest.mark.parametrize("name", VARIANTS)
def test_layers_one_by_one_give_the_whole_models_scores(name):
    variant, draw = VARIANTS[name], np.random.default_rng(0)
    model = vlm.make_vlm(variant)
    side = variant.vit.image_size
    pixels = draw.normal(size=(side, side, 3)).astype(np.float32)
    row = np.concatenate([np.full(variant.picture_len, -1), draw.integers(3, 50, 7)])
    text_ids = draw.integers(1, 30, 5) if name.startswith("instructblip") else None
    batch = _batch(variant, pixels, row, text_ids)
    shapes = jax.eval_shape(model.init, jax.random.key(0), batch)["params"]
    params = jax.tree.map(lambda leaf: jnp.asarray(draw.normal(size=leaf.shape, scale=0.2), jnp.float32), shapes)
    whole = np.asarray(jax.jit(model.apply)({"params": params}, batch))[0]

    layerwise = LayerwiseModel(variant, parameter_paths.flatten(params))
    patches = layerwise.patches(_through(layerwise.vit_steps(pixels)))
    if variant.qformer is not None:
        ids = () if text_ids is None else text_ids
        patches = _through(layerwise.qformer_steps(ids), patches)[: variant.qformer.num_queries]
    pictures = layerwise.projection_step()(patches, None)
    if variant.decoder is T5:
        encoded = _through(layerwise.encoder_steps(row), pictures)
        hidden = _through(layerwise.decoder_steps([0, 5, 9, 2]), encoded)
    else:
        hidden = _through(layerwise.decoder_steps(row), pictures)
    np.testing.assert_allclose(layerwise.logits_step()(hidden, None), whole, rtol=0, atol=1e-5 * np.abs(whole).max())
