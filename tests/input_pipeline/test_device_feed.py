import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from m3it_jax.input_pipeline import device_feed


def test_arrays_lie_split_along_their_rows_in_the_given_order():
    mesh = Mesh(np.array(jax.devices()).reshape(8), ("data",))
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    batches = [{"x": np.arange(16 * 3).reshape(16, 3) + step, "y": np.full(8, step)} for step in range(6)]
    fed = list(device_feed.feed(batches, sharding))
    assert len(fed) == 6
    for batch, wanted in zip(fed, batches, strict=True):
        for name, array in wanted.items():
            np.testing.assert_array_equal(batch[name], array)
            assert batch[name].sharding == sharding
            shards = batch[name].addressable_shards
            assert len(shards) == 8 and shards[0].data.shape == (len(array) // 8, *array.shape[1:])


def test_batches_are_taken_only_a_little_ahead():
    taken = []

    def batches():
        for step in range(10):
            taken.append(step)
            yield {"x": np.full(8, step)}

    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    feed = device_feed.feed(batches(), sharding)
    assert int(next(feed)["x"][0]) == 0
    assert taken == list(range(device_feed.PREFETCH + 1))
