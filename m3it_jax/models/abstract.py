"""The parameters of a variant without their numbers: names and shapes, and fresh values of some of them."""

import functools
from collections.abc import Collection, Mapping
from typing import Any

import jax
import numpy as np

from m3it_jax import parameter_paths
from m3it_jax.models import vlm
from m3it_jax.models.variants import Variant


def smallest_batch(variant: Variant) -> dict[str, Any]:
    """Returns the smallest batch that reaches every parameter."""
    side = variant.vit.image_size
    names = ["token_ids", "image_token_index", "positions", "segment_ids"]
    batch: dict[str, Any] = {name: np.zeros((1, 1), np.int32) for name in names}
    batch["images"] = np.zeros((1, side, side, 3), np.uint8)
    if variant.qformer is not None and variant.qformer.text_vocab_size:
        batch |= {"text_ids": np.zeros((1, 1), np.int32), "text_mask": np.ones((1, 1), bool)}
    return batch


@functools.cache  # tracing takes about a second
def parameters(variant: Variant) -> Mapping[str, Any]:
    """Returns {path: shape and dtype} of all parameters, shared by all who ask; nothing is computed."""
    model = vlm.make_vlm(variant)
    return parameter_paths.flatten(jax.eval_shape(model.init, jax.random.key(0), smallest_batch(variant))["params"])


def fresh(variant: Variant, paths: Collection[str], *, seed: int) -> dict[str, np.ndarray]:
    """Returns {path: array} of parameters as a new model would start with them; no other is made."""
    model = vlm.make_vlm(variant)

    def init(key: jax.Array, batch: dict[str, Any]) -> dict[str, jax.Array]:
        leaves = parameter_paths.flatten(model.init(key, batch)["params"])
        return {path: leaves[path] for path in paths}

    return jax.device_get(jax.jit(init)(jax.random.key(seed), smallest_batch(variant)))
