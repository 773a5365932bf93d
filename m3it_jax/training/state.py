"""The state of a run: what is trained, what is frozen, and the optimiser's memory of the trained part alone."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax

from m3it_jax import errors, parameter_paths
from m3it_jax.config import Experiment
from m3it_jax.training import adapters


class TrainState(NamedTuple):
    """Everything that one update changes or reads. `step` counts finished updates."""

    step: jax.Array
    trainable: dict[str, Any]  # nested parameters that the optimiser changes
    frozen: dict[str, Any]  # nested parameters that it does not
    opt_state: Any

    @property
    def params(self) -> dict[str, Any]:
        """The whole nested tree of parameters."""
        return merge(self.trainable, self.frozen)


def trained_table(config: Experiment) -> tuple[tuple[str, bool], ...]:
    """Returns the table of (pattern, train) that holds: `trainable`, or that of adapters where there are some."""
    if not config.lora.rank:
        return config.trainable
    return (adapters.TRAINED, *((pattern, True) for pattern in config.lora.also), (".*", False))


def decide(paths: Sequence[str], table: Sequence[tuple[str, bool]]) -> dict[str, bool]:
    """Returns {path: is it trained?} by the first row of (pattern, train) that matches the whole path.

    Raises:
      ConfigError: a path matches no row, or a row decides nothing.
    """
    decided: dict[str, bool] = {}
    used = [False] * len(table)
    for path in paths:
        for number, (pattern, train) in enumerate(table):
            if re.fullmatch(pattern, path):
                decided[path], used[number] = train, True
                break
        else:
            raise errors.ConfigError(f"trainable: no row matches parameter {path}; add one")
    for (pattern, _), was_used in zip(table, used, strict=True):
        if not was_used:
            parts = sorted({path.split("/")[0] for path in paths})
            raise errors.ConfigError(
                f"trainable: {pattern!r} decides no parameter (an earlier row may take all of them); "
                f"parts are {', '.join(parts)}"
            )
    return decided


def split(params: Mapping[str, Any], table: Sequence[tuple[str, bool]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the trained and the frozen leaves of a nested tree, each nested."""
    leaves = parameter_paths.flatten(params)
    decided = decide(list(leaves), table)
    trainable = {path: leaf for path, leaf in leaves.items() if decided[path]}
    frozen = {path: leaf for path, leaf in leaves.items() if not decided[path]}
    return parameter_paths.unflatten(trainable), parameter_paths.unflatten(frozen)


def merge(trainable: Mapping[str, Any], frozen: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the nested tree that `split` took apart."""
    return parameter_paths.unflatten({**parameter_paths.flatten(trainable), **parameter_paths.flatten(frozen)})
