"""One record as a row of tokens, alone and without padding: the same for the order's lengths and for the rows made."""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from m3it_jax import errors, prompts, records, schema
from m3it_jax import tokenizer as tokenization
from m3it_jax.input_pipeline.pixels import tiling
from m3it_jax.input_pipeline.rows import tower_rows, transforms

Row = dict[str, np.ndarray]


def suitable(instance: schema.Instance, pool: Sequence[str]) -> list[str]:
    """Returns the pool's instructions with the record's own texts in their slots; empty if its own is not among them.

    Such a record keeps its instruction.
    """
    slots = instance.meta.get("slots", {})
    try:
        filled = [prompts.fill_slots(text, slots) for text in pool]
    except KeyError:
        return []
    return filled if instance.instruction in filled else []


def fitted(
    layout: transforms.Layout,
    tokenizer: tokenization.Tokenizer,
    instance: schema.Instance,
    *,
    instruction: str,
    supervised_answers: str,
) -> transforms.Text:
    """Returns the tokens of a record asked with an instruction, within the limits of the layout.

    Args:
      layout: The format and the limits.
      tokenizer: Encodes the texts.
      instance: The record.
      instruction: In place of its own.
      supervised_answers: `all` answers of a conversation are learned, or the `last` alone.

    Raises:
      UserError: the instruction alone is too long.
    """
    turns = schema.turns_of(dataclasses.replace(instance, instruction=instruction))
    text = transforms.fit(layout, tokenizer, turns, system=instance.meta.get("system", ""))
    return dataclasses.replace(text, learned=()) if supervised_answers == "last" else text


def cuts(layout: transforms.Layout, instance: schema.Instance) -> list[tiling.Grid]:
    """Returns how each picture of a record is cut."""
    return tiling.grids(instance, layout.tiling)


def cuts_by_id(
    layout: transforms.Layout, tables: Iterable[records.RecordTable], ids: Iterable[str]
) -> dict[str, list[tiling.Grid]]:
    """Returns how the pictures of some records are cut, by the records' ids; nothing where none is ever cut.

    Raises:
      UserError: a record cannot be read.
    """
    wanted = sorted(set(ids))
    if layout.tiling.most == 1 or not wanted:
        return {}
    return {
        str(table.ids[number]): cuts(layout, table.read(number))
        for table in tables
        for number in np.flatnonzero(np.isin(table.ids, wanted)).tolist()
    }


def shots(layout: transforms.Layout, instance: schema.Instance) -> list[tiling.Shot]:
    """Returns the pictures of a record, encoded, and how each is cut."""
    return list(zip(instance.images, cuts(layout, instance), strict=True))


def shown(layout: transforms.Layout, instance: schema.Instance, text: transforms.Text) -> Row:
    """Returns the row of a record whose pictures are shown as what the model sees of them, without padding."""
    slots = [cut.slots for cut in cuts(layout, instance)]
    return transforms.make_row(layout, text, num_images=len(slots), slots=slots)


def captioned(
    layout: transforms.Layout, tokenizer: tokenization.Tokenizer, instance: schema.Instance, *, text: transforms.Text
) -> Row:
    """Returns the row of a record whose pictures are shown as their descriptions.

    Raises:
      UserError: there is not one description for each picture.
    """
    captions = [tower_rows.caption_ids(tokenizer, caption) for caption in instance.meta.get("captions", ())]
    num_images = len(instance.images)
    if len(captions) != num_images:
        raise errors.UserError(
            f"has {len(captions)} captions for {num_images} pictures; with data.picture_as=captions leave its "
            f"source out of data.mixture"
        )
    return transforms.make_row(layout, text, num_images=num_images, captions=captions)


def check_targets(row: Row, instance: schema.Instance, most: int) -> Row:
    """Returns the row if it has at most so many tokens to learn from.

    Raises:
      UserError: it has more.
    """
    if row["loss_mask"].sum() > most:
        raise errors.UserError(
            f"has {len(schema.turns_of(instance))} turns, and {records.PROVENANCE} of its source tells of none so "
            "long; build the data folder again, or take data.supervised_answers=last"
        )
    return row
