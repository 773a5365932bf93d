"""The whole model: vision tower -> Q-Former -> projection -> language model. A video is its frames."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num

from m3it_jax.models import layers
from m3it_jax.models.decoder import Decoder, KVCache
from m3it_jax.models.qformer import QFormer
from m3it_jax.models.variants import Variant
from m3it_jax.models.vit import ViT, ViTConfig


def normalise_pixels(images: Num[Array, "I h w c"], config: ViTConfig) -> Float[Array, "I h w c"]:
    """Returns float32 pictures with the tower's mean and deviation; float pictures count as normalised already."""
    if jnp.issubdtype(images.dtype, jnp.floating):
        return images
    mean, std = jnp.asarray(config.pixel_mean), jnp.asarray(config.pixel_std)
    return (images.astype(jnp.float32) / 255.0 - mean) / std


class VLM(nn.Module):
    """Pictures and text in, next-token scores out.

    Parameters lie under `vit`, `qformer`, `projection` and `decoder`.
    """

    vit: ViT
    qformer: QFormer
    projection: nn.Dense
    decoder: Decoder

    def encode_images(self, images: Num[Array, "I h w c"], *, deterministic: bool = True) -> Float[Array, "I Q D"]:
        """Returns what the language model sees of each picture.

        Args:
          images: uint8 pictures of the tower's size, or float pictures that are normalised already.
          deterministic: True switches dropout off.
        """
        patches = self.vit(normalise_pixels(images, self.vit.config))
        return self.projection(self.qformer(patches, deterministic=deterministic))

    def embed(
        self,
        token_ids: Int[Array, "B T"],
        image_token_index: Int[Array, "B T"],
        image_embeds: Float[Array, "I Q D"] | None,
    ) -> Float[Array, "B T D"]:
        """Returns the embeddings of rows: pictures where `image_token_index` >= 0, token ids elsewhere (-1).

        `image_token_index` counts over all queries of all pictures of the batch, so several rows may show one picture
        and a row may show several.
        """
        embeds = self.decoder.embed(token_ids)
        if image_embeds is None:
            return embeds
        flat = image_embeds.reshape(-1, image_embeds.shape[-1]).astype(embeds.dtype)
        shown = jnp.take(flat, jnp.maximum(image_token_index, 0), axis=0)
        return jnp.where(image_token_index[:, :, None] >= 0, shown, embeds)

    def hidden(self, batch: dict[str, Array], *, deterministic: bool = True) -> Float[Array, "B T D"]:
        """Returns the last hidden states of a batch as `input_pipeline` makes it (`images` may be missing)."""
        images = batch.get("images")
        image_embeds = None if images is None else self.encode_images(images, deterministic=deterministic)
        embeds = self.embed(batch["token_ids"], batch["image_token_index"], image_embeds)
        return self.decoder.hidden(embeds, batch["positions"], batch["segment_ids"])

    def logits(self, hidden: Float[Array, "B T D"]) -> Float[Array, "B T V"]:
        """Returns float32 scores of the next token after each hidden state."""
        return self.decoder.logits(hidden)

    def __call__(self, batch: dict[str, Array], *, deterministic: bool = True) -> Float[Array, "B T V"]:
        """Returns float32 scores of the next token at every position of a batch."""
        return self.logits(self.hidden(batch, deterministic=deterministic))

    def extend(
        self,
        embeds: Float[Array, "B T D"],
        positions: Int[Array, "B T"],
        segment_ids: Int[Array, "B T"],
        *,
        kv_cache: KVCache,
    ) -> tuple[Float[Array, "B T D"], KVCache]:
        """Returns the hidden states of new tokens and the cache that holds them (see `Decoder.extend`)."""
        return self.decoder.extend(embeds, positions, segment_ids, cache=kv_cache)


def make_vlm(variant: Variant, *, dtype: str = "float32", remat: bool = False, layered: bool = False) -> VLM:
    """Returns the model of a variant; `dtype` is that of the activations, `layered` the decoder's form for decoding."""
    compute = jnp.dtype(dtype)
    return VLM(
        vit=ViT(variant.vit, compute, remat),
        qformer=QFormer(variant.qformer, compute, remat),
        projection=nn.Dense(variant.decoder.embed_dim, dtype=compute, kernel_init=layers.TOKEN_INIT),
        decoder=Decoder(variant.decoder, compute, remat, layered),
    )
