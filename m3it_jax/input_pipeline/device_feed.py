"""Host batches -> global sharded arrays, a few ahead of their use. The only file of the input pipeline with JAX."""

import collections
from collections.abc import Iterable, Iterator

import jax
import numpy as np

# CHOICE: the transfer of one batch runs while the step before it computes; a second covers a late one.
PREFETCH = 2


def feed(batches: Iterable[dict[str, np.ndarray]], sharding: jax.sharding.Sharding) -> Iterator[dict[str, jax.Array]]:
    """Yields the batches as global arrays, of which each host gave its rows; transfers start PREFETCH ahead.

    Args:
      batches: This host's part of each batch.
      sharding: Of every array: its first axis over the mesh axes of the batch.
    """
    ready: collections.deque[dict[str, jax.Array]] = collections.deque()
    for batch in batches:
        ready.append({name: jax.make_array_from_process_local_data(sharding, array) for name, array in batch.items()})
        if len(ready) > PREFETCH:
            yield ready.popleft()
    yield from ready
