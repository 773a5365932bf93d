"""Rows of several records: from the rows of single records to the arrays of a packed one.

Two records about one picture (2 positions, marks of 1 token each) and one about another, as `transforms` lays each out
alone, in a packed row of 20 tokens (`.` is padding):

    text               <Img> P P </Img> <s> hue ? blue </s> <s> what ? disc </s> | <Img> P P </Img> <s> ...
    segment_ids          1   1 1   2     2   2  2   2    2   3    3   3   3   3      4   4 4   4     4
    parent_ids           1   1 1   1     1   1  1   1    1   1    1   1   1   1      4   4 4   4     4
    positions            0   1 2   3     4   5  6   7    8   4    5   6   7   8      0   1 2   3     4
    image_token_index   -1   0 1  -1    -1  -1 -1  -1   -1  -1   -1  -1  -1  -1     -1   2 3  -1    -1
    loss_mask            0   0 0   0     0   0  0   1    1   0    0   0   1   1      0   0 0   0     0

(The second record has its own `</Img>` too; it is left out of the drawing.) What records share is all that stands up to
their last picture: a segment of its own, stored once, which is the parent of theirs. A token sees its segment and its
parent up to its own position (`models/masks.py`), and each record's positions are those that it would have alone. So
the row computes what the records would compute alone, and the picture is encoded once.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

Row = Mapping[str, np.ndarray]

# Arrays of a packed row [T], and what stands in its padding.
_FILL = {
    "token_ids": 0,
    "image_token_index": -1,
    "segment_ids": 0,
    "parent_ids": 0,
    "positions": 0,
    "loss_mask": 0,
    "source_index": 0,
}


@dataclasses.dataclass(frozen=True)
class Group:
    """Records of a packed row that share a beginning, or one record.

    Attributes:
      rows: The records' rows without padding, as `transforms.make_row` gives them.
      sources: Each record's place among the sources of the mixture.
      num_images: Slots that their pictures take, the same for all.
    """

    rows: Sequence[Row]
    sources: Sequence[int]
    num_images: int


def shared_len(row: Row) -> int:
    """Returns how many tokens records about the same pictures share: all up to the last token of the last picture."""
    shown = np.flatnonzero(row["image_token_index"] >= 0)
    return int(shown[-1]) + 1 if len(shown) else 0


def packed_row(groups: Sequence[Group], *, row_len: int, row_images: int, picture_len: int) -> dict[str, np.ndarray]:
    """Returns the arrays of a packed row.

    Args:
      groups: In order; the pictures of the first take the first slots of the row.
      row_len: T, tokens of the row.
      row_images: Slots of the row for pictures.
      picture_len: Positions of a picture.

    Returns:
      token_ids, image_token_index (over the row's own slots), segment_ids, parent_ids, positions, source_index int32
      [T], loss_mask float32 [T] and num_records int32 [].

    Raises:
      ValueError: the groups need more tokens or pictures, or records of a group do not begin alike.
    """
    parts: list[dict[str, np.ndarray]] = []
    segment = slot = 0
    for group in groups:
        shared = shared_len(group.rows[0]) if len(group.rows) > 1 else 0
        parent = segment + 1
        if shared:
            segment += 1
            parts.append(_part(group.rows[0], slice(0, shared), segment, parent=parent, source=group.sources[0]))
        for row, source in zip(group.rows, group.sources, strict=True):
            if shared and not _begins_alike(row, group.rows[0], shared):
                raise ValueError("records of a group begin with other tokens or pictures")
            segment += 1
            parts.append(_part(row, slice(shared, None), segment, parent=parent if shared else segment, source=source))
        for part in parts[-len(group.rows) - bool(shared) :]:
            part["image_token_index"][part["image_token_index"] >= 0] += slot * picture_len
        slot += group.num_images
    length = sum(len(part["token_ids"]) for part in parts)
    if length > row_len or slot > row_images:
        raise ValueError(f"{length} tokens and {slot} pictures do not fit into {row_len} and {row_images}")
    padding = row_len - length
    row = {
        name: np.concatenate([*(part[name] for part in parts), np.full(padding, fill, parts[0][name].dtype)])
        for name, fill in _FILL.items()
    }
    return row | {"num_records": np.array(sum(len(group.rows) for group in groups), np.int32)}


def _begins_alike(row: Row, other: Row, shared: int) -> bool:
    return shared_len(row) == shared and all(
        np.array_equal(row[name][:shared], other[name][:shared]) for name in ("token_ids", "image_token_index")
    )


def _part(row: Row, where: slice, segment: int, *, parent: int, source: int) -> dict[str, np.ndarray]:
    """Returns one segment; what stands before its first token is no token that it could be predicted from."""
    part = {name: row[name][where].copy() for name in ("token_ids", "image_token_index", "positions", "loss_mask")}
    if part["loss_mask"][:1].any() and part["positions"][0]:
        raise ValueError("a record's own tokens begin with one that is learned")
    part["loss_mask"][:1] = 0.0
    size = len(part["token_ids"])
    numbers = {"segment_ids": segment, "parent_ids": parent, "source_index": source}
    return part | {name: np.full(size, number, np.int32) for name, number in numbers.items()}
