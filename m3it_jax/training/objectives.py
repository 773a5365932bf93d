"""What a run optimises: which model, which rows, which loss. One row of `OBJECTIVES` each."""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from m3it_jax import sharding
from m3it_jax.models import towers, variants, vlm
from m3it_jax.models.encoder_decoder import EncoderDecoderConfig
from m3it_jax.training import chunked_loss, losses
from m3it_jax.training.adapters import Adapters

Batch = dict[str, jax.Array]
Sums = dict[str, jax.Array]  # metric name -> float32 [2]: sum and count, or [num_sources, 2]


@dataclasses.dataclass(frozen=True)
class Task:
    """What a model is built for, beside its sizes.

    Attributes:
      variant: Sizes of the parts.
      dtype: Of the activations.
      remat: Recompute blocks in the backward pass.
      attributes: (name, number of classes) of each picture attribute in the data.
      num_sources: Number of sources of the mixture.
      max_targets: Most supervised tokens that a row can hold.
      adapters: Low-rank adapters beside the parameters; None: there are none.
    """

    variant: variants.Variant
    dtype: str
    remat: bool
    attributes: tuple[tuple[str, int], ...]
    num_sources: int
    max_targets: int
    adapters: Adapters | None = None


class LossFn(Protocol):
    """How a loss is called."""

    def __call__(
        self, model: Any, params: Any, batch: Batch, *, task: Task, rngs: dict[str, jax.Array] | None
    ) -> tuple[jax.Array, Sums]:
        """Returns the loss to minimise and the sums to report; `rngs` None switches dropout off."""
        ...


def _no_facts(batch: Batch, task: Task) -> Sums:
    del batch, task
    return {}


@dataclasses.dataclass(frozen=True)
class Objective:
    """A model builder, the kind of rows that the input pipeline makes for it, and its loss.

    Attributes:
      make_model: Returns the model of a task.
      rows: The kind of rows.
      loss: The loss; `train/loss` of its sums is the mean that is minimised.
      facts: Those of the sums that the whole batch tells alone, without parameters.
    """

    make_model: Callable[[Task], Any]
    rows: str
    loss: LossFn
    facts: Callable[[Batch, Task], Sums] = _no_facts


def _pair(total: jax.Array, count: jax.Array | float) -> jax.Array:
    return jnp.stack([jnp.asarray(total, jnp.float32), jnp.asarray(count, jnp.float32)], axis=-1)


def response_loss(
    model: Any, params: Any, batch: Batch, *, task: Task, rngs: dict[str, jax.Array] | None
) -> tuple[jax.Array, Sums]:
    """Mean cross-entropy over the supervised tokens of the batch.

    Only supervised positions go through the output head: they are a small part of a row, and the head is wide. In a
    packed row each token has a source of its own, and so the sums by source are made token by token. Of a row for an
    encoder-decoder model the encoder reads the prompt and the decoder writes the answer.
    """
    mask = batch["loss_mask"][:, 1:]  # token t is predicted from position t - 1
    weights, places = jax.lax.top_k(mask, min(task.max_targets, mask.shape[1]))
    target_ids = jnp.take_along_axis(batch["token_ids"], places + 1, axis=1)
    read = _apart(batch, target_ids, task) if task.variant.is_encoder_decoder else batch
    hidden = model.apply({"params": params}, read, deterministic=rngs is None, rngs=rngs, method="hidden")
    picked = hidden if "decoder_ids" in read else jnp.take_along_axis(hidden, places[:, :, None], axis=1)
    total, by_token, right = _token_losses(model, params, picked, target_ids=target_ids, weights=weights)
    if "parent_ids" in batch:
        sources = jnp.take_along_axis(batch["source_index"], places + 1, axis=1).reshape(-1)
        row_losses, row_counts = by_token.reshape(-1), weights.reshape(-1)
    else:
        sources, row_losses, row_counts = batch["source_index"], by_token.sum(axis=1), mask.sum(axis=1)
    count = row_counts.sum()
    by_source = jax.ops.segment_sum(_pair(row_losses, row_counts), sources, task.num_sources)
    sums = {
        "train/loss": _pair(total, count),
        "train/token_accuracy": _pair(right.sum(), count),
        "train/loss/source": by_source,
    }
    return total / jnp.maximum(count, 1.0), sums | _response_facts(batch, task)


def _token_losses(
    model: Any, params: Any, hidden: jax.Array, *, target_ids: jax.Array, weights: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns (sum of the weighted losses, those of each token, its hits), in pieces where all scores are too many."""
    rows = target_ids.shape
    vocab_size = jax.eval_shape(lambda: model.apply({"params": params}, hidden[:1, :1], method="logits")).shape[-1]
    pieces = chunked_loss.num_pieces(rows, vocab_size, num_shards=sharding.batch_shards(sharding.ShardingRules()))
    if pieces == 1:
        logits = model.apply({"params": params}, hidden, method="logits")
        alone = (logits.reshape(-1, 1, vocab_size), target_ids.reshape(-1, 1), weights.reshape(-1, 1))
        by_token, right = (array.reshape(rows) for array in losses.token_losses(*alone))
        return by_token.sum(), by_token, right
    decoder = params["decoder"]
    scoring = {name: decoder[name] for name in ["head" if "head" in decoder else "token_embedding"]}
    if "position_embedding" in decoder:  # the module asks for it, the scores do not
        scoring["position_embedding"] = jax.lax.stop_gradient(decoder["position_embedding"])
    return chunked_loss.weighted_loss(
        lambda head, states: model.apply({"params": head}, states, method="logits"),
        {"decoder": scoring},
        hidden,
        target_ids=target_ids,
        weights=weights,
        pieces=pieces,
    )


def _apart(batch: Batch, target_ids: jax.Array, task: Task) -> Batch:
    """Returns a batch of rows divided for an encoder-decoder model: the encoder reads what stands before the answer.

    A row is laid out as for a decoder alone, prompt, answer, padding, and the loss counts the answer. For the encoder
    the answer is padding; the decoder gets the start token and the answer behind it. `top_k` keeps the order of equal
    weights, so `target_ids` begins with the answer's tokens; what follows them weighs nothing and is seen by none.
    """
    assert isinstance(task.variant.decoder, EncoderDecoderConfig)
    start = jnp.full((target_ids.shape[0], 1), task.variant.decoder.start_id, jnp.int32)
    return {
        **batch,
        "segment_ids": jnp.where(batch["loss_mask"] > 0, 0, batch["segment_ids"]),
        "decoder_ids": jnp.concatenate([start, target_ids[:, :-1]], axis=1),
    }


def _response_facts(batch: Batch, task: Task) -> Sums:
    """Returns what rows tell without a model: shares of padding and of supervised tokens; of packed rows more."""
    real = (batch["segment_ids"] > 0).sum()
    sums = {
        "data/supervised_share": _pair(batch["loss_mask"][:, 1:].sum(), real),
        "data/pad_share": _pair(batch["segment_ids"].size - real, batch["segment_ids"].size),
    }
    return sums | _packing_sums(batch, task)


def _packing_sums(batch: Batch, task: Task) -> Sums:
    """Returns what is told of packed rows: records of a row, use of its picture slots, and how even that use is.

    `data/image_balance` is the mean over the rows of a step by the most: 1 where each row has as many pictures.
    """
    if "parent_ids" not in batch:
        return {}
    records = batch["num_records"]
    sums = {"data/records_per_row": _pair(records.sum(), records.shape[0])}
    if "images" in batch:
        pictures = (batch["image_token_index"] >= 0).sum(axis=1) // task.variant.picture_len
        num_rows = pictures.shape[0]
        sums["data/picture_share"] = _pair(pictures.sum(), batch["images"].shape[0])
        sums["data/image_balance"] = _pair(pictures.sum(), num_rows * pictures.max())
    return sums


def tower_loss(
    model: Any, params: Any, batch: Batch, *, task: Task, rngs: dict[str, jax.Array] | None
) -> tuple[jax.Array, Sums]:
    """Mean attribute cross-entropies, one for each attribute, plus the caption-matching loss for each picture."""
    outputs = model.apply({"params": params}, batch, deterministic=rngs is None, rngs=rngs)
    num_pictures = batch["images"].shape[0]
    matching = losses.siglip_loss(outputs["similarity"], batch["caption_ids"])
    loss = matching / num_pictures
    sums = {"train/loss/captions": _pair(matching, num_pictures)}
    for number, (name, _) in enumerate(task.attributes):
        total, right, known = losses.attribute_loss(outputs[name], batch["attributes"][:, number])
        # The mean over known labels: over all pictures, captions would drown what few pictures have (digits of a pair).
        loss += total / jnp.maximum(known, 1)
        sums[f"train/accuracy/{name}"] = _pair(right, known)
    sums["train/loss"] = _pair(loss * num_pictures, num_pictures)
    return loss, sums


def _make_vlm(task: Task) -> Any:
    return vlm.make_vlm(task.variant, dtype=task.dtype, remat=task.remat)


def _make_vit_tower(task: Task) -> Any:
    return towers.make_tower_model(task.variant, task.attributes, with_qformer=False, dtype=task.dtype)


def _make_qformer_tower(task: Task) -> Any:
    return towers.make_tower_model(task.variant, task.attributes, with_qformer=True, dtype=task.dtype)


OBJECTIVES: dict[str, Objective] = {
    "response": Objective(_make_vlm, "response", response_loss, _response_facts),
    "vit_tower": Objective(_make_vit_tower, "towers", tower_loss),
    "qformer_tower": Objective(_make_qformer_tower, "towers", tower_loss),
}
