"""Batches to train small models on: rows of unequal length and numbers of supervised tokens, single or packed.

`KEEPING` is an optimiser that changes nothing and keeps the gradient, before rounding has made a step of it.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from m3it_jax import parameter_paths
from m3it_jax.models.variants import Variant

KEEPING = optax.GradientTransformation(
    lambda params: jax.tree.map(jnp.zeros_like, params),
    lambda gradients, _, params: (jax.tree.map(jnp.zeros_like, gradients), gradients),
)
NUM_SOURCES = 3
TEXT = 9  # places of text in a row


def single(variant: Variant, *, num_rows: int = 8, num_images: int = 2, seed: int = 0) -> dict[str, np.ndarray]:
    """Returns rows that begin with their pictures; row r has r % 5 + 1 supervised tokens and some padding."""
    rng = np.random.default_rng(seed)
    queries = variant.picture_len * num_images
    length = queries + TEXT
    lengths = length - np.arange(num_rows) % 3
    index = np.full((num_rows, length), -1, np.int32)
    index[:, :queries] = np.arange(num_rows * queries).reshape(num_rows, queries)
    places = np.arange(length)[None]
    supervised = (places < lengths[:, None]) & (places >= lengths[:, None] - np.arange(num_rows)[:, None] % 5 - 1)
    return {
        "token_ids": rng.integers(3, variant.decoder.vocab_size, (num_rows, length)).astype(np.int32),
        "image_token_index": index,
        "positions": np.tile(np.arange(length, dtype=np.int32), (num_rows, 1)),
        "segment_ids": (places < lengths[:, None]).astype(np.int32),
        "loss_mask": supervised.astype(np.float32),
        "source_index": (np.arange(num_rows) % NUM_SOURCES).astype(np.int32),
        **_pictures(variant, num_rows * num_images, rng),
    }


def packed(variant: Variant, *, num_rows: int = 8, seed: int = 0) -> dict[str, np.ndarray]:
    """Returns rows of two slots: a picture with two records that share it, then, in every other row, a second one."""
    rng = np.random.default_rng(seed)
    picture, length = variant.picture_len, 2 * (variant.picture_len + TEXT)
    row = {name: np.zeros((num_rows, length), np.int32) for name in ("segment_ids", "parent_ids", "positions")}
    row["image_token_index"] = np.full((num_rows, length), -1, np.int32)
    mask, sources = np.zeros((num_rows, length), np.float32), np.zeros((num_rows, length), np.int32)
    for number in range(num_rows):
        place, segment = 0, 1
        for slot in range(1 + number % 2):
            parent = segment
            for size, is_text in ((picture, False), (3 + number % 3, True), (4, True)):
                cells = slice(place, place + size)
                row["segment_ids"][number, cells], row["parent_ids"][number, cells] = segment, parent
                row["positions"][number, cells] = np.arange(size) + picture * is_text
                if is_text:
                    mask[number, place + size - 1 - number % 3 : place + size] = 1.0
                    sources[number, cells] = (number + segment) % NUM_SOURCES
                else:
                    row["image_token_index"][number, cells] = np.arange(size) + slot * picture
                place, segment = place + size, segment + 1
    return {
        **row,
        "token_ids": rng.integers(3, variant.decoder.vocab_size, (num_rows, length)).astype(np.int32),
        "loss_mask": mask,
        "source_index": sources,
        "num_records": (2 + 2 * (np.arange(num_rows) % 2)).astype(np.int32),
        **_pictures(variant, num_rows * 2, rng),
    }


def _pictures(variant: Variant, count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    side = variant.vit.image_size
    made = {"images": rng.integers(0, 256, (count, side, side, 3), np.uint8)}
    if variant.qformer is not None and variant.qformer.text_vocab_size:
        made["text_ids"] = rng.integers(0, variant.qformer.text_vocab_size, (count, 5)).astype(np.int32)
        made["text_mask"] = np.arange(5)[None] < 5 - np.arange(count)[:, None] % 3
    return made


def assert_same_gradients(found, wanted) -> None:
    """Checks trees of gradients leaf by leaf: 1e-5 of the largest number of the leaf, but of noise around zero."""
    found, wanted = parameter_paths.flatten(found), parameter_paths.flatten(wanted)
    assert found.keys() == wanted.keys() and found
    for path, leaf in wanted.items():
        if path.endswith("key/bias"):  # has no gradient: softmax takes a shift of all scores away
            assert np.abs(found[path]).max() < 1e-6 and np.abs(leaf).max() < 1e-6, path
            continue
        scale = max(float(np.abs(leaf).max()), 1e-4)
        np.testing.assert_allclose(found[path], leaf, rtol=0, atol=1e-5 * scale, err_msg=path)
