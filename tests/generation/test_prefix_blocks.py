import numpy as np

from m3it_jax.generation import prefix_blocks, slot_cache
from m3it_jax.generation.batching import Prepared
from m3it_jax.generation.pictures import Picture
from m3it_jax.generation.request import SamplingConfig

QUERIES = 4


def _prepared(ids: list[int], pictures: str = "", start: int = 0) -> Prepared:
    """Returns a row of these ids in which pictures of these keys stand from `start` on."""
    index = np.full(len(ids), -1, np.int32)
    index[start : start + QUERIES * len(pictures)] = np.arange(QUERIES * len(pictures))
    row = {"token_ids": np.array(ids, np.int32), "image_token_index": index}
    return Prepared(row, [Picture(key, key, b"") for key in pictures], SamplingConfig())


def _keys(*args) -> list[bytes]:
    return prefix_blocks.keys(_prepared(*args), QUERIES)


LONG = list(range(100))


def test_only_whole_blocks_before_the_last_token_have_keys():
    block = slot_cache.BLOCK
    assert [len(_keys(LONG[:count])) for count in (1, block, block + 1, 2 * block, 2 * block + 1)] == [0, 0, 1, 1, 2]


def test_keys_tell_tokens_pictures_and_all_that_stands_before():
    first = _keys(LONG)
    assert _keys(LONG[:70]) == first[:2]
    changed = _keys([7, *LONG[1:]])
    assert not set(changed) & set(first), "a block's key tells what stands before it"
    assert _keys(LONG, "a") == _keys(LONG, "a") != _keys(LONG, "b")
    assert _keys(LONG, "a") != first
    assert _keys(LONG, "ab") != _keys(LONG, "ba")
    assert _keys(LONG, "a", 40)[0] == first[0] and _keys(LONG, "a", 40)[1] != first[1]


def test_the_block_used_least_recently_is_given_away():
    kept = prefix_blocks.PrefixBlocks(2)
    numbers = {key: kept.take(key) for key in (b"1", b"2")}
    assert sorted(numbers.values()) == [0, 1]
    assert kept.find([b"1"]) == [numbers[b"1"]]
    assert kept.take(b"3") == numbers[b"2"]
    assert kept.find([b"2"]) == [] and kept.find([b"1", b"2", b"3"]) == [numbers[b"1"]]


def test_no_memory_keeps_nothing():
    kept = prefix_blocks.PrefixBlocks(0)
    kept.take(b"1")
    assert kept.find([b"1"]) == []
