"""A packed row as pages show it: a bar of its tokens, its attention mask, its groups with pictures and records."""

import html
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from m3it_jax.models import masks

STYLE = """
.bar{display:flex;height:1.4rem;border:1px solid #8886;margin:.5rem 0}.bar i{display:block;min-width:0}
.shared{background:#3b7dd8aa}.given{background:#8884}.learned{background:#2a9d5caa}
.bar .cut{border-left:1px solid #000a}
.group{border-left:3px solid #3b7dd8;margin:.6rem 0;padding-left:.7rem}.group p{margin:.2rem 0}
img.mask{width:256px;height:256px}
"""
_LEGEND = (
    "In a row's bar, blue is shared by the records of a group, green is learned, grey is given; the rest is padding. "
    "In the square each line is a token, and dark is what it sees."
)

Row = Mapping[str, np.ndarray]


class Group(NamedTuple):
    """Records of a row that share pictures, or one record."""

    shared: np.ndarray  # places of the tokens that they share; empty if there is one record
    records: list[np.ndarray]  # places of each record's own tokens
    slots: list[int]  # of the row's pictures


def groups(row: Row, picture_len: int) -> list[Group]:
    """Returns the groups of a packed row [T] in order."""
    found = []
    segments, parents = row["segment_ids"], row["parent_ids"]
    for parent in np.unique(parents[segments > 0]):
        members = np.unique(segments[parents == parent])
        places = [np.flatnonzero(segments == segment) for segment in members]
        shown = row["image_token_index"][np.concatenate(places)]
        slots = np.unique(shown[shown >= 0] // picture_len).tolist()
        is_shared = len(members) > 1
        found.append(Group(places[0] if is_shared else places[0][:0], places[1:] if is_shared else places, slots))
    return found


def mask_pixels(row: Row) -> np.ndarray:
    """Returns the row's attention mask as a picture, uint8 [T, T, 3]: dark where a query (down) sees a key (across)."""
    one = {name: jnp.asarray(row[name])[None] for name in ("segment_ids", "positions", "parent_ids")}
    mask = masks.segment_causal_mask(
        one["segment_ids"],
        one["positions"],
        key_segments=one["segment_ids"],
        key_positions=one["positions"],
        query_parents=one["parent_ids"],
    )
    grey = np.where(np.asarray(mask)[0, 0], 40, 245).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def bar(row: Row, found: list[Group]) -> str:
    """Returns the row's tokens as a strip: the kinds of tokens in their order and lengths."""
    kinds = np.where(row["loss_mask"] > 0, 2, np.where(row["segment_ids"] > 0, 1, 0))
    for group in found:
        kinds[group.shared] = 3
    begins = np.flatnonzero(np.diff(kinds, prepend=-1) | np.diff(row["segment_ids"], prepend=-1))
    names = ("", "given", "learned", "shared")
    spans = []
    for begin, end in zip(begins, [*begins[1:], len(kinds)], strict=True):
        cut = " cut" if row["positions"][begin] == 0 else ""
        spans.append(f'<i class="{names[kinds[begin]]}{cut}" style="flex:{end - begin}"></i>')
    return f'<div class="bar">{"".join(spans)}</div>'


def article(
    row: Row,
    names: list[str],
    *,
    picture_len: int,
    pictures: Callable[[list[int], str], str],
    tokens: Callable[[np.ndarray], str],
    mask: str,
) -> str:
    """Returns the row as HTML.

    Args:
      row: Its arrays, [T].
      names: Its records' ids, in order.
      picture_len: Positions of a picture.
      pictures: Returns the pictures in slots as HTML, by the slots and the id of a record that shows them.
      tokens: Returns tokens by their places as HTML.
      mask: The picture of the mask as HTML.
    """
    found = groups(row, picture_len)
    waiting = iter(names)
    parts = []
    for group in found:
        own = [next(waiting) for _ in group.records]
        shown = pictures(group.slots, own[0])
        if len(group.shared):
            count = len(group.records)
            shown += f"<p>Shared by {count} records: <code>{tokens(group.shared)}</code></p>"
        for name, places in zip(own, group.records, strict=True):
            shown += f"<p><b>{html.escape(name)}</b> <code>{tokens(places)}</code></p>"
        parts.append(f'<div class="group">{shown}</div>')
    used, length = int((row["segment_ids"] > 0).sum()), len(row["segment_ids"])
    slots = sum(len(group.slots) for group in found)
    head = f"{len(names)} records, {slots} pictures, {used} of {length} tokens, {int(row['loss_mask'].sum())} learned"
    return f"<article><h2>{head}</h2>{bar(row, found)}{''.join(parts)}<p>{mask}</p></article>"


def legend() -> str:
    """Returns what the colours mean, as HTML."""
    return f"<p>{_LEGEND}</p>"
