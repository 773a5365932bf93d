"""Batches made some steps ahead of their use by tf.data, handed out in their order."""

import collections
import contextlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

Batch = dict[str, np.ndarray]

# CHOICE: steps made at once and steps kept ready. More hide a slow read, and cost a batch of memory each.
_PARALLEL_STEPS = 2
_READY_STEPS = 2

# Arrays that are not int32.
_TYPES = {"images": tf.uint8, "loss_mask": tf.float32, "text_mask": tf.bool}


def made_ahead(make: Callable[[int], Batch], steps: range, *, names: Sequence[str]) -> Iterator[Batch]:
    """Yields `make(step)` for each step, in order.

    Args:
      make: Called from several threads at once; the batch depends on the step alone.
      steps: Without gaps.
      names: Arrays that a batch may have; one that it lacks, or an empty one, is not handed out.

    Raises:
      Exception: that of `make`, when the step's turn comes.
    """
    tf.config.set_visible_devices([], "GPU")  # the accelerators belong to JAX
    failures: dict[int, Exception] = {}
    types = [_TYPES.get(name, tf.int32) for name in names]

    def columns(step: np.int64) -> list[np.ndarray]:
        try:
            batch = make(int(step))
        except Exception as error:  # TensorFlow would keep only its text, see below
            failures[int(step)] = error
            raise
        return [batch.get(name, np.zeros(0, kind.as_numpy_dtype)) for name, kind in zip(names, types, strict=True)]

    wanted = tf.Variable(True)
    dataset = tf.data.Dataset.range(steps.start, steps.stop)
    dataset = dataset.take_while(lambda _: wanted)
    dataset = dataset.map(
        lambda step: tf.numpy_function(columns, [step], types),
        num_parallel_calls=_PARALLEL_STEPS,
        deterministic=True,
    )
    stream = iter(dataset.prefetch(_READY_STEPS))
    try:
        for step in steps:
            try:
                arrays = next(stream)
            except tf.errors.OpError as error:
                raise failures.get(step, error) from None
            batch = {name: array.numpy() for name, array in zip(names, arrays, strict=True)}
            yield {name: array for name, array in batch.items() if len(array)}  # no picture, no array of pictures
    finally:
        # An iterator that dies while a call is under way waits for it with Python's lock held, which the call
        # needs: so the calls under way are let finish first.
        wanted.assign(False)
        with contextlib.suppress(tf.errors.OpError):
            collections.deque(stream, maxlen=0)
