"""Room for the picture's placeholder in an exported vocabulary.

transformers puts `<image>` into a row of ids for each position of a picture, and looks its embedding up before the
picture's own vector takes the place. A vocabulary without a free row for it grows by one, in its embedding and its
head, and the scores of all other tokens stay what they are:

    ids of the tokenizer      0 ... 2559            <image> would be 2560
    rows of the run           0 ... 2559            none is free
    rows of the export        0 ... 2559  2560      image_token_index 2560, vocab_size 2561
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from m3it_jax.checkpoint_conversion.files import sources
from m3it_jax.checkpoint_conversion.files.sources import Made, Source
from m3it_jax.models.variants import Variant

# Our parameters with a row (of the head: a column) for each token, and the axis of the tokens.
VOCABULARY = {"decoder/token_embedding/embedding": 0, "decoder/head/kernel": 1}

# CHOICE: a new row is the one of padding made a little smaller. Its score then never leads, since padding's would be
# above it or both below a better one; and its embedding is not padding's, by which transformers could mistake a place.
_SHARE = 63 / 64


def num_added(variant: Variant, image_id: int) -> int:
    """Returns how many rows a vocabulary lacks for the placeholder."""
    return max(0, image_id + 1 - variant.decoder.vocab_size)


def grown_variant(variant: Variant, count: int) -> Variant:
    """Returns a model with so many tokens more."""
    decoder = dataclasses.replace(variant.decoder, vocab_size=variant.decoder.vocab_size + count)
    return dataclasses.replace(variant, decoder=decoder) if count else variant


def grown(params: Mapping[str, np.ndarray], count: int, *, pad_id: int) -> dict[str, np.ndarray]:
    """Returns parameters by path with so many tokens more; all others are the same arrays."""
    made = dict(params)
    for path, axis in VOCABULARY.items() if count else ():
        if path in made:
            new = np.repeat(_row(np.take(made[path], [pad_id], axis=axis)), count, axis=axis)
            made[path] = np.concatenate([made[path], new], axis=axis)
    return made


def added_rows(source: Source, path: str, *, count: int, pad_id: int) -> Made:
    """Returns the new rows [count, D] of the tensor that a parameter becomes, in the file's order.

    Args:
      source: The parameter.
      path: Its path, of `VOCABULARY`.
      count: How many.
      pad_id: The row that they resemble.
    """
    tokens = VOCABULARY[path]
    width = source.shape[1 - tokens]

    def make() -> np.ndarray:
        with source.opened() as terms:
            whole = sources.block(terms, 0, source.shape[0] * source.shape[1]).reshape(source.shape)
            row = _row(np.take(whole, pad_id, axis=tokens))
        return np.tile(row, (count, 1))

    return Made(source.dtype, (count, width), Path(path), make)


def _row(padding: np.ndarray) -> np.ndarray:
    return (padding.astype(np.float32) * np.float32(_SHARE)).astype(padding.dtype)
