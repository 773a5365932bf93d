"""Every configuration field and its default; `Experiment` is the root. Defaults live here and nowhere else."""

import dataclasses
from typing import Any


@dataclasses.dataclass
class ModelConfig:
    """Which model is trained.

    `variant` is a row of `models/variants.py`, a folder that has a model.json, or `inherit`: that of `init_from.all`.
    """

    variant: str = "mini"
    compute_dtype: str = "float32"  # of activations; norms, softmax and loss stay in float32
    frozen_dtype: str = "float32"  # of the parameters that are not trained
    remat: bool = False  # recompute each block in the backward pass: less memory, a third more compute
    tiles: int = 1  # above 1: most tiles that a large picture is cut into, beside its overview; each takes a slot


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
    temperature: float = 1.0  # weights become their 1/temperature-th power: above 1 small sources are met more often
    source_cap: int = 0  # without a mixture: records that a source counts as at most (T5's mixing); 0: no limit
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
    accumulation: int = 1  # parts in which a step's batch is computed one after another; the update is the same


@dataclasses.dataclass
class LoraConfig:
    """Low-rank adapters: with a rank, they alone are trained, and what `also` names; `trainable` is not read.

    `targets` and `also` are patterns over whole parameter paths; those of `targets` may leave out the last `/kernel`.
    The adapter adds alpha / rank times its product to what its kernel computes.
    """

    rank: int = 0  # 0: no adapters
    alpha: float = 16.0
    dropout: float = 0.0  # of what the adapters read
    targets: tuple[str, ...] = (r"decoder/(encoder/)?blocks/(attn|cross_attn)/(query|value)",)
    also: tuple[str, ...] = ()  # parameters beside the adapters that are trained too, as r"projection/.*"


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
    lora: LoraConfig = dataclasses.field(default_factory=LoraConfig)
    mesh: MeshConfig = dataclasses.field(default_factory=MeshConfig)
    checkpoint: CheckpointConfig = dataclasses.field(default_factory=CheckpointConfig)
    validation: ValidationConfig = dataclasses.field(default_factory=ValidationConfig)
    samples: SamplesConfig = dataclasses.field(default_factory=SamplesConfig)
    log: LogConfig = dataclasses.field(default_factory=LogConfig)


def to_dict(config: Experiment) -> dict[str, Any]:
    """Returns the configuration as plain JSON values."""
    return dataclasses.asdict(config)
