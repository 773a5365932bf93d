"""The whole model: vision tower -> Q-Former or none -> projection -> language model. A video is its frames."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num

from m3it_jax.models import projection
from m3it_jax.models.decoder import Decoder, DecoderConfig, KVCache
from m3it_jax.models.encoder_decoder import EncoderDecoder
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
    qformer: QFormer | None
    projection: nn.Module
    decoder: Decoder | EncoderDecoder

    @property
    def picture_len(self) -> int:
        """Q, the positions of one picture in a row of the language model."""
        return self.vit.config.num_tokens if self.qformer is None else self.qformer.config.num_queries

    def encode_images(
        self,
        images: Num[Array, "I h w c"],
        *,
        text_ids: Int[Array, "I T"] | None = None,
        text_mask: Bool[Array, "I T"] | None = None,
        deterministic: bool = True,
    ) -> Float[Array, "I Q D"]:
        """Returns what the language model sees of each picture.

        Args:
          images: uint8 pictures of the tower's size, or float pictures that are normalised already.
          text_ids: The instruction beside each picture, for a Q-Former with text input alone (`QFormer`).
          text_mask: True for the real tokens of `text_ids`.
          deterministic: True switches dropout off.

        Raises:
          ValueError: text for a model that has no text input there.
        """
        tokens = self.vit(normalise_pixels(images, self.vit.config))
        if self.qformer is not None:
            tokens = self.qformer(tokens, text_ids=text_ids, text_mask=text_mask, deterministic=deterministic)
        elif text_ids is not None:
            raise ValueError("text_ids: this model has no Q-Former")
        return self.projection(tokens)

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
        """Returns the last hidden states of a batch as `input_pipeline` makes it (`images` may be missing).

        A batch with `parent_ids` has packed rows: each has as many pictures of its own, and its `image_token_index`
        counts over them, so that no row needs what another device has encoded.

        With an encoder-decoder model the batch is what the encoder reads, and the states are those of the decoder at
        `decoder_ids` int32 [B, T] of the batch.
        """
        embeds = self._embed_batch(batch, deterministic)
        if isinstance(self.decoder, EncoderDecoder):
            encoded = self.decoder.encode(embeds, batch["segment_ids"])
            return self.decoder.hidden(batch["decoder_ids"], encoded, batch["segment_ids"])
        return self.decoder.hidden(embeds, batch["positions"], batch["segment_ids"], parent_ids=batch.get("parent_ids"))

    def _embed_batch(self, batch: dict[str, Array], deterministic: bool) -> Float[Array, "B T D"]:
        image_embeds = None
        if "images" in batch:
            text = {name: batch.get(name) for name in ("text_ids", "text_mask")}
            image_embeds = self.encode_images(batch["images"], **text, deterministic=deterministic)
        if image_embeds is not None and "parent_ids" in batch:
            return own_pictures(self.decoder.embed(batch["token_ids"]), batch["image_token_index"], image_embeds)
        return self.embed(batch["token_ids"], batch["image_token_index"], image_embeds)

    def logits(self, hidden: Float[Array, "B T D"]) -> Float[Array, "B T V"]:
        """Returns float32 scores of the next token after each hidden state."""
        return self.decoder.logits(hidden)

    def __call__(self, batch: dict[str, Array], *, deterministic: bool = True) -> Float[Array, "B T V"]:
        """Returns float32 scores of the next token at every position of a batch.

        With an encoder-decoder model the batch is what the encoder reads, and the positions are those of `decoder_ids`
        int32 [B, T] of the batch; where it has none, the start token's.
        """
        if isinstance(self.decoder, EncoderDecoder) and "decoder_ids" not in batch:
            start = jnp.full((batch["token_ids"].shape[0], 1), self.decoder.config.start_id, jnp.int32)
            batch = {**batch, "decoder_ids": start}
        return self.logits(self.hidden(batch, deterministic=deterministic))

    def prefill(
        self,
        embeds: Float[Array, "B T D"],
        positions: Int[Array, "B T"],
        segment_ids: Int[Array, "B T"],
        *,
        kv_cache: KVCache,
    ) -> tuple[Float[Array, "B 1 D"], KVCache]:
        """Returns the hidden state of the last token of each row and the filled cache (see `Decoder.prefill`)."""
        return self.decoder.prefill(embeds, positions, segment_ids, cache=kv_cache)

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


def own_pictures(
    words: Float[Array, "B T D"], image_token_index: Int[Array, "B T"], image_embeds: Float[Array, "I Q D"]
) -> Float[Array, "B T D"]:
    """Returns `words` with pictures where the index is 0 or more; it counts over the pictures of its own row, I / B."""
    flat = image_embeds.reshape(words.shape[0], -1, words.shape[-1]).astype(words.dtype)
    shown = jnp.take_along_axis(flat, jnp.maximum(image_token_index, 0)[:, :, None], axis=1)
    return jnp.where(image_token_index[:, :, None] >= 0, shown, words)


def make_vlm(variant: Variant, *, dtype: str = "float32", remat: bool = False) -> VLM:
    """Returns the model of a variant; `dtype` is that of the activations."""
    compute = jnp.dtype(dtype)
    language_model = Decoder if isinstance(variant.decoder, DecoderConfig) else EncoderDecoder
    return VLM(
        vit=ViT(variant.vit, compute, remat),
        qformer=None if variant.qformer is None else QFormer(variant.qformer, compute, remat),
        projection=projection.make_projection(variant.projection, out_dim=variant.decoder.embed_dim, dtype=compute),
        decoder=language_model(variant.decoder, compute, remat),
    )
