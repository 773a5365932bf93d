"""Winoground (Thrush et al., arXiv 2204.03162): two pictures and two captions of the same words."""

from collections.abc import Sequence

import numpy as np

from m3it_jax.metrics import checking, sums

# Of an example, in this order.
_ORDER = "caption 0 with picture 0, caption 0 with picture 1, caption 1 with picture 0, caption 1 with picture 1"
_SCORES = 4


def winoground(scores: Sequence[Sequence[float]]) -> dict[str, float]:
    """Returns `{"winoground_text", "winoground_image", "winoground_group"}`, shares of right examples, 0..100.

    Text is right if each picture has its own caption above the other one, image if each caption has its own picture
    above the other one, group if both are. Equal scores are wrong. By chance text and image are 25, group 16.7.

    Args:
      scores: For each example how well caption and picture agree, any number that is greater where they agree better,
        for instance `assistant.log_likelihood`: caption 0 with picture 0, caption 0 with picture 1, caption 1 with
        picture 0, caption 1 with picture 1.

    Raises:
      ScoringError: there is none, an example has not four scores, or one is no number.
    """
    return {name: float(value) for name, value in values(rows(scores).sum(0)).items()}


def rows(scores: Sequence[Sequence[float]]) -> sums.Floats:
    """Returns float64 [examples, 4]: text, image and group right (1) or wrong (0), and 1."""
    checking.count(scores, scores)
    checking.rows(scores, what="four scores", name="scores")
    for number, row in enumerate(scores):
        if len(row) != _SCORES:
            raise checking.ScoringError(f"scores[{number}] has {len(row)} scores, must have four: {_ORDER}")
        for place, score in enumerate(row):
            checking.number(score, f"scores[{number}][{place}]")
    own_0, caption_0_picture_1, caption_1_picture_0, own_1 = np.asarray(scores, np.float64).T
    text = (own_0 > caption_1_picture_0) & (own_1 > caption_0_picture_1)
    image = (own_0 > caption_0_picture_1) & (own_1 > caption_1_picture_0)
    return np.stack((text, image, text & image, np.ones_like(text)), axis=-1).astype(np.float64)


def values(found: sums.Floats) -> dict[str, sums.Floats]:
    """Returns {name: float64 [...]} for sums of rows, float64 [..., 4]."""
    names = ("winoground_text", "winoground_image", "winoground_group")
    return {name: 100.0 * found[..., place] / found[..., 3] for place, name in enumerate(names)}
