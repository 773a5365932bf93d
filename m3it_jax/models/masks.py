"""The attention rules of the language models, made from integer arrays, never a triangle wired into a layer."""

from jaxtyping import Array, Bool, Int


def segment_causal_mask(
    query_segments: Int[Array, "B T"],
    query_positions: Int[Array, "B T"],
    *,
    key_segments: Int[Array, "B S"],
    key_positions: Int[Array, "B S"],
) -> Bool[Array, "B 1 T S"]:
    """Returns `attn_mask`, True where a query may attend: same segment, and the key stands at or before the query.

    Segment 0 is padding (or an empty slot of a cache): nothing attends to it. With segments `1 1 1 2 2 0` and positions
    `0 1 2 0 1 0`, the rows of the mask are (x = may attend):

        query 0   x . . . . .
        query 1   x x . . . .
        query 2   x x x . . .
        query 3   . . . x . .      a second record in the same row sees nothing of the first
        query 4   . . . x x .
        query 5   . . . . . .      padding
    """
    same_segment = query_segments[:, :, None] == key_segments[:, None, :]
    real_key = key_segments[:, None, :] > 0
    not_later = key_positions[:, None, :] <= query_positions[:, :, None]
    return (same_segment & real_key & not_later)[:, None]


def real_mask(segment_ids: Int[Array, "B S"]) -> Bool[Array, "B 1 1 S"]:
    """Returns `attn_mask` for queries that may attend to every real key, before or after them."""
    return (segment_ids > 0)[:, None, None]
