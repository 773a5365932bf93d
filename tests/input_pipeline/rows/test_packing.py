import numpy as np
import pytest

from m3it_jax.input_pipeline.rows import packing


def row(own, *, pictures=1, picture_len=2, answer=2):
    """Mark, pictures with their marks, own ids, of which the last `answer` are learned."""
    ids, index = [], []
    for number in range(pictures):
        ids += [7, *[0] * picture_len, 8]
        index += [-1, *range(number * picture_len, (number + 1) * picture_len), -1]
    ids, index = ids + own, index + [-1] * len(own)
    mask = [0.0] * (len(ids) - answer) + [1.0] * answer
    return {
        "token_ids": np.array(ids, np.int32),
        "image_token_index": np.array(index, np.int32),
        "segment_ids": np.ones(len(ids), np.int32),
        "positions": np.arange(len(ids), dtype=np.int32),
        "loss_mask": np.array(mask, np.float32),
    }


def packed(*groups, row_len=20, row_images=3):
    return packing.packed_row(groups, row_len=row_len, row_images=row_images, picture_len=2)


def group(*rows, sources=None, num_images=1):
    return packing.Group(rows=rows, sources=sources or list(range(len(rows))), num_images=num_images)


def test_records_about_one_picture_share_its_tokens():
    made = packed(group(row([1, 20, 21]), row([1, 30]), sources=[4, 5]), group(row([1, 40, 41]), sources=[6]))
    wanted = {
        "token_ids": [7, 0, 0, 8, 1, 20, 21, 8, 1, 30, 7, 0, 0, 8, 1, 40, 41, 0, 0, 0],
        "image_token_index": [-1, 0, 1, -1, -1, -1, -1, -1, -1, -1, -1, 2, 3, -1, -1, -1, -1, -1, -1, -1],
        "segment_ids": [1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 0, 0, 0],
        "parent_ids": [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 4, 4, 4, 4, 4, 4, 4, 0, 0, 0],
        "positions": [0, 1, 2, 3, 4, 5, 6, 3, 4, 5, 0, 1, 2, 3, 4, 5, 6, 0, 0, 0],
        "loss_mask": [0, 0, 0, 0, 0, 1, 1, 0, 1, 1, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0],
        "source_index": [4, 4, 4, 4, 4, 4, 4, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 0, 0, 0],
    }
    for name, values in wanted.items():
        assert made[name].tolist() == values, name
        assert made[name].dtype == (np.float32 if name == "loss_mask" else np.int32)
    assert made["num_records"] == 3


def test_records_without_a_picture_share_nothing():
    made = packed(group(row([1, 20], pictures=0, answer=1), row([1, 20], pictures=0, answer=1), num_images=0))
    assert made["segment_ids"].tolist()[:5] == [1, 1, 2, 2, 0]
    assert made["parent_ids"].tolist()[:5] == [1, 1, 2, 2, 0]


def test_several_pictures_are_shared_up_to_the_last():
    rows = [row([1, 20, 21], pictures=2), row([1, 30, 31], pictures=2)]
    made = packed(group(*rows, num_images=2), row_len=30)
    assert (made["segment_ids"] == 1).sum() == 7  # the second mark of the second picture is the records' own
    assert made["image_token_index"].max() == 3


def test_a_first_token_that_nothing_stands_before_is_not_learned():
    """Alone it would be dropped too; here the record before it would stand in for what is not there."""
    first = row([20, 21], pictures=0, answer=2)
    made = packed(group(first, num_images=0), group(first, num_images=0))
    assert made["loss_mask"].tolist()[:4] == [0, 1, 0, 1]


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(ValueError, match="17 tokens and 2 pictures do not fit into 16 and 3"):
        packed(group(row([1, 20, 21])), group(row([1, 20, 21, 22, 23, 24])), row_len=16)
    with pytest.raises(ValueError, match="2 pictures do not fit into 40 and 1"):
        packed(group(row([1, 20, 21])), group(row([1, 20, 21])), row_len=40, row_images=1)
    other = row([1, 20, 21])
    other["token_ids"][0] = 9
    with pytest.raises(ValueError, match="begin with other"):
        packed(group(row([1, 20, 21]), other))
    learned = row([1, 20, 21])
    learned["loss_mask"][3] = 1
    with pytest.raises(ValueError, match="begin with one that is learned"):
        packed(group(learned, row([1, 30, 31])))


def test_pictures_of_each_record_follow_those_of_the_records_before():
    records = [row([1, 20], pictures=count, answer=1) for count in (1, 2, 1, 1)]
    groups = [group(one, num_images=count) for one, count in zip(records, (1, 2, 1, 1), strict=True)]
    made = packed(*groups, row_len=40, row_images=5)
    index = made["image_token_index"]
    assert index[index >= 0].tolist() == list(range(10)) and made["num_records"] == 4
