"""What configuration fields may be: every check that needs no data.

`validate` names the field by its path, and runs before anything is compiled.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from m3it_jax import errors, languages, licences
from m3it_jax.config.fields import Experiment, LoraConfig


def _one_of(*allowed: str) -> tuple[Callable[[Any], bool], str]:
    return (lambda value: value in allowed), "one of " + ", ".join(allowed)


_POSITIVE = ((lambda value: value > 0), "above 0")
_NOT_NEGATIVE = ((lambda value: value >= 0), "0 or more")
_SHARE = ((lambda value: 0 <= value <= 1), "from 0 to 1")
_MOMENT = ((lambda value: 0 <= value < 1), "from 0 up to but not 1")
_AXIS = ((lambda value: value == -1 or value > 0), "a number of devices, or -1 for what is left")
_DTYPE = _one_of("float32", "bfloat16")

# Rows of `models/variants.py`.
TRAINED_VARIANTS = (
    "tiny",
    "mini",
    "ying_vlm_13b",
    "blip2_opt_2.7b",
    "instructblip_vicuna_7b",
    "instructblip_vicuna_13b",
    "minigpt4_vicuna_7b",
    "minigpt4_vicuna_13b",
    "llava_1.5_7b",
    "llava_1.5_13b",
    "blip2_flan_t5_xl",
    "blip2_flan_t5_xxl",
    "instructblip_flan_t5_xl",
    "instructblip_flan_t5_xxl",
)

INHERIT = "inherit"  # as `model.variant`: that of `init_from.all`

# The paper keeps these 13 for zero-shot tests (arXiv 2306.04387, Figure 1 and Table 7).
HELD_OUT = (
    "viquae",
    "winoground",
    "fm-iqa",
    "coco-cn",
    "flickr8k-cn",
    "chinese-food",
    "mmchat",
    "ss",
    "ivqa",
    "msvd-qa",
    "activitynet-qa",
    "msrvtt-qa",
    "msrvtt",
)

# What `m3it translate` puts behind the name of a source.
_CODES = frozenset(language.code.lower() for language in (*languages.M3IT_80, *languages.OTHERS))

_VARIANT = (
    (lambda value: value in (*TRAINED_VARIANTS, INHERIT) or (bool(value) and (Path(value) / "model.json").is_file())),
    f"one of {', '.join(TRAINED_VARIANTS)}, {INHERIT} (the model of init_from.all), or a folder with a model.json",
)

# CHOICE: InternVL answers with 12 tiles at most, its published evaluations of documents take 18 to 40.
MOST_TILES = 64

# Values of `data.packing`; "off" is another word for "none".
UNPACKED, PACKED = ("none", "off"), ("rows", "records")

# Field path -> (test, what is allowed). Names that other modules define (variants, rules, objectives) are listed here
# as well, so that a wrong one is refused before JAX is even imported; a test holds the copies together.
CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "seed": _NOT_NEGATIVE,
    "num_steps": _POSITIVE,
    "objective": _one_of("response", "vit_tower", "qformer_tower"),
    "model.variant": _VARIANT,
    "model.compute_dtype": _DTYPE,
    "model.frozen_dtype": _DTYPE,
    "model.tiles": ((lambda value: 1 <= value <= MOST_TILES), f"from 1 (no picture is cut) to {MOST_TILES}"),
    "data.path": ((lambda value: bool(value)), "the path of a data folder"),
    "data.split": _one_of("train", "validation"),
    "data.global_batch_size": _POSITIVE,
    "data.max_images": _POSITIVE,
    "data.max_text_len": _POSITIVE,
    "data.max_response_len": _POSITIVE,
    "data.packing": _one_of(*UNPACKED, *PACKED),
    "data.temperature": ((lambda value: 1 <= value < float("inf")), "1 or more, and finite"),
    "data.source_cap": _NOT_NEGATIVE,
    "data.row_len": ((lambda value: 16 <= value <= 65_535), "from 16 to 65535 tokens"),
    "data.row_images": _NOT_NEGATIVE,
    "data.too_long": _one_of("cut", "drop", "error"),
    "data.weight_by": _one_of("examples", "tokens"),
    "data.validation_share": _MOMENT,
    "data.max_bad_share": _SHARE,
    "data.picture_as": _one_of("embeddings", "captions"),
    "data.supervised_answers": _one_of("all", "last"),
    "data.augment.shift": _SHARE,
    "data.augment.scale": _MOMENT,
    "data.augment.rotate": ((lambda value: 0 <= value <= 180), "from 0 to 180 degrees"),
    "data.augment.wave": _SHARE,
    "data.augment.jitter": _MOMENT,
    "optimizer.name": _one_of("adamw", "muon"),
    "optimizer.learning_rate": _POSITIVE,
    "optimizer.matrix_learning_rate": _POSITIVE,
    "optimizer.warmup_steps": _NOT_NEGATIVE,
    "optimizer.decay": _one_of("cosine", "linear"),
    "optimizer.hold_share": _MOMENT,
    "optimizer.end_share": _SHARE,
    "optimizer.weight_decay": _NOT_NEGATIVE,
    "optimizer.b1": _MOMENT,
    "optimizer.b2": _MOMENT,
    "optimizer.epsilon": _POSITIVE,
    "optimizer.clip_norm": _POSITIVE,
    "optimizer.accumulation": _POSITIVE,
    "lora.rank": _NOT_NEGATIVE,
    "lora.alpha": _POSITIVE,
    "lora.dropout": _MOMENT,
    "mesh.data": _AXIS,
    "mesh.fsdp": _AXIS,
    "mesh.tensor": _AXIS,
    "mesh.rules": _one_of("single", "fsdp", "fsdp_tp"),
    "checkpoint.every": _POSITIVE,
    "checkpoint.keep": _POSITIVE,
    "validation.every": _NOT_NEGATIVE,
    "validation.num_steps": _POSITIVE,
    "samples.every": _NOT_NEGATIVE,
    "samples.num_records": _POSITIVE,
    "log.every": _POSITIVE,
}

PARTS = ("vit", "qformer", "projection", "decoder", "all")


def get(config: Any, path: str) -> Any:
    """Returns the field at a dotted path such as `optimizer.learning_rate`."""
    for name in path.split("."):
        config = getattr(config, name)
    return config


def validate(config: Experiment) -> None:
    """Makes every check that needs no data.

    Raises:
      ConfigError: a value is not allowed; the message names field, value and what is allowed.
    """
    _check_local(config)
    for path, (test, allowed) in CHECKS.items():
        value = get(config, path)
        if not test(value):
            raise errors.ConfigError(f"{path}={value!r}: must be {allowed}")
    _check_packing(config)
    _check_tiles(config)
    for source, weight in config.data.mixture.items():
        if not (isinstance(weight, int | float) and 0 < weight < float("inf")):
            raise errors.ConfigError(f"data.mixture[{source!r}]={weight!r}: must be a weight above 0; drop the source")
    if config.data.source_cap and config.data.mixture:
        raise errors.ConfigError(
            f"data.source_cap={config.data.source_cap}: limits the sizes of sources, and data.mixture gives weights in "
            "their place; drop one of the two"
        )
    check_held_out(config, config.data.mixture)
    for word in filter(None, config.data.allow.split(",")):
        if word not in licences.TERMS:
            raise errors.ConfigError(
                f"data.allow={config.data.allow!r}: {word!r} must be one of {', '.join(licences.TERMS)}"
            )
    for part in config.init_from:
        if part not in PARTS:
            raise errors.ConfigError(f"init_from[{part!r}]: must be one of {', '.join(PARTS)}")
    if config.model.variant == INHERIT and "all" not in config.init_from:
        raise errors.ConfigError(
            f"model.variant={INHERIT}: takes the model of init_from.all; give --init_from.all=RUN, or name a variant"
        )
    if "all" in config.init_from and len(config.init_from) > 1:
        raise errors.ConfigError("init_from: 'all' takes every part, so no other part may stand beside it")
    _check_trainable(config)
    _check_lora(config)
    if config.data.max_response_len > config.data.max_text_len:
        raise errors.ConfigError(
            f"data.max_response_len={config.data.max_response_len}: must not be above "
            f"data.max_text_len={config.data.max_text_len}"
        )
    if config.optimizer.warmup_steps > config.num_steps:
        raise errors.ConfigError(
            f"optimizer.warmup_steps={config.optimizer.warmup_steps}: must not be above num_steps={config.num_steps}"
        )
    if config.optimizer.accumulation > 1 and config.objective != "response":
        raise errors.ConfigError(
            f"optimizer.accumulation={config.optimizer.accumulation}: objective={config.objective} compares every "
            "picture of a step with every caption, so its batch cannot be computed in parts; take 1"
        )
    if [config.mesh.data, config.mesh.fsdp, config.mesh.tensor].count(-1) > 1:
        raise errors.ConfigError("mesh: at most one of data, fsdp and tensor may be -1")


def _check_trainable(config: Experiment) -> None:
    """Refuses a table of no rows, of patterns that are none, or that trains nothing (ConfigError)."""
    if not config.trainable:
        raise errors.ConfigError("trainable: the table is empty; name at least one (pattern, train it?) row")
    for pattern, _ in config.trainable:
        _check_pattern("trainable", pattern)
    if not any(train for _, train in config.trainable):
        raise errors.ConfigError("trainable: every row says False, so nothing would be trained")


def _check_pattern(field: str, pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise errors.ConfigError(f"{field}: {pattern!r} is no regular expression: {error}") from error


def _check_lora(config: Experiment) -> None:
    """Refuses fields of adapters where there are none, and patterns that are none (ConfigError)."""
    lora = config.lora
    if not lora.rank:
        for name, default in dataclasses.asdict(LoraConfig()).items():
            if getattr(lora, name) != default:
                raise errors.ConfigError(
                    f"lora.{name}={getattr(lora, name)!r}: is of adapters; give --lora.rank=8 as well"
                )
        return
    if not lora.targets:
        raise errors.ConfigError("lora.targets: names no kernel; give at least one pattern")
    for field, patterns in (("lora.targets", lora.targets), ("lora.also", lora.also)):
        for pattern in patterns:
            _check_pattern(field, pattern)


def _check_packing(config: Experiment) -> None:
    """Refuses fields of packed rows where none are packed, and objectives without rows of text (ConfigError)."""
    data = config.data
    for name, default in (("row_images", 0), ("too_long", "cut"), ("weight_by", "examples")):
        if data.packing in UNPACKED and getattr(data, name) != default:
            value = getattr(data, name)
            raise errors.ConfigError(f"data.{name}={value!r}: is of packed rows; give --data.packing=rows as well")
    if data.packing in PACKED and config.objective != "response":
        raise errors.ConfigError(
            f"data.packing={data.packing}: objective={config.objective} has one picture a row and no text to pack; "
            "take none"
        )


def _check_tiles(config: Experiment) -> None:
    """Refuses tiles where pictures are not shown whole to a language model, or do not fit into a step (ConfigError)."""
    model, data = config.model, config.data
    if model.tiles == 1:
        return
    if config.objective != "response" or data.picture_as != "embeddings":
        what = (
            f"objective={config.objective}" if config.objective != "response" else f"data.picture_as={data.picture_as}"
        )
        raise errors.ConfigError(f"model.tiles={model.tiles}: {what} shows no picture in tiles; take model.tiles=1")
    needed, of_rows = model.tiles + 1, data.row_images or data.max_images // data.global_batch_size
    if data.packing in PACKED and of_rows < needed:
        field = f"data.row_images={data.row_images}" if data.row_images else f"data.max_images={data.max_images}"
        raise errors.ConfigError(
            f"{field}: a picture of model.tiles={model.tiles} takes {needed} slots with its overview, and a packed row "
            f"has {of_rows}; set data.row_images to {needed} or more, or lower model.tiles"
        )
    if data.packing in UNPACKED and data.max_images < needed:
        raise errors.ConfigError(
            f"data.max_images={data.max_images}: a picture of model.tiles={model.tiles} takes {needed} slots with its "
            f"overview; set data.max_images to {needed} or more, or lower model.tiles"
        )


def _check_local(config: Experiment) -> None:
    """Refuses addresses such as gs://bucket where paths are wanted.

    Raises:
      ConfigError: there is one.
    """
    paths = {path: get(config, path) for path in ("data.path", "data.tokenizer", "model.variant")}
    paths |= {f"init_from.{part}": source for part, source in config.init_from.items()}
    for path, value in paths.items():
        if "://" in value:
            raise errors.ConfigError(
                f"{path}={value}: is an address, not a path. Only files on this machine are read: copy it here first, "
                "or mount the bucket as a folder (gcsfuse, s3fs)"
            )


def is_held_out(source: str) -> bool:
    """Returns whether the paper keeps a source for zero-shot tests, or it is one of those in another language."""
    base, _, code = source.rpartition("-")
    translated = code in _CODES or source.endswith("-zh-hant")
    return source in HELD_OUT or (translated and base.removesuffix("-zh") in HELD_OUT)


def check_held_out(config: Experiment, sources: Iterable[str]) -> None:
    """Refuses sources of the paper's zero-shot tests among those that are trained on, unless the configuration says so.

    Raises:
      ConfigError: there are some; the message names them and the field.
    """
    found = [name for name in sources if is_held_out(name)]
    if found and not config.data.train_on_held_out:
        raise errors.ConfigError(
            f"data.mixture: {', '.join(found)} {'is' if len(found) == 1 else 'are'} held out by the paper for "
            "zero-shot tests; leave them out of data.mixture, or give --data.train_on_held_out=true"
        )


def stored_tiles(stored: Mapping[str, Any]) -> int:
    """Returns `model.tiles` of a configuration that was stored with a checkpoint; 1 where it has none.

    Raises:
      UserError: it is no allowed number.
    """
    model = stored.get("model")
    tiles = model.get("tiles", 1) if isinstance(model, Mapping) else 1
    test, allowed = CHECKS["model.tiles"]
    if type(tiles) is not int or not test(tiles):
        raise errors.UserError(f"config.json: model.tiles={tiles!r:.40}: must be {allowed}; restore the file")
    return tiles
