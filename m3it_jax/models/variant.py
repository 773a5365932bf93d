"""A variant: the sizes and kinds of a model's parts, and the JSON form of one, read strictly."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from m3it_jax import errors, prompts
from m3it_jax.models import layers
from m3it_jax.models.decoder import DecoderConfig
from m3it_jax.models.encoder_decoder import EncoderDecoderConfig
from m3it_jax.models.projection import ProjectionConfig
from m3it_jax.models.qformer import QFormerConfig
from m3it_jax.models.vit import ViTConfig


@dataclasses.dataclass(frozen=True)
class Variant:
    """The parts; the projection goes to the language model's width."""

    vit: ViTConfig
    qformer: QFormerConfig | None
    projection: ProjectionConfig
    decoder: DecoderConfig | EncoderDecoderConfig
    prompt: str  # the row of `prompts.FORMATS` that the model was trained with

    @property
    def picture_len(self) -> int:
        """Q, the positions of one picture in a row of the language model, marks around it not counted."""
        return self.vit.num_tokens if self.qformer is None else self.qformer.num_queries

    @property
    def is_encoder_decoder(self) -> bool:
        """Whether an encoder reads the prompt and a decoder writes the answer."""
        return isinstance(self.decoder, EncoderDecoderConfig)


_LANGUAGE_MODELS: dict[str, type] = {"decoder_only": DecoderConfig, "encoder_decoder": EncoderDecoderConfig}
_ACTIVATIONS = tuple(sorted(layers.ACTIVATIONS))

# Field -> what it may be, where its type says too little.
_CHOICES: dict[str, tuple[str, ...]] = {
    "vit.activation": _ACTIVATIONS,
    "vit.image_fit": ("stretch", "crop"),
    "qformer.activation": _ACTIVATIONS,
    "projection.activation": _ACTIVATIONS,
    "decoder.activation": _ACTIVATIONS,
    "decoder.norm": ("rms", "layer"),
    "decoder.positions": ("rotary", "learned"),
    "decoder.mlp": ("gated", "plain"),
}

# (what must divide, by what) of fields in one part.
_DIVIDES: tuple[tuple[str, str, str], ...] = (
    ("vit", "embed_dim", "num_heads"),
    ("qformer", "embed_dim", "num_heads"),
    ("qformer", "num_layers", "cross_attention_every"),
    ("decoder", "num_heads", "num_kv_heads"),
)
_MAY_BE_ZERO = {
    "qformer.dropout_rate",
    "qformer.text_vocab_size",
    "qformer.text_max_len",
    "projection.mlp_dim",
    "decoder.position_offset",
    "decoder.start_id",
}


def to_dict(variant: Variant) -> dict[str, Any]:
    """Returns the variant as plain JSON values; `decoder.kind` says which kind of language model it is."""
    values = dataclasses.asdict(variant)
    kind = next(kind for kind, config in _LANGUAGE_MODELS.items() if isinstance(variant.decoder, config))
    return {**values, "decoder": {"kind": kind, **values["decoder"]}}


def from_dict(values: Any) -> Variant:
    """Returns the variant that `to_dict` gave out.

    Raises:
      ConfigError: a field is missing, unknown or not allowed; the message names it.
    """
    _check_fields("", values, {field.name for field in dataclasses.fields(Variant)})
    kind = values["decoder"].get("kind") if isinstance(values["decoder"], Mapping) else None
    if kind not in _LANGUAGE_MODELS:
        raise errors.ConfigError(f"decoder.kind={kind!r}: must be one of {', '.join(_LANGUAGE_MODELS)}")
    language_model = {name: value for name, value in values["decoder"].items() if name != "kind"}
    if values["prompt"] not in tuple(prompts.FORMATS):
        raise errors.ConfigError(f"prompt={values['prompt']!r}: must be one of {', '.join(prompts.FORMATS)}")
    variant = Variant(
        vit=_part("vit", values["vit"], ViTConfig),
        qformer=None if values["qformer"] is None else _part("qformer", values["qformer"], QFormerConfig),
        projection=_part("projection", values["projection"], ProjectionConfig),
        decoder=_part("decoder", language_model, _LANGUAGE_MODELS[kind]),
        prompt=values["prompt"],
    )
    for part, size, divisor in _DIVIDES:
        config = getattr(variant, part)
        if config is not None and getattr(config, size) % getattr(config, divisor):
            raise errors.ConfigError(
                f"{part}.{size}={getattr(config, size)}: must be a multiple of {part}.{divisor}="
                f"{getattr(config, divisor)}"
            )
    if variant.vit.patch_size > variant.vit.image_size:
        raise errors.ConfigError(
            f"vit.patch_size={variant.vit.patch_size}: must be at most vit.image_size={variant.vit.image_size}"
        )
    if getattr(variant.decoder, "positions", "") == "rotary" and variant.decoder.head_dim % 2:
        raise errors.ConfigError(f"decoder.head_dim={variant.decoder.head_dim}: must be even for rotary positions")
    if variant.qformer is not None and variant.qformer.text_vocab_size and not variant.qformer.text_max_len:
        raise errors.ConfigError("qformer.text_max_len=0: must be above 0 where text_vocab_size is")
    return variant


def _check_fields(prefix: str, values: Any, names: set[str]) -> None:
    if not isinstance(values, Mapping):
        raise errors.ConfigError(f"{prefix or 'the file'}: must be an object with {', '.join(sorted(names))}")
    for name in sorted(names ^ values.keys()):
        problem = "is missing" if name in names else "is no field of this version"
        raise errors.ConfigError(f"{prefix}{'.' if prefix else ''}{name}: {problem}")


def _part(part: str, values: Any, config: Callable[..., Any]) -> Any:
    """Returns the configuration of one part, each value checked against the field's type."""
    fields = {field.name: field.type for field in dataclasses.fields(config)}  # type: ignore[arg-type]  # a dataclass
    _check_fields(part, values, set(fields))
    read = {}
    for name, value in values.items():
        if fields[name] is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if isinstance(value, list):
            value = tuple(value)
        _check_value(f"{part}.{name}", value, fields[name])
        read[name] = value
    return config(**read)


def _check_value(path: str, value: Any, kind: Any) -> None:
    if path in _CHOICES:
        fits, allowed = value in _CHOICES[path], "one of " + ", ".join(_CHOICES[path])
    elif kind in (int, float):
        least = 0 if path in _MAY_BE_ZERO else 1 if kind is int else None
        fits = type(value) is kind and (value >= least if least is not None else value > 0)
        allowed = "a whole number" if kind is int else "a number"
        allowed += " above 0" if least != 0 else " of 0 or more"
    elif kind is bool:
        fits, allowed = isinstance(value, bool), "true or false"
    else:
        fits = isinstance(value, tuple) and len(value) == 3 and all(isinstance(one, float) for one in value)
        allowed = "three numbers"
    if not fits:
        raise errors.ConfigError(f"{path}={value!r}: must be {allowed}")
