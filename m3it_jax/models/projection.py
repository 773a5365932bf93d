"""The projection: from the width of what is read off a picture to the language model's."""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp

from m3it_jax.models import layers


@dataclasses.dataclass(frozen=True)
class ProjectionConfig:
    """One linear layer (`mlp_dim` 0, the activation is not used), or two with `mlp_dim` between them."""

    mlp_dim: int
    activation: str


def make_projection(config: ProjectionConfig, *, out_dim: int, dtype: jnp.dtype) -> nn.Module:
    """Returns the module that takes [I, Q, C] to [I, Q, out_dim]."""
    if config.mlp_dim:
        return layers.FeedForward(config.mlp_dim, config.activation, dtype, out_dim=out_dim)
    return layers.Linear((out_dim,), dtype, kernel_init=layers.TOKEN_INIT)
