"""One update and one evaluation as pure functions of (state, batch): no I/O, no configuration file, no device."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from m3it_jax.models import layers
from m3it_jax.sharding import ShardingRules
from m3it_jax.training import micro_batches
from m3it_jax.training.objectives import Batch, Objective, Sums, Task
from m3it_jax.training.state import TrainState, merge

GradientFn = Callable[[TrainState, Batch, jax.Array], tuple[Any, Sums]]
StepFn = Callable[[TrainState, Batch], tuple[TrainState, Sums]]


def make_train_step(
    objective: Objective,
    task: Task,
    *,
    optimizer: optax.GradientTransformation,
    rules: ShardingRules,
    seed: int,
    accumulation: int = 1,
) -> StepFn:
    """Returns train_step(state, batch) -> (state after one update, sums of the batch).

    Args:
      objective: What is optimised.
      task: What the model is built for.
      optimizer: Makes updates of gradients.
      rules: How activations lie on the mesh.
      seed: Of dropout.
      accumulation: Parts in which the batch is computed one after another (`micro_batches`). The update is that of the
        whole batch; only dropout draws anew in each part.
    """
    gradient = _gradient(objective, task)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Sums]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        rate = task.adapters.dropout if task.adapters else 0.0
        with layers.activation_rules(rules), layers.adapter_dropout(rate):
            if accumulation == 1:
                gradients, sums = gradient(state, batch, key)
            else:
                parts = micro_batches.split(batch, accumulation, rules=rules, picture_len=task.variant.picture_len)
                gradients, sums = _accumulated(gradient, state, parts, key=key)
                sums |= objective.facts(batch, task)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.trainable)
        trainable = optax.apply_updates(state.trainable, updates)
        sums |= _norms(gradients, updates)
        return TrainState(state.step + 1, trainable, state.frozen, opt_state), sums

    return train_step


def _norms(gradients: dict[str, Any], updates: dict[str, Any]) -> Sums:
    """Returns norms as one sample each: of the gradient before clipping, of each part of it, of each part's update."""
    found = {"train/grad_norm": optax.global_norm(gradients)}
    for name, tree in (("grad_norm", gradients), ("update_norm", updates)):
        found |= {f"train/{name}/{part}": optax.global_norm(leaves) for part, leaves in tree.items()}
    return {name: jnp.stack([norm, jnp.float32(1.0)]) for name, norm in found.items()}


def _gradient(objective: Objective, task: Task) -> GradientFn:
    """Returns the gradient of the loss of a batch, which is a mean, and the sums of the batch."""
    model = objective.make_model(task)

    def gradient(state: TrainState, batch: Batch, key: jax.Array) -> tuple[Any, Sums]:
        def loss_fn(trainable: dict[str, Any]) -> tuple[jax.Array, Sums]:
            params = merge(trainable, state.frozen)
            return objective.loss(model, params, batch, task=task, rngs={"dropout": key})

        return jax.grad(loss_fn, has_aux=True)(state.trainable)

    return gradient


def _accumulated(gradient: GradientFn, state: TrainState, parts: Batch, *, key: jax.Array) -> tuple[Any, Sums]:
    """Returns the gradient of the mean over all parts, each weighed by what its mean was taken over, and the sums."""

    def weighted(number: jax.Array, part: Batch) -> tuple[Any, Sums]:
        gradients, sums = gradient(state, part, jax.random.fold_in(key, number))
        return jax.tree.map(lambda leaf: leaf * sums["train/loss"][1], gradients), sums

    def add(totals: Any, one: tuple[jax.Array, Batch]) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, totals, weighted(*one)), None

    numbers = jnp.arange(jax.tree.leaves(parts)[0].shape[0])
    shapes = jax.eval_shape(weighted, numbers[0], jax.tree.map(lambda array: array[0], parts))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    (gradients, sums), _ = jax.lax.scan(add, zeros, (numbers, parts))
    count = jnp.maximum(sums["train/loss"][1], 1.0)
    return jax.tree.map(lambda leaf: leaf / count, gradients), sums


def make_eval_step(objective: Objective, task: Task, *, rules: ShardingRules) -> Callable[[Any, Batch], Sums]:
    """Returns eval_step(params, batch) -> sums of the batch, without dropout."""
    model = objective.make_model(task)

    def eval_step(params: Any, batch: Batch) -> Sums:
        with layers.activation_rules(rules):
            return objective.loss(model, params, batch, task=task, rngs=None)[1]

    return eval_step
