import numpy as np

from m3it_jax.analysis import packed_view

ROW = {
    "segment_ids": np.array([1, 1, 1, 2, 2, 3, 3, 4, 4, 0]),
    "parent_ids": np.array([1, 1, 1, 1, 1, 1, 1, 4, 4, 0]),
    "positions": np.array([0, 1, 2, 3, 4, 3, 4, 0, 1, 0]),
    "image_token_index": np.array([0, 1, -1, -1, -1, -1, -1, 2, 3, -1]),
    "loss_mask": np.array([0, 0, 0, 0, 1, 0, 1, 0, 0, 0.0]),
}


def test_groups_have_what_they_share_their_records_and_their_pictures():
    shared, alone = packed_view.groups(ROW, 2)
    assert shared.shared.tolist() == [0, 1, 2] and [part.tolist() for part in shared.records] == [[3, 4], [5, 6]]
    assert shared.slots == [0] and alone.slots == [1]
    assert alone.shared.tolist() == [] and [part.tolist() for part in alone.records] == [[7, 8]]


def test_the_mask_shows_what_a_token_sees():
    dark = packed_view.mask_pixels(ROW)[:, :, 0] < 100
    assert np.flatnonzero(dark[6]).tolist() == [0, 1, 2, 5, 6]
    assert not dark[9].any() and not dark[7, :7].any()


def test_the_bar_has_a_part_for_each_kind_of_tokens():
    bar = packed_view.bar(ROW, packed_view.groups(ROW, 2))
    kinds = [part.split('"')[1] for part in bar.split("<i ")[1:]]
    assert kinds == ["shared cut", "given", "learned", "given", "learned", "given cut", " cut"]
    assert "flex:3" in bar


def test_a_row_names_its_records_and_says_how_full_it_is():
    page = packed_view.article(
        ROW,
        ["a<1", "b-2", "c-3"],
        picture_len=2,
        pictures=lambda slots, name: f"[pictures {slots} of {name}]",
        tokens=lambda places: f"[{len(places)} tokens]",
        mask="[mask]",
    )
    assert "3 records, 2 pictures, 9 of 10 tokens, 2 learned" in page
    assert "a&lt;1" in page and "[pictures [1] of c-3]" in page and "Shared by 2 records: <code>[3 tokens]" in page
