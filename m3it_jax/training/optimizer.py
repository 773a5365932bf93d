"""The optimiser: optax chains, the schedule, and which parameters decay."""

from typing import Any

import jax
import optax

from m3it_jax import adapter_weights, parameter_paths, sharding
from m3it_jax.config import OptimizerConfig

_ADAPTER = (f"/{adapter_weights.A}", f"/{adapter_weights.B}")


def schedule(config: OptimizerConfig, num_steps: int, peak: float) -> optax.Schedule:
    """Returns the learning rate by step: linear warm-up, level until `hold_share` of all steps, decay to `end_share`.

    With the paper's values (arXiv 2306.04387, section 4.1) it is 0 at step 0 and `peak` at `warmup_steps`.
    """
    decay_begin = max(config.warmup_steps, round(config.hold_share * num_steps))
    decay_steps = max(num_steps - decay_begin, 1)
    decays = {
        "cosine": optax.cosine_decay_schedule(peak, decay_steps, alpha=config.end_share),
        "linear": optax.linear_schedule(peak, peak * config.end_share, decay_steps),
    }
    warmup = (
        optax.linear_schedule(0.0, peak, config.warmup_steps) if config.warmup_steps else optax.constant_schedule(peak)
    )
    pieces = [warmup, optax.constant_schedule(peak), decays[config.decay]]
    return optax.join_schedules(pieces, [config.warmup_steps, decay_begin])


def decay_mask(params: Any) -> Any:
    """Returns True for matrices, False for biases, norms, embeddings and query tokens."""
    return parameter_paths.map_with_path(lambda path, _: path.endswith(("/kernel", *_ADAPTER)), params)


def _muon_dimensions(params: Any) -> Any:
    """Returns which axes of each block matrix are its input and its output; None where Adam serves.

    Stacked layers stay apart; heads and head widths count as one axis of the matrix.
    """

    def dimensions(path: str, _: Any) -> optax.contrib.MuonDimensionNumbers | None:
        axes = sharding.parameter_axes(path)
        if axes[:1] != ("layers",) or not path.endswith("/kernel"):
            return None
        inner = tuple(range(1, len(axes)))
        if axes[-1] == "embed":
            return optax.contrib.MuonDimensionNumbers(inner[:-1], inner[-1:])
        return optax.contrib.MuonDimensionNumbers(inner[:1], inner[1:])

    return parameter_paths.map_with_path(dimensions, params)


def make_optimizer(config: OptimizerConfig, num_steps: int) -> optax.GradientTransformation:
    """Returns the optimiser of a run of `num_steps` updates."""
    learning_rate = schedule(config, num_steps, config.learning_rate)
    clip = optax.clip_by_global_norm(config.clip_norm)
    if config.name == "muon":
        return optax.chain(
            clip,
            optax.contrib.muon(
                schedule(config, num_steps, config.matrix_learning_rate),
                eps=config.epsilon,
                weight_decay=config.weight_decay,
                weight_decay_mask=decay_mask,
                adam_b1=config.b1,
                adam_b2=config.b2,
                adam_learning_rate=learning_rate,
                muon_weight_dimension_numbers=_muon_dimensions,
            ),
        )
    adamw = optax.adamw(
        learning_rate,
        b1=config.b1,
        b2=config.b2,
        eps=config.epsilon,
        weight_decay=config.weight_decay,
        mask=decay_mask,
    )
    return optax.chain(clip, adamw)


def global_norm(tree: Any) -> jax.Array:
    """Returns the Euclidean norm over all leaves."""
    return optax.global_norm(tree)
