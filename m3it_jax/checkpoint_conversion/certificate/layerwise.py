"""Our model, one layer at a time: what a checkpoint computes, with one layer's weights in memory.

A part is given as steps. The first makes the state that goes into the first layer, each next one is a layer, the last
is the final norm where there is one. `step(x, context)` takes and returns float32 states of one row [T, D]; `context`
is what is read besides: the tower's patches by the Q-Former, pictures [Q, D] by a row that shows them, the encoder's
output by the decoder of a T5. A first step has its input already and does not look at `x`.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from m3it_jax import parameter_paths
from m3it_jax.models import decoder, encoder_decoder, layers, masks, projection, qformer, vit, vlm
from m3it_jax.models.variants import Variant

State = np.ndarray | None
Step = Callable[[State, State], np.ndarray]
_FLOAT32 = jnp.dtype("float32")
_ALWAYS = ("position_embedding",)  # of a decoder that has it: asked for whatever is computed


class LayerwiseModel:
    """The parameters of a variant, taken from where they lie when their layer is asked for."""

    def __init__(self, variant: Variant, params: Mapping[str, np.ndarray]):
        """Takes the sizes and the arrays by path, which may be mapped from disk and of any type."""
        self.variant, self._arrays = variant, params
        self._model = vlm.make_vlm(variant)

    def _params(self, prefix: str, layer: int | slice = slice(None)) -> Any:
        """Returns what lies below a prefix as a float32 tree; with `layer`, that slot of each array."""
        found = {
            path.removeprefix(f"{prefix}/"): np.asarray(array[layer], np.float32)
            for path, array in self._arrays.items()
            if path.startswith(f"{prefix}/")
        }
        return parameter_paths.unflatten(found)

    def _some(self, part: str, names: Sequence[str]) -> Any:
        """Returns single arrays and small folders of a part as a float32 tree, as far as it has them."""
        tree = {name: self._params(f"{part}/{name}") for name in names}
        for name in names:
            if f"{part}/{name}" in self._arrays:
                tree[name] = np.asarray(self._arrays[f"{part}/{name}"], np.float32)
        return {name: value for name, value in tree.items() if not isinstance(value, dict) or value}

    def vit_steps(self, pixels: np.ndarray) -> Iterator[Step]:
        """Yields the steps of the tower for a normalised picture [h, w, 3]."""
        config = self.variant.vit
        # Without blocks and final norm the tower gives out what its first block would take.
        bare = dataclasses.replace(config, num_layers=0, has_final_norm=False, keeps_class_token=True)
        params = self._some("vit", ("patch_embedding", "class_token", "position_embedding", "input_norm"))
        params["blocks"] = self._params("vit/blocks", slice(0))
        yield _first(pixels, module=vit.ViT(bare, _FLOAT32), params=params, method=_alone)
        for number in range(config.num_layers):
            params = self._params("vit/blocks", number)
            yield _step(module=vit.ViTBlock(config, _FLOAT32), params=params, method=_vit_block)
        if config.has_final_norm:
            yield self._norm("vit/final_norm", "layer", config.layer_norm_epsilon)

    def patches(self, last_state: np.ndarray) -> np.ndarray:
        """Returns what the next part reads of the tower's last state."""
        return last_state if self.variant.vit.keeps_class_token else last_state[1:]

    def qformer_steps(self, text_ids: Sequence[int] = ()) -> Iterator[Step]:
        """Yields the steps of the Q-Former; their states are [Q + T, D], the queries first, their context patches."""
        config = self.variant.qformer
        assert config is not None
        every = config.cross_attention_every
        names = ("query_tokens", "text_embedding", "text_position_embedding", "input_norm")
        params = self._some("qformer", names)
        params["groups"] = self._params("qformer/groups", slice(0))
        bare = qformer.QFormer(dataclasses.replace(config, num_layers=0), _FLOAT32)
        ids = np.asarray(text_ids, np.int32) if len(text_ids) else None
        yield functools.partial(_embedded_queries, ids=ids, module=bare, params=params)
        for number in range(config.num_layers):
            group, place = divmod(number, every)
            block = qformer.QFormerBlock(config, place == 0, _FLOAT32)
            yield _step(
                module=block, params=self._params(f"qformer/groups/block_{place}", group), method=_qformer_block
            )

    def projection_step(self) -> Step:
        """Returns the step from what is read off a picture to the language model's width."""
        config, out_dim = self.variant.projection, self.variant.decoder.embed_dim
        module = projection.make_projection(config, out_dim=out_dim, dtype=_FLOAT32)
        return _step(module=module, params=self._params("projection"), method=_alone)

    def encoder_steps(self, row: Sequence[int]) -> Iterator[Step]:
        """Yields the steps of a T5's encoder for a row of token ids, -1 for each position of a picture."""
        config = self.variant.decoder
        assert isinstance(config, encoder_decoder.EncoderDecoderConfig)
        yield self._embed(row, _embed_row)
        bias = self._bias(row, "decoder/encoder/relative_bias", looks_ahead=True)
        for number in range(config.num_encoder_layers):
            params = self._params("decoder/encoder/blocks", number)
            block = encoder_decoder.EncoderBlock(config, _FLOAT32)
            yield _step(module=block, params=params, method=_encoder_block, extra=bias)
        yield self._norm("decoder/encoder/final_norm", "rms", config.rms_norm_epsilon)

    def decoder_steps(self, row: Sequence[int]) -> Iterator[Step]:
        """Yields the steps of the language model for a row of token ids, -1 for each position of a picture.

        Their context is the pictures, that of a T5's blocks the encoder's output.
        """
        config = self.variant.decoder
        if isinstance(config, encoder_decoder.EncoderDecoderConfig):
            yield self._embed(row, _embed_tokens)
            how = {
                "module": encoder_decoder.DecoderBlock(config, _FLOAT32),
                "method": _t5_block,
                "extra": self._bias(row, "decoder/relative_bias", looks_ahead=False),
            }
        else:
            yield self._embed(row, _embed_row)
            how = {"module": decoder.DecoderBlock(config, _FLOAT32), "method": _decoder_block}
        for number in range(config.num_layers):
            yield _step(params=self._params("decoder/blocks", number), **how)
        params = self._some("decoder", ("final_norm", *_ALWAYS))
        yield _step(module=self._model.decoder, params=params, method=_final_norm)

    def logits_step(self) -> Step:
        """Returns the step from normed hidden states to the scores of the next token [T, V]."""
        name = "token_embedding" if self.variant.decoder.has_tied_head else "head"
        params = self._some("decoder", (name, *_ALWAYS))
        return _step(module=self._model.decoder, params=params, method=_logits)

    def _embed(self, row: Sequence[int], method: Callable[..., Any]) -> Step:
        params = {"decoder": self._some("decoder", ("token_embedding", *_ALWAYS))}
        return _first(np.asarray(row, np.int32), module=self._model, params=params, method=method)

    def _bias(self, row: Sequence[int], path: str, *, looks_ahead: bool) -> np.ndarray:
        """Returns what relative positions add to the scores of every block, [N, T, T]."""
        module = encoder_decoder.RelativeBias(self.variant.decoder, looks_ahead)
        places = np.arange(len(row), dtype=np.int32)
        return _call(places, None, module=module, params=self._params(path), method=_position_bias)

    def _norm(self, path: str, kind: str, epsilon: float) -> Step:
        module = layers.make_norm(kind, epsilon, dtype=_FLOAT32)
        return _step(module=module, params=self._params(path), method=_alone)


def _first(start: np.ndarray, **how: Any) -> Step:
    return functools.partial(_call_first, start=start, **how)


def _call_first(_: State, context: State, *, start: np.ndarray, **how: Any) -> np.ndarray:
    return _call(start, context, **how)


def _step(**how: Any) -> Step:
    return functools.partial(_call, **how)


def _call(x: State, context: State, *, module: Any, params: Any, method: Any, extra: State = None) -> np.ndarray:
    """Returns what `method(module, x, context)` gives out; arrays come and go without the batch's axis.

    `extra` is a bias on the scores of attention, where the blocks take one.
    """
    batch = [None if array is None else _batched(array) for array in (x, context, extra)]
    return np.asarray(_run(*batch, params=params, module=module, method=method)[0])


def _batched(array: np.ndarray) -> jax.Array:
    """Returns a batch of one, its floats as float32."""
    return jnp.asarray(array, jnp.float32 if np.issubdtype(array.dtype, np.floating) else jnp.int32)[None]


@functools.partial(jax.jit, static_argnames=("module", "method"))
def _run(x: Any, context: Any, extra: Any, *, params: Any, module: Any, method: Any) -> jax.Array:
    more = {} if extra is None else {"extra": extra}
    return module.apply({"params": params}, x, context, method=method, **more)


def _embedded_queries(_: State, patches: State, *, ids: State, module: qformer.QFormer, params: Any) -> np.ndarray:
    """Returns the normed queries and text: what stands behind `input_norm` of a Q-Former without blocks."""
    assert patches is not None
    text_ids = None if ids is None else _batched(ids)
    _, seen = module.apply(
        {"params": params},
        _batched(patches),
        text_ids=text_ids,
        mutable=["intermediates"],
        capture_intermediates=lambda part, _: part.name == "input_norm",
    )
    return np.asarray(seen["intermediates"]["input_norm"]["__call__"][0][0])


# How a module is called in a step, with a batch of one row: `apply` binds the first argument.


def _alone(module: Any, x: Any, _: Any) -> Any:
    return module(x)


def _vit_block(block: Any, x: Any, _: Any) -> Any:
    return block(x, None)[0]


def _qformer_block(block: Any, x: Any, patches: Any) -> Any:
    return block(x, patches, mask=None, deterministic=True)


def _embed_row(model: Any, row: Any, pictures: Any) -> Any:
    shows = row < 0
    index = jnp.where(shows, jnp.cumsum(shows, axis=1) - 1, -1)
    embeds = model.embed(jnp.maximum(row, 0), index, pictures)
    return model.decoder.place(embeds, _places(row)) if isinstance(model.decoder, decoder.Decoder) else embeds


def _embed_tokens(model: Any, row: Any, _: Any) -> Any:
    return model.decoder.embed(row)


def _decoder_block(block: Any, x: Any, _: Any) -> Any:
    return block(x, None, (_places(x), _causal(x), None))[0]


def _encoder_block(block: Any, x: Any, _: Any, *, extra: Any) -> Any:
    return block(x, (masks.real_mask(_ones(x)), extra))[0]


def _t5_block(block: Any, x: Any, encoded: Any, *, extra: Any) -> Any:
    return block(x, None, (encoded, _causal(x), extra, masks.real_mask(_ones(encoded)), None))[0]


def _position_bias(module: Any, places: Any, _: Any) -> Any:
    return module(places, places)


def _final_norm(model: Any, x: Any, _: Any) -> Any:
    return model.final_norm(x)


def _logits(model: Any, hidden: Any, _: Any) -> Any:
    return model.logits(hidden)


def _ones(x: Any) -> Any:
    return jnp.ones(x.shape[:2], jnp.int32)


def _places(x: Any) -> Any:
    return jnp.arange(x.shape[1], dtype=jnp.int32)[None]


def _causal(x: Any) -> Any:
    return masks.segment_causal_mask(_ones(x), _places(x), key_segments=_ones(x), key_positions=_places(x))
