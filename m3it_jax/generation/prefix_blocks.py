"""Which beginnings of prompts are kept in the pool: the same system text, the same picture, the turns before."""

import collections
import hashlib
from collections.abc import Sequence

import numpy as np

from m3it_jax.generation import slot_cache
from m3it_jax.generation.batching import Prepared


def keys(prepared: Prepared, num_queries: int) -> list[bytes]:
    """Returns a key for each whole block of a prompt that is filled, which is all but its last token.

    Equal keys mean equal tokens and pictures from the prompt's beginning to the block's end.
    """
    block = slot_cache.BLOCK
    digest, found = hashlib.sha256(), []
    ids, index = prepared.row["token_ids"], prepared.row["image_token_index"]
    for start in range(0, (prepared.length - 1) // block * block, block):
        places = index[start : start + block]
        digest.update(np.where(places < 0, ids[start : start + block], -1).astype(np.int32).tobytes())
        # A picture's number in its row says nothing about what is shown: its content's key does.
        shown = [(prepared.pictures[place // num_queries].key, place % num_queries) for place in places[places >= 0]]
        digest.update(repr(shown).encode())
        found.append(digest.digest())
    return found


class PrefixBlocks:
    """Numbers of the pool's blocks by key, the least recently used given away first."""

    def __init__(self, num_blocks: int):
        """Takes the size of the pool."""
        self._numbers: collections.OrderedDict[bytes, int] = collections.OrderedDict()
        self._free = list(range(num_blocks))[::-1]
        self._num_blocks = num_blocks

    def find(self, wanted: Sequence[bytes]) -> list[int]:
        """Returns the numbers of as many blocks from the first of `wanted` on as are there."""
        numbers = []
        for key in wanted:
            if key not in self._numbers:
                break
            self._numbers.move_to_end(key)
            numbers.append(self._numbers[key])
        return numbers

    def take(self, key: bytes) -> int:
        """Returns the number that a block is to be saved under; a pool of no blocks has none to give: its size."""
        if not self._num_blocks:
            return 0
        number = self._free.pop() if self._free else self._numbers.popitem(last=False)[1]
        self._numbers[key] = number
        return number
