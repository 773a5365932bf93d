"""The attention rules of the language models, made from integer arrays, never a triangle wired into a layer."""

from jaxtyping import Array, Bool, Int


def segment_causal_mask(
    query_segments: Int[Array, "B T"],
    query_positions: Int[Array, "B T"],
    *,
    key_segments: Int[Array, "B S"],
    key_positions: Int[Array, "B S"],
    query_parents: Int[Array, "B T"] | None = None,
) -> Bool[Array, "B 1 T S"]:
    """Returns `attn_mask`, True where a query may attend: its segment or its parent, and no later position.

    Segment 0 is padding (or an empty slot of a cache): nothing attends to it. With segments `1 1 1 2 2 0` and positions
    `0 1 2 0 1 0`, the rows of the mask are (x = may attend):

        query 0   x . . . . .
        query 1   x x . . . .
        query 2   x x x . . .
        query 3   . . . x . .      a second record in the same row sees nothing of the first
        query 4   . . . x x .
        query 5   . . . . . .      padding

    Records about the same picture share its tokens: the picture is a segment, and the parent of the records' own. With
    segments `1 1 2 2 3 3`, positions `0 1 2 3 2 3` and parents `1 1 1 1 1 1`, both records go on from the picture as if
    each stood alone behind it:

        query 0   x . . . . .      the picture
        query 1   x x . . . .
        query 2   x x x . . .      the first record
        query 3   x x x x . .
        query 4   x x . . x .      the second sees the picture and itself
        query 5   x x . . x x

    Args:
      query_segments: Of the queries.
      query_positions: Of the queries, counted in each record from its first token, a shared picture included.
      key_segments: Of the keys.
      key_positions: Of the keys.
      query_parents: Segment that the query sees beside its own; None: no query has one.
    """
    keys = key_segments[:, None, :]
    seen = query_segments[:, :, None] == keys
    if query_parents is not None:
        seen = seen | (query_parents[:, :, None] == keys)
    not_later = key_positions[:, None, :] <= query_positions[:, :, None]
    return (seen & (keys > 0) & not_later)[:, None]


def real_mask(segment_ids: Int[Array, "B S"]) -> Bool[Array, "B 1 1 S"]:
    """Returns `attn_mask` for queries that may attend to every real key, before or after them."""
    return (segment_ids > 0)[:, None, None]
