"""What a vision tower (and a Q-Former on it) is pre-trained with when no public weights are at hand.

Two signals from one caption record: the picture's attributes, read by one classifier each, and the caption, matched to
the picture with SigLIP's pairwise sigmoid loss (arXiv 2303.15343). The heads are thrown away afterwards.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num

from m3it_jax.models import layers, vlm
from m3it_jax.models.qformer import QFormer
from m3it_jax.models.variants import Variant
from m3it_jax.models.vit import ViT


class TowerHeads(nn.Module):
    """Reads attributes and an embedding off a tower's tokens, and an embedding off a caption.

    Every attribute pools the tokens with a query of its own: one shared pool (or a mean) reads places badly.
    """

    attribute_sizes: tuple[tuple[str, int], ...]  # (name, number of classes)
    vocab_size: int
    embed_dim: int

    @nn.compact
    def __call__(self, tokens: Float[Array, "I P D"], caption_ids: Int[Array, "I C"]) -> dict[str, Float[Array, "..."]]:
        """Returns each attribute's logits [I, classes] under its name, and `similarity` [I pictures, I captions]."""
        width = self.embed_dim
        num_pools = len(self.attribute_sizes) + 1
        queries = self.param("pool_queries", layers.TOKEN_INIT, (num_pools, width))
        keys = nn.Dense(width, name="pool_key")(tokens)
        values = nn.Dense(width, name="pool_value")(tokens)
        weights = jax.nn.softmax(jnp.einsum("AD,IPD->IAP", queries, keys) / jnp.sqrt(width))
        pooled = jnp.einsum("IAP,IPD->IAD", weights, values)
        outputs = {}
        for number, (name, size) in enumerate(self.attribute_sizes):
            outputs[name] = nn.Dense(size, name=f"attribute_{name}")(pooled[:, number] + tokens[:, 0])
        image = nn.Dense(width, name="image_out")(pooled[:, -1] + tokens[:, 0])
        text = self._caption_embedding(caption_ids)
        image, text = (x / (jnp.linalg.norm(x, axis=-1, keepdims=True) + 1e-6) for x in (image, text))
        # SigLIP's start: temperature 10, offset -10, so that the many wrong pairs do not swamp the first steps.
        temperature = jnp.exp(self.param("temperature", nn.initializers.constant(jnp.log(10.0)), ()))
        offset = self.param("offset", nn.initializers.constant(-10.0), ())
        outputs["similarity"] = image @ text.T * temperature + offset
        return outputs

    def _caption_embedding(self, caption_ids: Int[Array, "I C"]) -> Float[Array, "I D"]:
        """Returns the mean over real tokens of a layer that sees the token and its place; id 0 is padding."""
        real = (caption_ids > 0)[:, :, None]
        table = nn.Embed(self.vocab_size, self.embed_dim, embedding_init=layers.TOKEN_INIT, name="text_embedding")
        places = self.param("text_positions", layers.TOKEN_INIT, (caption_ids.shape[1], self.embed_dim))
        hidden = layers.quick_gelu(nn.Dense(2 * self.embed_dim, name="text_up")(table(caption_ids) + places))
        mean = jnp.where(real, hidden, 0.0).sum(axis=1) / jnp.maximum(real.sum(axis=1), 1)
        return nn.Dense(self.embed_dim, name="text_out")(mean)


class TowerModel(nn.Module):
    """A vision tower, a Q-Former on it or none, and the heads that teach them."""

    vit: ViT
    qformer: QFormer | None
    heads: TowerHeads

    def __call__(self, batch: dict[str, Num[Array, "..."]], *, deterministic: bool = True) -> dict[str, Array]:
        """Returns the heads' outputs for `images` [I, h, w, c] and `caption_ids` [I, C]."""
        tokens = self.vit(vlm.normalise_pixels(batch["images"], self.vit.config))
        if self.qformer is not None:
            tokens = self.qformer(tokens, deterministic=deterministic)
        return self.heads(tokens, batch["caption_ids"])


def make_tower_model(
    variant: Variant, attribute_sizes: tuple[tuple[str, int], ...], *, with_qformer: bool, dtype: str
) -> TowerModel:
    """Returns the model that teaches the vision tower, or the Q-Former on top of it."""
    compute = jnp.dtype(dtype)
    return TowerModel(
        vit=ViT(variant.vit, compute),
        qformer=QFormer(variant.qformer, compute) if with_qformer else None,
        heads=TowerHeads(attribute_sizes, variant.decoder.vocab_size, variant.vit.embed_dim),
    )
