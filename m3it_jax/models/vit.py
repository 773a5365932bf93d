"""The vision tower: a pre-norm ViT, as in EVA-CLIP g/14 of BLIP-2 and CLIP L/14 of LLaVA."""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from m3it_jax.models import layers


@dataclasses.dataclass(frozen=True)
class ViTConfig:
    """Sizes of the tower. Pictures are squares of `image_size` pixels, cut into whole patches of `patch_size`.

    What is left over at the right and below is not read.
    """

    image_size: int
    patch_size: int
    embed_dim: int
    mlp_dim: int
    num_layers: int
    num_heads: int
    activation: str
    layer_norm_epsilon: float
    pixel_mean: tuple[float, float, float]  # of red, green and blue, pixels scaled to [0, 1]
    pixel_std: tuple[float, float, float]
    has_patch_bias: bool
    has_input_norm: bool  # before the first block
    has_final_norm: bool  # after the last block
    keeps_class_token: bool  # among the output tokens; it is always computed
    image_fit: str  # how a picture becomes a square: "stretch", or "crop": its shortest edge fits, the centre stays

    @property
    def num_positions(self) -> int:
        """Number of tokens in the blocks: one class token and one for each patch."""
        return 1 + (self.image_size // self.patch_size) ** 2

    @property
    def num_tokens(self) -> int:
        """Number of output tokens of a picture."""
        return self.num_positions - (not self.keeps_class_token)


def sincos_positions(num_positions: int, embed_dim: int) -> np.ndarray:
    """Returns 2-D sine-cosine positions [P, D] for a square grid, zero for the class token: only where learning starts.

    Source of the idea: big_vision models/vit.py (`posemb_sincos_2d`).
    """
    side = int(np.sqrt(num_positions - 1))
    rows, columns = np.divmod(np.arange(side * side), side)
    frequency = 1.0 / 10_000 ** (np.arange(embed_dim // 4) / max(embed_dim // 4 - 1, 1))
    angles = [axis[:, None] * frequency for axis in (columns, rows)]
    grid = np.concatenate([wave(angle) for angle in angles for wave in (np.sin, np.cos)], axis=1)
    positions = np.zeros((num_positions, embed_dim), np.float32)
    positions[1:, : grid.shape[1]] = grid
    return positions


class ViTBlock(nn.Module):
    """Attention and feed-forward, each behind a layer norm and beside a residual path."""

    config: ViTConfig
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Float[Array, "I P D"], _: None) -> tuple[Float[Array, "I P D"], None]:
        """Returns (x, None), the form that `nn.scan` asks for."""
        config = self.config
        head_dim = config.embed_dim // config.num_heads
        normed = nn.LayerNorm(config.layer_norm_epsilon, dtype=self.dtype, name="attn_norm")(x)
        x = x + layers.Attention(config.num_heads, head_dim, self.dtype, name="attn")(normed)
        normed = nn.LayerNorm(config.layer_norm_epsilon, dtype=self.dtype, name="mlp_norm")(x)
        x = x + layers.FeedForward(config.mlp_dim, config.activation, self.dtype, name="mlp")(normed)
        return layers.constrain(x), None


class ViT(nn.Module):
    """Pixels in, one vector for each patch out, and one for the whole picture where the configuration keeps it."""

    config: ViTConfig
    dtype: jnp.dtype
    remat: bool = False

    @nn.compact
    def __call__(self, images: Float[Array, "I h w c"]) -> Float[Array, "I P D"]:
        """Returns the tokens after the last block and its norm, the class token first where it is kept.

        Args:
          images: Pictures of the tower's size, normalised by its mean and deviation (`vlm.normalise_pixels`).
        """
        config = self.config
        side, patch = config.image_size // config.patch_size, config.patch_size
        images = images[:, : side * patch, : side * patch]
        patches = images.reshape(-1, side, patch, side, patch, 3).transpose(0, 1, 3, 2, 4, 5)
        patches = patches.reshape(-1, side * side, patch, patch, 3).astype(self.dtype)
        x = layers.Linear(
            (config.embed_dim,), self.dtype, num_axes=3, use_bias=config.has_patch_bias, name="patch_embedding"
        )(patches)
        class_token = self.param("class_token", layers.TOKEN_INIT, (config.embed_dim,))
        positions = self.param(
            "position_embedding",
            lambda _, *shape: jnp.asarray(sincos_positions(*shape)),
            config.num_positions,
            config.embed_dim,
        )
        class_tokens = jnp.broadcast_to(class_token.astype(self.dtype), (x.shape[0], 1, config.embed_dim))
        x = jnp.concatenate([class_tokens, x], axis=1) + positions.astype(self.dtype)
        if config.has_input_norm:
            x = nn.LayerNorm(config.layer_norm_epsilon, dtype=self.dtype, name="input_norm")(x)
        x = layers.constrain(x)
        block = nn.remat(ViTBlock) if self.remat else ViTBlock
        blocks = layers.stacked(block, config.num_layers, num_inputs=1)
        x, _ = blocks(config, self.dtype, name="blocks")(x, None)
        if config.has_final_norm:
            x = nn.LayerNorm(config.layer_norm_epsilon, dtype=self.dtype, name="final_norm")(x)
        return x if config.keeps_class_token else x[:, 1:]
