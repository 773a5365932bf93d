"""A batch in parts makes the update of the whole, weighed by supervised tokens; each part shows its own pictures."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_models
import training_batches

from m3it_jax import sharding
from m3it_jax.training import micro_batches, objectives, state, step

VARIANT = small_models.SMALL["ying_vlm"]
VARIANT = dataclasses.replace(VARIANT, qformer=dataclasses.replace(VARIANT.qformer, dropout_rate=0.0))
TASK = objectives.Task(VARIANT, "float32", False, (), training_batches.NUM_SOURCES, 1 << 30)
SINGLE = sharding.PRESETS["single"]


def update(batch, accumulation: int):
    """Returns the gradient and the sums."""
    make = step.make_train_step(
        objectives.OBJECTIVES["response"],
        TASK,
        optimizer=training_batches.KEEPING,
        rules=SINGLE,
        seed=0,
        accumulation=accumulation,
    )
    params = small_models.make("ying_vlm")[1]
    trainable, frozen = state.split(params, ((r"(qformer|projection|decoder)/.*", True), (r".*", False)))
    before = state.TrainState(jnp.int32(0), trainable, frozen, training_batches.KEEPING.init(trainable))
    after, sums = jax.jit(make)(before, batch)
    return after.opt_state, sums


@pytest.mark.parametrize("kind", [training_batches.single, training_batches.packed])
def test_parts_make_the_update_of_the_whole(kind) -> None:
    batch = kind(VARIANT)
    counts = batch["loss_mask"].reshape(4, 2, -1).sum(axis=(1, 2))
    assert len(set(counts.tolist())) > 1, "parts of equal weight would hide a mean of means"
    whole, sums = update(batch, 1)
    parts, part_sums = update(batch, 4)
    assert sums.keys() == part_sums.keys()
    for name in sums:
        np.testing.assert_allclose(part_sums[name], sums[name], rtol=1e-5, err_msg=name)
    training_batches.assert_same_gradients(parts, whole)


def test_a_part_without_supervised_tokens_adds_nothing() -> None:
    batch = training_batches.single(VARIANT)
    batch["loss_mask"][:4] = 0.0
    whole, sums = update(batch, 1)
    parts, part_sums = update(batch, 4)
    np.testing.assert_allclose(part_sums["train/loss"], sums["train/loss"], rtol=1e-5)
    training_batches.assert_same_gradients(parts, whole)


def test_each_device_keeps_its_rows_and_each_part_counts_its_own_pictures() -> None:
    batch = training_batches.single(VARIANT, num_rows=16, num_images=1)
    batch = {name: batch[name] for name in ("image_token_index", "source_index")}
    batch |= {"images": np.arange(16), "row": np.arange(16), "source_index": np.arange(16)}
    mesh = sharding.make_mesh(data=2, fsdp=2, tensor=2)
    with jax.set_mesh(mesh):
        placed = jax.device_put(batch, sharding.batch_sharding(mesh, SINGLE))
        made = jax.jit(lambda arrays: micro_batches.split(arrays, 2, rules=SINGLE, picture_len=VARIANT.picture_len))(
            placed
        )
    np.testing.assert_array_equal(made["row"], [[0, 1, 4, 5, 8, 9, 12, 13], [2, 3, 6, 7, 10, 11, 14, 15]])
    np.testing.assert_array_equal(made["row"], made["images"])
    wanted = np.arange(8 * VARIANT.picture_len).reshape(8, -1)
    for index in np.asarray(made["image_token_index"]):
        np.testing.assert_array_equal(index[:, : VARIANT.picture_len], wanted)
        assert (index[:, VARIANT.picture_len :] == -1).all()
    before = {shard.device: np.asarray(shard.data) for shard in placed["row"].addressable_shards}
    for shard in made["row"].addressable_shards:
        assert set(np.asarray(shard.data).ravel()) <= set(before[shard.device]), "rows moved between devices"
