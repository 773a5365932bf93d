"""A model run layer by layer from stored parameters gives what the whole model gives."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from m3it_jax import parameter_paths
from m3it_jax.checkpoint_conversion.layerwise import LayerwiseModel
from m3it_jax.models import encoder_decoder, variants, vlm
from m3it_jax.models.projection import ProjectionConfig

TINY = variants.VARIANTS["tiny"]
T5 = encoder_decoder.EncoderDecoderConfig(
    vocab_size=61,
    embed_dim=20,
    mlp_dim=28,
    num_encoder_layers=2,
    num_layers=3,
    num_heads=3,
    head_dim=6,
    relative_buckets=8,
    relative_max_distance=12,
    activation="gelu_tanh",
    has_tied_head=True,
    rms_norm_epsilon=1e-6,
    max_len=64,
    start_id=0,
)
OPT = dataclasses.replace(
    TINY.decoder,
    vocab_size=67,
    norm="layer",
    positions="learned",
    position_offset=2,
    has_biases=True,
    mlp="plain",
    activation="relu",
    has_tied_head=True,
)
CLIP = dataclasses.replace(
    TINY.vit, has_patch_bias=False, has_input_norm=True, has_final_norm=False, keeps_class_token=False
)
VARIANTS = {
    "ying_vlm": dataclasses.replace(TINY, decoder=dataclasses.replace(TINY.decoder, vocab_size=59, num_kv_heads=1)),
    "blip2_opt": dataclasses.replace(TINY, decoder=OPT),
    "instructblip_t5": dataclasses.replace(
        TINY, qformer=dataclasses.replace(TINY.qformer, text_vocab_size=31, text_max_len=16), decoder=T5
    ),
    "llava": dataclasses.replace(
        TINY,
        vit=CLIP,
        qformer=None,
        projection=ProjectionConfig(mlp_dim=24, activation="gelu"),
        decoder=dataclasses.replace(TINY.decoder, vocab_size=59),
    ),
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
    pixels = draw.normal(size=(64, 64, 3)).astype(np.float32)
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
