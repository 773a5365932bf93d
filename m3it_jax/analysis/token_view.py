"""A row of tokens as pages show it: what stands for a picture, what is given, what is learned."""

from collections.abc import Mapping

import numpy as np

from m3it_jax import tokenizer as tokenization

PICTURE, GIVEN, LEARNED = "picture", "given", "learned"

_NEWLINE = "<0x0A>"  # SentencePiece's piece for the byte


def tokens(row: Mapping[str, np.ndarray], tokenizer: tokenization.Tokenizer) -> list[tuple[str, str]]:
    """Returns (kind, spelling) of each token of a row [T], as `rows.transforms` lays it out; none of padding.

    A newline is spelled `⏎`, a query token of a picture `▦`; everything else as the vocabulary has it.
    """
    shown = []
    for place in np.flatnonzero(row["segment_ids"]):
        if row["image_token_index"][place] >= 0:
            shown.append((PICTURE, "▦"))
        else:
            piece = tokenizer.piece(int(row["token_ids"][place]))
            kind = LEARNED if row["loss_mask"][place] else GIVEN
            shown.append((kind, "⏎" if piece == _NEWLINE else piece))
    return shown
