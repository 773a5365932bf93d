"""From (seed, step) to batches of arrays: order, transforms, the tf.data pipeline and the feed to the devices."""
