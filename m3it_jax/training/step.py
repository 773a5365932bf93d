"""One update and one evaluation as pure functions of (state, batch): no I/O, no configuration file, no device."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from m3it_jax.models import layers
from m3it_jax.sharding import ShardingRules
from m3it_jax.training.objectives import Batch, Objective, Sums, Task
from m3it_jax.training.state import TrainState, merge

StepFn = Callable[[TrainState, Batch], tuple[TrainState, Sums]]


def make_train_step(
    objective: Objective, task: Task, *, optimizer: optax.GradientTransformation, rules: ShardingRules, seed: int
) -> StepFn:
    """Returns train_step(state, batch) -> (state after one update, sums of the batch)."""
    model = objective.make_model(task)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Sums]:
        rngs = {"dropout": jax.random.fold_in(jax.random.key(seed), state.step)}

        def loss_fn(trainable: dict[str, Any]) -> tuple[jax.Array, Sums]:
            params = merge(trainable, state.frozen)
            return objective.loss(model, params, batch, task=task, rngs=rngs)

        with layers.activation_rules(rules):
            gradients, sums = jax.grad(loss_fn, has_aux=True)(state.trainable)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.trainable)
        trainable = optax.apply_updates(state.trainable, updates)
        sums["train/grad_norm"] = jnp.stack([optax.global_norm(gradients), jnp.float32(1.0)])
        return TrainState(state.step + 1, trainable, state.frozen, opt_state), sums

    return train_step


def make_eval_step(objective: Objective, task: Task, *, rules: ShardingRules) -> Callable[[Any, Batch], Sums]:
    """Returns eval_step(params, batch) -> sums of the batch, without dropout."""
    model = objective.make_model(task)

    def eval_step(params: Any, batch: Batch) -> Sums:
        with layers.activation_rules(rules):
            return objective.loss(model, params, batch, task=task, rngs=None)[1]

    return eval_step
