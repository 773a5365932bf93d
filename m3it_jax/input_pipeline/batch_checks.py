"""What is checked of the first batch, before anything is compiled: a run that could learn nothing stops at once."""

import numpy as np
import numpy.typing as npt

from m3it_jax import errors
from m3it_jax.input_pipeline.rows import transforms

Batch = dict[str, np.ndarray]


def check_first_batch(batch: Batch, layout: transforms.Layout, *, vocab_size: int, record_ids: list[str]) -> None:
    """Checks a batch before the first step, so that a run which could learn nothing stops at once.

    In packed rows the image tokens are those of the pictures in the row's first slots, each once.

    Args:
      batch: Of the objective `response`.
      layout: Its `picture_len` says how many image tokens each row must have.
      vocab_size: Ids must be below it.
      record_ids: The rows' records, for the message.

    Raises:
      UserError: a row with no token to learn from, one whose image tokens are not exactly those of its pictures, or an
        id outside the vocabulary.
    """

    def refuse(broken: npt.ArrayLike, reason: str) -> None:
        broken = np.asarray(broken)
        if broken.any():
            named = ", ".join(np.asarray(record_ids)[broken][:3])
            raise errors.UserError(f"{int(broken.sum())} of {len(broken)} rows {reason}, for instance {named}")

    ids, index = batch["token_ids"], batch["image_token_index"]
    refuse(((ids < 0) | (ids >= vocab_size)).any(axis=1), f"hold token ids outside the vocabulary of {vocab_size}")
    real = batch["segment_ids"] > 0
    refuse(~((batch["loss_mask"] > 0) & real).any(axis=1), "have no token to learn from; look at data.max_text_len")
    if "parent_ids" in batch:
        shown = [row[row >= 0] for row in index]
        broken = [len(row) % layout.picture_len > 0 or not np.array_equal(row, np.arange(len(row))) for row in shown]
        return refuse(broken, "have lost image tokens; the row layout is broken")
    queries = len(batch["images"]) // len(ids) * layout.picture_len if "images" in batch else 0
    first = max(int(index.max()), 0) // max(len(ids) * queries, 1) * len(ids)  # of this host's rows in the step
    wanted = np.arange(queries) + queries * (first + np.arange(len(ids)))[:, None]
    shown = [row[row >= 0] for row in np.where(real, index, -1)]
    lost = [not np.array_equal(have, want) for have, want in zip(shown, wanted, strict=True)]
    refuse(lost, f"have lost image tokens ({queries} each); the row layout is broken")
