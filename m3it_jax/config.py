"""Every configuration field and its checks; `Experiment` is the root. Defaults live here and nowhere else.

A file under `configs/` returns an `Experiment`; the command line overrides fields by dotted path. `validate` makes
every check that needs no data, names the field by its path, and runs before anything is compiled.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from m3it_jax import errors, licences


@dataclasses.dataclass
class ModelConfig:
    """Which model is trained.

    `variant` is a row of `models/variants.py`, a folder that has a model.json, or `inherit`: that of `init_from.all`.
    """

    variant: str = "mini"
    compute_dtype: str = "float32"  # of activations; norms, softmax and loss stay in float32
    frozen_dtype: str = "float32"  # of the parameters that are not trained
    remat: bool = False  # recompute each block in the backward pass: less memory, a third more compute


@dataclasses.dataclass
class AugmentConfig:
    """Random changes of training pictures; all zero (none) is the paper's choice. Labels are left as they are."""

    shift: float = 0.0  # largest move, as a share of the picture's side
    scale: float = 0.0  # largest change of size: 0.1 draws from [0.9, 1.1]
    rotate: float = 0.0  # largest angle, degrees
    wave: float = 0.0  # largest amplitude of a sinusoidal bend, as a share of the side
    jitter: float = 0.0  # largest change of brightness, contrast and shading: 0.2 draws from [0.8, 1.2]


@dataclasses.dataclass
class DataConfig:
    """Which records are read, in which shares, and how large a step is."""

    path: str = "data/m3it-mini"  # a data folder as written by `m3it mini`, `m3it build` or `m3it import`
    split: str = "train"
    tokenizer: str = ""  # a SentencePiece model; empty takes that of the loaded decoder, else the data folder's own
    mixture: dict[str, float] = dataclasses.field(default_factory=dict)  # source -> weight; empty: all, by size
    train_on_held_out: bool = False  # take sources too that the paper keeps for zero-shot tests (`HELD_OUT`)
    validation_share: float = 0.0  # of the pictures of a source without a validation split: kept for validation
    allow: str = ""  # what the licences must allow: words of `licences.TERMS` joined by commas; empty takes all
    packing: str = "none"  # or "rows" of several records that share pictures, or "records": packed, and none shared
    row_len: int = 1024  # tokens of a packed row
    row_images: int = 0  # picture slots of a packed row; 0: max_images // global_batch_size
    too_long: str = "cut"  # a record above the limits of a packed row: "cut" its text, "drop" it, or "error"
    weight_by: str = "examples"  # what weights of the mixture are shares of; or "tokens" that the loss counts (packed)
    global_batch_size: int = 64  # most rows of a step, over all hosts; packed rows all have
    max_images: int = 64  # most pictures of a step: a step of n-picture rows has min(batch, max_images // n) rows
    max_text_len: int = 48  # tokens of prompt and response together, image blocks not counted
    max_response_len: int = 24  # tokens of the response, end marks included
    picture_as: str = "embeddings"  # or "captions": the block holds the picture's description (text pre-training)
    supervised_answers: str = "all"  # of a conversation the loss counts each answer that the row shows; or "last"
    max_bad_share: float = 0.001  # of all records that may be unreadable, each replaced by the next of its source
    redraw_instructions: bool = True  # a new instruction from the record's pool in each epoch
    augment: AugmentConfig = dataclasses.field(default_factory=AugmentConfig)


@dataclasses.dataclass
class OptimizerConfig:
    """AdamW (or Muon on matrices, Adam elsewhere), linear warm-up, then a decay to `end_share` of the peak.

    With `muon`, `weight_decay` holds for Muon's own matrices alone (those in the blocks): the shipped towers and
    presets were chosen so. `epsilon` is that of Adam elsewhere, and stands beside the norm that Muon divides by.
    """

    name: str = "adamw"  # or "muon"
    learning_rate: float = 1e-3  # peak
    matrix_learning_rate: float = 0.02  # peak for Muon's matrices; not used by adamw
    warmup_steps: int = 20
    decay: str = "cosine"  # or "linear"
    hold_share: float = 0.0  # share of all steps at which the decay begins
    end_share: float = 0.0  # last learning rate as a share of the peak
    weight_decay: float = 0.05  # on matrices only, never on biases, norms or query tokens
    b1: float = 0.9
    b2: float = 0.999
    epsilon: float = 1e-8
    clip_norm: float = 1.0  # global norm of the gradient


@dataclasses.dataclass
class MeshConfig:
    """Devices along each mesh axis; -1 takes what is left. `rules` names a row of `sharding.PRESETS`."""

    data: int = -1
    fsdp: int = 1
    tensor: int = 1
    rules: str = "fsdp_tp"


@dataclasses.dataclass
class CheckpointConfig:
    """When training is saved. The last step is always saved."""

    every: int = 100  # steps
    keep: int = 2  # newest checkpoints that stay on disk


@dataclasses.dataclass
class ValidationConfig:
    """A look at the validation split while training: losses and accuracies without dropout or augmentation."""

    every: int = 0  # steps; the last step is looked at as well; 0 never
    num_steps: int = 20  # batches


@dataclasses.dataclass
class SamplesConfig:
    """Answers to validation records while training, in samples/<step>.html: what the numbers mean, early."""

    every: int = 0  # steps; 0 never
    num_records: int = 8


@dataclasses.dataclass
class LogConfig:
    """When metrics are written."""

    every: int = 10  # steps between lines of metrics.jsonl


@dataclasses.dataclass
class Experiment:
    """One training run.

    `trainable` is an ordered table of (pattern over the parameter path, train it?). The first row that matches
    decides; every parameter must be decided and every row must decide something.
    `init_from` maps a part of the model (`vit`, `qformer`, `projection`, `decoder`, or `all`) to where its weights come
    from: a run folder, a checkpoint folder or `package:mini` for the towers shipped with the package. Parts that are
    not named start fresh.
    """

    seed: int = 0
    num_steps: int = 100
    objective: str = "response"  # a row of `training/objectives.py`
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    trainable: tuple[tuple[str, bool], ...] = ((".*", True),)
    init_from: dict[str, str] = dataclasses.field(default_factory=dict)
    mesh: MeshConfig = dataclasses.field(default_factory=MeshConfig)
    checkpoint: CheckpointConfig = dataclasses.field(default_factory=CheckpointConfig)
    validation: ValidationConfig = dataclasses.field(default_factory=ValidationConfig)
    samples: SamplesConfig = dataclasses.field(default_factory=SamplesConfig)
    log: LogConfig = dataclasses.field(default_factory=LogConfig)


def _one_of(*allowed: str) -> tuple[Callable[[Any], bool], str]:
    return (lambda value: value in allowed), "one of " + ", ".join(allowed)


_POSITIVE = ((lambda value: value > 0), "above 0")
_NOT_NEGATIVE = ((lambda value: value >= 0), "0 or more")
_SHARE = ((lambda value: 0 <= value <= 1), "from 0 to 1")
_MOMENT = ((lambda value: 0 <= value < 1), "from 0 up to but not 1")
_AXIS = ((lambda value: value == -1 or value > 0), "a number of devices, or -1 for what is left")
_DTYPE = _one_of("float32", "bfloat16")

# Rows of `models/variants.py` that can be trained, and those whose language model has an encoder and only answers.
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
)
ANSWERING_VARIANTS = ("blip2_flan_t5_xl", "blip2_flan_t5_xxl", "instructblip_flan_t5_xl", "instructblip_flan_t5_xxl")

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

_VARIANT = (
    (lambda value: value in (*TRAINED_VARIANTS, INHERIT) or (bool(value) and (Path(value) / "model.json").is_file())),
    f"one of {', '.join(TRAINED_VARIANTS)}, {INHERIT} (the model of init_from.all), or a folder with a model.json; "
    f"{', '.join(ANSWERING_VARIANTS)} have an encoder-decoder language model, which answers and is not trained here",
)

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
    "data.path": ((lambda value: bool(value)), "the path of a data folder"),
    "data.split": _one_of("train", "validation"),
    "data.global_batch_size": _POSITIVE,
    "data.max_images": _POSITIVE,
    "data.max_text_len": _POSITIVE,
    "data.max_response_len": _POSITIVE,
    "data.packing": _one_of(*UNPACKED, *PACKED),
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
    for source, weight in config.data.mixture.items():
        if not (isinstance(weight, int | float) and 0 < weight < float("inf")):
            raise errors.ConfigError(f"data.mixture[{source!r}]={weight!r}: must be a weight above 0; drop the source")
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
    if not config.trainable:
        raise errors.ConfigError("trainable: the table is empty; name at least one (pattern, train it?) row")
    for pattern, _ in config.trainable:
        try:
            re.compile(pattern)
        except re.error as error:
            raise errors.ConfigError(f"trainable: {pattern!r} is no regular expression: {error}") from error
    if not any(train for _, train in config.trainable):
        raise errors.ConfigError("trainable: every row says False, so nothing would be trained")
    if config.data.max_response_len > config.data.max_text_len:
        raise errors.ConfigError(
            f"data.max_response_len={config.data.max_response_len}: must not be above "
            f"data.max_text_len={config.data.max_text_len}"
        )
    if config.optimizer.warmup_steps > config.num_steps:
        raise errors.ConfigError(
            f"optimizer.warmup_steps={config.optimizer.warmup_steps}: must not be above num_steps={config.num_steps}"
        )
    if [config.mesh.data, config.mesh.fsdp, config.mesh.tensor].count(-1) > 1:
        raise errors.ConfigError("mesh: at most one of data, fsdp and tensor may be -1")


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


@dataclasses.dataclass(frozen=True)
class EvalRow:
    """One row of a suite (`configs/eval_paper.py`): a source, and what differs from its row in the table of tasks.

    Empty fields are those of `evaluation/m3it_tasks.py`, where the allowed values stand as well.
    """

    source: str
    split: str = ""
    prompt: str = ""
    references: str = ""
    postprocess: str = ""
    metrics: tuple[str, ...] = ()
    table: str = ""  # where it stands in the publication, as "Table 4: knowledge VQA"
    published: dict[str, float] = dataclasses.field(default_factory=dict)  # system -> its published figure


@dataclasses.dataclass(frozen=True)
class EvalSuite:
    """A set of evaluations that are made together, each source with its own split, prompt and metric."""

    name: str
    rows: tuple[EvalRow, ...]
    max_new_tokens: int = 128  # YING-VLM inference_example.py
    means: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)  # label -> sources; mean of their rows
    citation: str = ""  # where `published` is from


def check_held_out(config: Experiment, sources: Iterable[str]) -> None:
    """Refuses sources of the paper's zero-shot tests among those that are trained on, unless the configuration says so.

    Raises:
      ConfigError: there are some; the message names them and the field.
    """
    found = [name for name in HELD_OUT if name in sources]
    if found and not config.data.train_on_held_out:
        raise errors.ConfigError(
            f"data.mixture: {', '.join(found)} {'is' if len(found) == 1 else 'are'} held out by the paper for "
            "zero-shot tests; leave them out of data.mixture, or give --data.train_on_held_out=true"
        )


def to_dict(config: Experiment) -> dict[str, Any]:
    """Returns the configuration as plain JSON values."""
    return dataclasses.asdict(config)
