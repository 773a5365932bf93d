"""What is known of one picture, for objectives that train the towers alone: its description and its attributes."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from m3it_jax import tokenizer as tokenization

# CHOICE: tokens of one description of a picture, for objectives that read it; the small edition's have at most 14.
CAPTION_LEN = 16


def caption_ids(tokenizer: tokenization.Tokenizer, caption: str) -> list[int]:
    """Returns the first CAPTION_LEN tokens of a picture's description."""
    return tokenizer.encode(caption)[:CAPTION_LEN]


def tower_row(
    tokenizer: tokenization.Tokenizer,
    *,
    caption: str,
    attributes: Mapping[str, Any],
    tables: Mapping[str, Mapping[Any, int]],
) -> dict[str, np.ndarray]:
    """Returns what is known of one picture, for objectives that train the towers alone.

    Args:
      tokenizer: Encodes the caption.
      caption: Description of the picture; may be empty.
      attributes: Name -> value of what the record says about the picture.
      tables: Name -> value -> label, for all attributes of the data folder.

    Returns:
      caption_ids int32 [CAPTION_LEN], 0 where it is shorter, and attributes int32 [len(tables)] in the order of the
      tables' names: the label, or -1 where the record does not say or the value is in no table.
    """
    ids = caption_ids(tokenizer, caption)
    labels = [tables[name].get(attributes.get(name), -1) for name in sorted(tables)]
    return {
        "caption_ids": np.array(ids + [0] * (CAPTION_LEN - len(ids)), np.int32),
        "attributes": np.array(labels, np.int32),
    }
