"""One update and one look, against sums written out here: what moves, what stays, and where chance comes from."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import small_models

from m3it_jax import parameter_paths, sharding
from m3it_jax.models import layers, vlm
from m3it_jax.training import objectives, state, step

RATE, SEED = 0.25, 7
SINGLE = sharding.PRESETS["single"]
TRAINED, FROZEN = np.array([1.0, -2.0, 0.5], np.float32), np.array([3.0, 1.0, -1.0], np.float32)
TASK = objectives.Task(small_models.SMALL["ying_vlm"], "float32", False, (), 1, 7)


def bowl(model, params, batch, *, task, rngs):
    """Half the squared distance of trained + frozen from a target; with chance, the target is noise of the key."""
    assert (model, task) == ("model of the task", TASK)
    target = batch["target"] if rngs is None else batch["target"] + jax.random.normal(rngs["dropout"], (3,))
    distance = params["qformer"]["x"] + params["vit"]["y"] - target
    return 0.5 * (distance**2).sum(), {"train/loss": jnp.stack([(distance**2).sum(), 2.0])}


BOWL = objectives.Objective(lambda task: "model of the task", "response", bowl)


def make_state(number: int = 0) -> state.TrainState:
    trainable = {"qformer": {"x": jnp.asarray(TRAINED)}}
    return state.TrainState(
        jnp.int32(number), trainable, {"vit": {"y": jnp.asarray(FROZEN)}}, optax.sgd(RATE).init(trainable)
    )


def make_step(*, seed: int = SEED, optimizer=None):
    return step.make_train_step(BOWL, TASK, optimizer=optimizer or optax.sgd(RATE), rules=SINGLE, seed=seed)


def noise(number: int, *, seed: int = SEED) -> np.ndarray:
    return np.asarray(jax.random.normal(jax.random.fold_in(jax.random.key(seed), number), (3,)))


@pytest.mark.parametrize("number", [0, 5])
def test_an_update_is_the_optimisers_step_down_the_gradient(number: int) -> None:
    target = np.array([0.5, 0.25, 2.0], np.float32)
    after, sums = make_step()(make_state(number), {"target": jnp.asarray(target)})
    distance = TRAINED + FROZEN - target - noise(number)
    np.testing.assert_allclose(after.trainable["qformer"]["x"], TRAINED - RATE * distance, rtol=1e-5)
    np.testing.assert_array_equal(after.frozen["vit"]["y"], FROZEN)
    assert after.frozen.keys() == {"vit"} and after.trainable.keys() == {"qformer"}
    assert int(after.step) == number + 1 and after.step.dtype == jnp.int32
    np.testing.assert_allclose(sums["train/loss"], [(distance**2).sum(), 2.0], rtol=1e-5)
    # One norm of one batch, before the optimiser has made anything of the gradient.
    np.testing.assert_allclose(sums["train/grad_norm"], [np.sqrt((distance**2).sum()), 1.0], rtol=1e-5)
    np.testing.assert_allclose(sums["train/grad_norm/qformer"], sums["train/grad_norm"], rtol=1e-6)
    np.testing.assert_allclose(
        sums["train/update_norm/qformer"], np.asarray(sums["train/grad_norm"]) * [RATE, 1.0], rtol=1e-5
    )
    assert {name for name in sums if "norm/" in name} == {"train/grad_norm/qformer", "train/update_norm/qformer"}


def test_the_optimiser_sees_its_own_state_and_the_parameters_of_now() -> None:
    seen = []

    def update(gradients, opt_state, params):
        seen.append((opt_state, params["qformer"]["x"].tolist()))
        return jax.tree.map(lambda x: 0.0 * x - 1.0, gradients), opt_state + 1

    update_step = make_step(optimizer=optax.GradientTransformation(lambda params: 0, update))
    now = make_state()._replace(opt_state=40)
    for _ in range(2):
        now, _ = update_step(now, {"target": jnp.zeros(3)})
    assert now.opt_state == 42
    assert seen == [(40, TRAINED.tolist()), (41, (TRAINED - 1.0).tolist())]


def test_chance_is_that_of_seed_and_step_alone() -> None:
    def loss(number: int, seed: int) -> list[float]:
        _, sums = make_step(seed=seed)(make_state(number), {"target": jnp.zeros(3)})
        return sums["train/loss"].tolist()

    assert loss(0, 1) == loss(0, 1)
    assert len({tuple(loss(number, seed)) for number in (0, 1, 2) for seed in (1, 2)}) == 6


def test_a_look_uses_no_chance_and_gives_the_sums() -> None:
    look = step.make_eval_step(BOWL, TASK, rules=SINGLE)
    sums = look(make_state().params, {"target": jnp.zeros(3)})
    np.testing.assert_allclose(sums["train/loss"], [((TRAINED + FROZEN) ** 2).sum(), 2.0], rtol=1e-6)


def test_rules_hold_while_the_model_is_traced() -> None:
    """The lowered program of either step has the constraints of the rules that it was made with."""
    seen = []

    def watched(model, params, batch, *, task, rngs):
        axes = layers.nn.logical_to_mesh_axes(("act_batch", "act_embed"))
        seen.append(tuple(axes))
        return bowl(model, params, batch, task=task, rngs=rngs)

    objective = dataclasses.replace(BOWL, loss=watched)
    rules = dataclasses.replace(SINGLE, act_embed="tensor")
    batch = {"target": jnp.zeros(3)}
    step.make_train_step(objective, TASK, optimizer=optax.sgd(RATE), rules=rules, seed=0)(make_state(), batch)
    step.make_eval_step(objective, TASK, rules=rules)(make_state().params, batch)
    assert seen == [(("data", "fsdp"), "tensor")] * 2


@pytest.fixture(scope="module")
def real():
    """A real model with dropout in its Q-Former, which alone is trained; three steps from the same state and batch."""
    variant = dataclasses.replace(TASK.variant, qformer=dataclasses.replace(TASK.variant.qformer, dropout_rate=0.5))
    task = dataclasses.replace(TASK, variant=variant)
    _, params = small_models.make("ying_vlm")
    batch = {name: jnp.asarray(array) for name, array in small_models.make_batch(variant).items()}
    batch |= {
        "loss_mask": (batch["segment_ids"] * (batch["image_token_index"] < 0)).astype(jnp.float32),
        "source_index": jnp.zeros(2, jnp.int32),
    }
    objective = objectives.OBJECTIVES["response"]
    trainable, frozen = state.split(params, ((r"(qformer|projection)/.*", True), (r".*", False)))
    transform = optax.sgd(1.0)
    train = jax.jit(step.make_train_step(objective, task, optimizer=transform, rules=SINGLE, seed=SEED))

    def run(number: int):
        now = state.TrainState(jnp.int32(number), trainable, frozen, transform.init(trainable))
        after, sums = train(now, batch)
        return after, sums["train/loss"].tolist()

    plain = jax.jit(step.make_eval_step(objective, task, rules=SINGLE))(params, batch)["train/loss"].tolist()
    return run, plain, params, batch


def test_dropout_is_another_at_every_step_and_the_same_when_a_step_is_made_again(real) -> None:
    run, plain, _, _ = real
    losses = [run(number)[1] for number in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]
    assert plain not in losses


def test_the_look_at_a_real_model_is_that_without_dropout(real) -> None:
    _, plain, params, batch = real
    model = vlm.make_vlm(small_models.SMALL["ying_vlm"])
    logits = np.asarray(jax.jit(model.apply)({"params": params}, batch), np.float64)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    mask, ids = np.asarray(batch["loss_mask"]) > 0, np.asarray(batch["token_ids"])
    wanted = [-log_p[row, place - 1, ids[row, place]] for row, place in zip(*np.nonzero(mask), strict=True)]
    np.testing.assert_allclose(plain, [sum(wanted), len(wanted)], rtol=1e-4)


def test_what_is_trained_moves_and_what_is_frozen_stays(real) -> None:
    run, _, params, _ = real
    after = run(0)[0]
    for path, leaf in parameter_paths.flatten(after.params).items():
        before = parameter_paths.flatten(params)[path]
        if not path.startswith(("qformer", "projection")):
            np.testing.assert_array_equal(leaf, before, err_msg=path)
        elif not path.endswith("key/bias"):  # has no gradient: softmax takes a shift of all scores away
            assert not np.array_equal(leaf, before), path
