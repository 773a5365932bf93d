"""A model of every family with small, odd sizes: what a shortcut in the code would trip over."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from m3it_jax.models import vlm
from m3it_jax.models.projection import ProjectionConfig
from m3it_jax.models.variants import CLIP_L_336, EVA_G, QFORMER, TEXT_QFORMER, VARIANTS, Variant

EVA = dataclasses.replace(EVA_G, image_size=28, embed_dim=24, mlp_dim=40, num_layers=3, num_heads=2)
CLIP = dataclasses.replace(CLIP_L_336, image_size=42, embed_dim=24, mlp_dim=40, num_layers=2, num_heads=2)
SIZES = {"num_queries": 6, "embed_dim": 16, "mlp_dim": 24, "num_layers": 4, "num_heads": 2}
READER = dataclasses.replace(QFORMER, **SIZES)
TEXT_READER = dataclasses.replace(TEXT_QFORMER, **SIZES, text_vocab_size=51, text_max_len=20)
LLAMA = dataclasses.replace(
    VARIANTS["ying_vlm_13b"].decoder,
    vocab_size=78,
    embed_dim=20,
    mlp_dim=28,
    num_layers=3,
    num_heads=4,
    num_kv_heads=2,
    head_dim=6,
    max_len=64,
)
OPT = dataclasses.replace(
    VARIANTS["blip2_opt_2.7b"].decoder,
    vocab_size=78,
    embed_dim=24,
    mlp_dim=28,
    num_layers=3,
    num_heads=4,
    num_kv_heads=4,
    head_dim=6,
    max_len=64,
)
T5 = dataclasses.replace(
    VARIANTS["blip2_flan_t5_xl"].decoder,
    vocab_size=78,
    embed_dim=20,
    mlp_dim=28,
    num_encoder_layers=3,
    num_layers=2,
    num_heads=4,
    head_dim=6,
    relative_buckets=10,
    relative_max_distance=17,
    max_len=64,
)

SMALL: dict[str, Variant] = {
    "ying_vlm": dataclasses.replace(VARIANTS["ying_vlm_13b"], vit=EVA, qformer=READER, decoder=LLAMA),
    "blip2_opt": dataclasses.replace(VARIANTS["blip2_opt_2.7b"], vit=EVA, qformer=READER, decoder=OPT),
    "blip2_t5": dataclasses.replace(VARIANTS["blip2_flan_t5_xl"], vit=EVA, qformer=READER, decoder=T5),
    "instructblip": dataclasses.replace(
        VARIANTS["instructblip_vicuna_7b"], vit=EVA, qformer=TEXT_READER, decoder=LLAMA
    ),
    "llava": dataclasses.replace(
        VARIANTS["llava_1.5_7b"], vit=CLIP, projection=ProjectionConfig(28, "gelu"), decoder=LLAMA
    ),
}


def make_batch(variant: Variant, *, num_rows: int = 2, text_len: int = 7) -> dict[str, np.ndarray]:
    """Returns rows of one picture and text; each row has one token of text fewer than the one before."""
    rng = np.random.default_rng(0)
    length = variant.picture_len + text_len
    index = np.full((num_rows, length), -1, np.int32)
    index[:, : variant.picture_len] = np.arange(num_rows * variant.picture_len).reshape(num_rows, -1)
    lengths = length - np.arange(num_rows)
    batch = {
        "images": rng.integers(0, 256, (num_rows, variant.vit.image_size, variant.vit.image_size, 3), np.uint8),
        "token_ids": rng.integers(0, variant.decoder.vocab_size, (num_rows, length), np.int32),
        "image_token_index": index,
        "positions": np.tile(np.arange(length, dtype=np.int32), (num_rows, 1)),
        "segment_ids": (np.arange(length)[None] < lengths[:, None]).astype(np.int32),
    }
    if variant.is_encoder_decoder:
        batch["decoder_ids"] = rng.integers(1, variant.decoder.vocab_size, (num_rows, 5), np.int32)
        batch["decoder_ids"][:, 0] = variant.decoder.start_id
    if variant.qformer is not None and variant.qformer.text_vocab_size:
        batch["text_ids"] = rng.integers(0, variant.qformer.text_vocab_size, (num_rows, 5), np.int32)
        batch["text_mask"] = np.arange(5)[None] < 5 - np.arange(num_rows)[:, None]
    return batch


@functools.cache
def shapes(name: str) -> dict:
    """Returns the shapes of all parameters of a small model."""
    model, batch = vlm.make_vlm(SMALL[name]), make_batch(SMALL[name])
    return jax.eval_shape(model.init, jax.random.key(0), batch)["params"]


@functools.cache
def make(name: str) -> tuple[vlm.VLM, dict]:
    """Returns a small model and parameters, biases and norms among them, that are all at random."""
    leaves, tree = jax.tree.flatten(shapes(name))
    rng = np.random.default_rng(1)
    spread = [jnp.asarray(rng.normal(0.0, 0.3, leaf.shape) + (leaf.ndim == 1), leaf.dtype) for leaf in leaves]
    return vlm.make_vlm(SMALL[name]), tree.unflatten(spread)
