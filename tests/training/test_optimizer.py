"""Schedule, clipping, moments and decay against NumPy; no option is dead; what Muon takes for a matrix."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from m3it_jax import parameter_paths
from m3it_jax.config import OptimizerConfig
from m3it_jax.training import optimizer


def test_schedule_of_the_paper() -> None:
    """0 at step 0, 5e-5 at 2,000, 0 at the end (arXiv 2306.04387, section 4.1)."""
    rate = optimizer.schedule(OptimizerConfig(warmup_steps=2_000), 300_000, 5e-5)
    assert float(rate(0)) == 0.0
    assert float(rate(1_000)) == pytest.approx(2.5e-5)
    assert float(rate(2_000)) == pytest.approx(5e-5)
    assert float(rate(151_000)) == pytest.approx(2.5e-5, rel=1e-3)
    assert float(rate(300_000)) == pytest.approx(0.0, abs=1e-12)


def wanted_rate(config: OptimizerConfig, num_steps: int, step: int) -> float:
    """The documented schedule as a share of the peak: linear up, level, then down to `end_share` at the last step."""
    begin = max(config.warmup_steps, round(config.hold_share * num_steps))
    if step < config.warmup_steps:
        return step / config.warmup_steps
    if step < begin:
        return 1.0
    done = min((step - begin) / max(num_steps - begin, 1), 1.0)
    left = 0.5 * (1.0 + np.cos(np.pi * done)) if config.decay == "cosine" else 1.0 - done
    return config.end_share + (1.0 - config.end_share) * left


@pytest.mark.parametrize("decay", ["cosine", "linear"])
@pytest.mark.parametrize(("warmup", "hold"), [(0, 0.0), (0, 0.4), (3, 0.0), (3, 0.4), (9, 0.4), (20, 0.0)])
@pytest.mark.parametrize("end_share", [0.0, 0.25])
def test_every_step_has_the_rate_of_the_formula(decay, warmup, hold, end_share) -> None:
    config = OptimizerConfig(warmup_steps=warmup, hold_share=hold, decay=decay, end_share=end_share)
    rate = optimizer.schedule(config, 20, 8.0)
    steps = np.arange(24)
    wanted = [8.0 * wanted_rate(config, 20, step) for step in steps]
    np.testing.assert_allclose(jax.vmap(rate)(steps), wanted, rtol=1e-5, atol=1e-6)


PARAMS = {
    "decoder": {
        "blocks": {
            "attn": {
                "query": {"kernel": jnp.ones((2, 8, 2, 4)), "bias": jnp.ones((2, 2, 4))},
                "out": {"kernel": jnp.ones((2, 2, 4, 8))},
            },
            "attn_norm": {"scale": jnp.ones((2, 8))},
        },
        "token_embedding": {"embedding": jnp.ones((16, 8))},
        "head": {"kernel": jnp.ones((8, 16))},
    },
    "projection": {"kernel": jnp.ones((4, 8)), "bias": jnp.ones(8)},
    "qformer": {"query_tokens": jnp.ones((4, 8))},
}
IN_BLOCKS = {"decoder/blocks/attn/query/kernel", "decoder/blocks/attn/out/kernel"}
KERNELS = IN_BLOCKS | {"decoder/head/kernel", "projection/kernel"}


def drawn(seed: int, *, norm: float, params=PARAMS):
    """Random values in the place of every parameter, of this norm over all of them."""
    rng = np.random.default_rng(seed)
    values = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), params)
    size = np.sqrt(sum((leaf**2).sum() for leaf in jax.tree.leaves(values)))
    return jax.tree.map(lambda leaf: jnp.asarray(leaf * norm / size, jnp.float32), values)


# Gradients above and below the limit on the norm.
NORMS = (0.3, 5.0, 0.9, 40.0, 0.05)
START = drawn(9, norm=20.0)
NUM_STEPS = 6


def trained(config: OptimizerConfig, norms: tuple[float, ...] = NORMS) -> dict[str, np.ndarray]:
    """The parameters after an update with a gradient of each norm."""
    return _trained(dataclasses.astuple(config), norms)


@functools.cache
def _trained(values: tuple, norms: tuple[float, ...]) -> dict[str, np.ndarray]:
    transform = optimizer.make_optimizer(OptimizerConfig(*values), NUM_STEPS)
    params, opt_state = START, transform.init(START)
    for number, norm in enumerate(norms):
        updates, opt_state = transform.update(drawn(number, norm=norm), opt_state, params)
        params = jax.tree.map(jnp.add, params, updates)
    return {path: np.asarray(leaf) for path, leaf in parameter_paths.flatten(params).items()}


def mean_of_gradients(moment, gradient, *, decay: float, number: int):
    """Adam's first moment without the pull of its start at zero."""
    return moment / (1 - decay ** (number + 1))


def ahead_of_gradients(moment, gradient, *, decay: float, number: int):
    """Nesterov's look ahead, each term with its own correction for the start at zero (optax' `nesterov`)."""
    return decay * moment / (1 - decay ** (number + 2)) + (1 - decay) * gradient / (1 - decay ** (number + 1))


def adam_in_numpy(config: OptimizerConfig, *, decays: set[str], direction=mean_of_gradients):
    """Adam with decoupled weight decay (arXiv 1711.05101, algorithm 2) on gradients whose common norm is clipped."""
    params = {path: np.asarray(leaf, np.float64) for path, leaf in parameter_paths.flatten(START).items()}
    first, second = ({path: np.zeros_like(leaf) for path, leaf in params.items()} for _ in range(2))
    for number, norm in enumerate(NORMS):
        rate = config.learning_rate * wanted_rate(config, NUM_STEPS, number)
        for path, leaf in parameter_paths.flatten(drawn(number, norm=norm)).items():
            gradient = np.asarray(leaf, np.float64) * min(1.0, config.clip_norm / norm)
            first[path] = config.b1 * first[path] + (1 - config.b1) * gradient
            second[path] = config.b2 * second[path] + (1 - config.b2) * gradient**2
            mean = direction(first[path], gradient, decay=config.b1, number=number)
            spread = np.sqrt(second[path] / (1 - config.b2 ** (number + 1)))
            change = mean / (spread + config.epsilon)
            params[path] = params[path] - rate * (change + (path in decays) * config.weight_decay * params[path])
    return params


COMMON = {"warmup_steps": 2, "hold_share": 0.5, "end_share": 0.1, "learning_rate": 0.05, "b1": 0.8, "b2": 0.7}
OTHER = {"epsilon": 0.02, "clip_norm": 0.7, "weight_decay": 0.3}


def test_adamw_is_the_algorithm_of_its_paper() -> None:
    config = OptimizerConfig(**COMMON, **OTHER)
    wanted = adam_in_numpy(config, decays=KERNELS)
    for path, leaf in trained(config).items():
        np.testing.assert_allclose(leaf, wanted[path], rtol=2e-5, atol=1e-6, err_msg=path)


def test_muon_leaves_to_adam_what_is_no_matrix_of_a_block() -> None:
    """The same algorithm, but that it looks ahead as Muon does, without decay (see `OptimizerConfig`)."""
    config = OptimizerConfig(name="muon", **COMMON, **OTHER)
    wanted = adam_in_numpy(config, decays=set(), direction=ahead_of_gradients)
    found = trained(config)
    for path in found.keys() - IN_BLOCKS:
        np.testing.assert_allclose(found[path], wanted[path], rtol=2e-5, atol=1e-6, err_msg=path)


def muon_in_numpy(config: OptimizerConfig, path: str, *, inputs: int):
    """Muon (kellerjordan.github.io/posts/muon) as optax has it: momentum 0.95 with Nesterov, five steps of iteration.

    `inputs` axes after that of the layers are a matrix's input, the others its output.
    """
    params = np.asarray(parameter_paths.flatten(START)[path], np.float64)
    momentum = np.zeros_like(params)
    rows = int(np.prod(params.shape[1 : 1 + inputs]))
    for number, norm in enumerate(NORMS):
        leaf = parameter_paths.flatten(drawn(number, norm=norm))[path]
        gradient = np.asarray(leaf, np.float64) * min(1.0, config.clip_norm / norm)
        momentum = 0.95 * momentum + 0.05 * gradient
        ahead = ahead_of_gradients(momentum, gradient, decay=0.95, number=number)
        change = np.stack([orthogonal(layer.reshape(rows, -1), config.epsilon) for layer in ahead])
        change *= np.sqrt(max(1.0, change.shape[2] / change.shape[1]))
        rate = config.matrix_learning_rate * wanted_rate(config, NUM_STEPS, number)
        params = params - rate * (change.reshape(params.shape) + config.weight_decay * params)
    return params


def orthogonal(matrix: np.ndarray, epsilon: float) -> np.ndarray:
    x = matrix / (np.linalg.norm(matrix) + epsilon)
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x


@pytest.mark.parametrize(("name", "inputs"), [("query", 1), ("out", 2)])
def test_muon_is_its_algorithm_on_the_matrices_of_blocks(name: str, inputs: int) -> None:
    config = OptimizerConfig(name="muon", matrix_learning_rate=0.03, **COMMON, **OTHER)
    path = f"decoder/blocks/attn/{name}/kernel"
    np.testing.assert_allclose(trained(config)[path], muon_in_numpy(config, path, inputs=inputs), rtol=1e-3, atol=1e-4)


CHANGED = {
    "learning_rate": 0.06,
    "matrix_learning_rate": 0.04,
    "warmup_steps": 3,
    "decay": "linear",
    "hold_share": 0.6,
    "end_share": 0.3,
    "weight_decay": 0.4,
    "b1": 0.7,
    "b2": 0.9,
    "epsilon": 0.05,
    "clip_norm": 0.6,
}


def test_the_list_of_changes_names_every_field() -> None:
    # `accumulation` leaves the update as it is: test_micro_batches.py.
    assert CHANGED.keys() | {"name", "accumulation"} == {field.name for field in dataclasses.fields(OptimizerConfig)}


@pytest.mark.parametrize("name", ["adamw", "muon"])
@pytest.mark.parametrize("field", CHANGED)
def test_every_field_moves_the_parameters(name: str, field: str) -> None:
    """No option is dead: the parameters after a few updates are others. AdamW alone has no matrices apart."""
    config = OptimizerConfig(name=name, decay="cosine", matrix_learning_rate=0.03, **COMMON, **OTHER)
    before, after = trained(config), trained(dataclasses.replace(config, **{field: CHANGED[field]}))
    moved = {path for path, leaf in before.items() if np.abs(leaf - after[path]).max() > 1e-5}
    if field == "matrix_learning_rate":
        assert moved == (IN_BLOCKS if name == "muon" else set())
    elif field == "weight_decay":
        assert moved == (IN_BLOCKS if name == "muon" else KERNELS)
    elif name == "muon" and field in ("learning_rate", "b1", "b2"):
        assert moved == before.keys() - IN_BLOCKS
    else:
        assert moved == before.keys()


def test_only_matrices_decay() -> None:
    mask = parameter_paths.flatten(optimizer.decay_mask(PARAMS))
    assert {path for path, decays in mask.items() if decays} == KERNELS
    assert optimizer.decay_mask({"kernel": {"bias": 1}, "a_kernel": 2}) == {
        "kernel": {"bias": False},
        "a_kernel": False,
    }


@pytest.mark.parametrize(("name", "wanted"), [("adamw", KERNELS), ("muon", IN_BLOCKS)])
def test_what_decays_shrinks_where_there_is_no_gradient(name: str, wanted: set[str]) -> None:
    """By the rate times the decay, to the same share everywhere; all else stays to the last bit."""
    config = OptimizerConfig(
        name=name, warmup_steps=0, hold_share=0.9, weight_decay=0.5, learning_rate=0.1, matrix_learning_rate=0.1
    )
    after, before = trained(config, norms=(0.0,)), parameter_paths.flatten(START)
    for path, leaf in after.items():
        share = 1.0 - 0.1 * 0.5 if path in wanted else 1.0
        np.testing.assert_allclose(leaf, share * np.asarray(before[path]), rtol=1e-6 if path in wanted else 0)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_gradients_are_clipped_together_and_only_above_the_limit(name: str) -> None:
    """Above the limit twice the gradient changes nothing; below it, the limit changes nothing."""
    config = OptimizerConfig(name=name, matrix_learning_rate=0.03, **COMMON, epsilon=0.02)

    def after(norms: tuple[float, ...], clip_norm: float) -> list[np.ndarray]:
        return [*trained(dataclasses.replace(config, clip_norm=clip_norm), norms=norms).values()]

    for one, other, same in (
        (after((0.5, 2.0, 3.0), 1.0), after((0.5, 4.0, 60.0), 1.0), True),
        (after((0.5, 0.9), 1.0), after((0.5, 0.9), 100.0), True),
        (after((0.5, 2.0), 1.0), after((0.5, 2.0), 100.0), False),
    ):
        assert all(np.allclose(x, y, rtol=1e-5, atol=1e-6) for x, y in zip(one, other, strict=True)) == same


def test_muon_orthogonalises_each_layer_apart() -> None:
    """Singular values of the update are about equal within a layer, whatever the gradient's scale in another."""
    config = OptimizerConfig(name="muon", warmup_steps=0, weight_decay=0.0, clip_norm=1e9, matrix_learning_rate=1.0)
    transform = optimizer.make_optimizer(config, 10)
    gradients = jax.tree.map(lambda x: jax.random.normal(jax.random.key(0), x.shape), PARAMS)
    kernel = gradients["decoder"]["blocks"]["attn"]["out"]["kernel"]
    gradients["decoder"]["blocks"]["attn"]["out"]["kernel"] = kernel.at[1].multiply(1e3)
    updates, _ = transform.update(gradients, transform.init(PARAMS), PARAMS)
    for name, shape in (("query", (8, 8)), ("out", (8, 8))):
        update = np.asarray(updates["decoder"]["blocks"]["attn"][name]["kernel"])
        for layer in update:
            values = np.linalg.svd(layer.reshape(shape), compute_uv=False)
            # Newton-Schulz with Muon's coefficients leaves singular values between about 0.7 and 1.2.
            assert 0.5 < values[-2] <= values[0] < 1.5


def test_the_norm_is_that_over_all_leaves() -> None:
    assert float(optimizer.global_norm(drawn(0, norm=3.5))) == pytest.approx(3.5, rel=1e-5)
