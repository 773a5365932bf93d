"""A step's batch in parts that are computed one after another: less memory, the same update.

Each device keeps the rows that it holds: of its share of the batch, the first part is the first micro-batch's. So
nothing moves between devices, and the sums over all parts are those of the whole batch.
"""

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from m3it_jax import sharding
from m3it_jax.training.objectives import Batch


def split(batch: Batch, parts: int, *, rules: sharding.ShardingRules, picture_len: int) -> Batch:
    """Returns the arrays of a batch as [parts, rows or pictures / parts, ...].

    Where `image_token_index` counts over the pictures of the batch, it counts over those of the part.

    Args:
      batch: Arrays whose first axis is rows, or the pictures of rows that all have as many.
      parts: Must divide the rows of each device.
      rules: How the batch is split over the mesh that is set.
      picture_len: Positions of one picture in a row.
    """
    num_shards = sharding.batch_shards(rules)
    made = {name: _in_parts(array, parts, num_shards=num_shards, rules=rules) for name, array in batch.items()}
    if "images" in batch and "parent_ids" not in batch:
        num_rows = batch["source_index"].shape[0]
        before = jnp.arange(num_rows, dtype=jnp.int32).reshape(num_shards, parts, -1).swapaxes(0, 1).reshape(parts, -1)
        moved = (before - jnp.arange(num_rows // parts)) * (batch["images"].shape[0] // num_rows * picture_len)
        index = made["image_token_index"]
        made["image_token_index"] = jnp.where(index >= 0, index - moved[:, :, None], index)
    return made


def _in_parts(array: jax.Array, parts: int, *, num_shards: int, rules: sharding.ShardingRules) -> jax.Array:
    apart = array.reshape(num_shards, parts, -1, *array.shape[1:]).swapaxes(0, 1)
    made = apart.reshape(parts, -1, *array.shape[1:])
    if num_shards == 1:
        return made
    return jax.lax.with_sharding_constraint(made, PartitionSpec(None, rules.act_batch))
