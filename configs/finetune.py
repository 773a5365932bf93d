"""Fine-tune a trained model on your own data: docs/finetune.md walks through it.

You need a data folder (`m3it import`) and a model to start from. The model's sizes, its prompt format and its tokenizer
come from `init_from.all`; sources are met by their size; a tenth of the pictures is kept out of training and validated
on, unless the data has a validation split of its own; samples/STEP.html shows answers about them.

Presets:
  small   the model of the quick start, or another one that fits on the machine in float32
          command:   m3it train configs/finetune.py --run-dir runs/mine --data.path=data/mine
                     --init_from.all=runs/quickstart
          hardware:  2 CPU cores, a few minutes
          score:     depends on your data; `m3it eval` compares with controls
  large   imported weights (`m3it weights import`): BLIP-2, InstructBLIP, LLaVA-1.5, MiniGPT-4
          command:   m3it train configs/finetune.py:large --run-dir runs/mine --data.path=data/mine
                     --init_from.all=weights/llava
          hardware:  accelerators with room for the model in bfloat16, spread over all of them; never run by us
          score:     not measured
"""

from m3it_jax.config import (
    INHERIT,
    CheckpointConfig,
    DataConfig,
    Experiment,
    LogConfig,
    MeshConfig,
    ModelConfig,
    OptimizerConfig,
    SamplesConfig,
    ValidationConfig,
)

PRESETS = ("small", "large")

# As in stage 2 of the paper: everything between the pictures and the language model, and the language model's queries
# and values. A model without a Q-Former has its projection trained.
TRAINABLE = (
    (r"(qformer|projection)/.*", True),
    (r"decoder/blocks/attn/(query|value)/kernel", True),
    (r"(vit|decoder)/.*", False),
)


def get_config(preset: str = "small") -> Experiment:
    """Returns the configuration of a preset; `data.path` and `init_from.all` are yours to give."""
    return {"small": _small, "large": _large}[preset or "small"]()


def _small() -> Experiment:
    return Experiment(
        num_steps=300,
        model=ModelConfig(variant=INHERIT),
        data=DataConfig(
            path="data/mine",
            global_batch_size=16,
            max_images=32,
            max_text_len=128,
            max_response_len=64,
            validation_share=0.1,
        ),
        # CHOICE: a tenth of stage 2's rates for the matrices, so that what the model knows stays.
        optimizer=OptimizerConfig(learning_rate=1e-3, warmup_steps=10, weight_decay=0.0, b2=0.98),
        trainable=TRAINABLE,
        init_from={"all": "runs/quickstart"},
        checkpoint=CheckpointConfig(every=100),
        validation=ValidationConfig(every=50, num_steps=4),
        samples=SamplesConfig(every=50),
    )


def _large() -> Experiment:
    config = _small()
    config.num_steps = 1_000
    config.model = ModelConfig(variant=INHERIT, compute_dtype="bfloat16", frozen_dtype="bfloat16", remat=True)
    config.data.global_batch_size, config.data.max_images = 64, 64
    config.data.max_text_len, config.data.max_response_len = 512, 128
    config.optimizer = OptimizerConfig(learning_rate=1e-5, warmup_steps=50, weight_decay=0.05)
    config.mesh = MeshConfig(data=1, fsdp=-1)
    config.checkpoint = CheckpointConfig(every=200)
    config.log = LogConfig(every=10)
    config.validation = ValidationConfig(every=200, num_steps=4)
    config.samples = SamplesConfig(every=200)
    return config
