"""Stage 1 of the paper: pictures and captions are brought together; vision tower and language model stay frozen.

Presets:
  mini    m3it-mini on the towers that ship with the package
          command:   m3it train configs/stage1_align.py:mini --run-dir runs/stage1
          hardware:  2 CPU cores, a few minutes
          score:     see docs/evaluation.md
  mini_base  the same on the base edition, which has no emoji and no flags
  paper   Ying-VLM (arXiv 2306.04387, section 4.1): 300k steps of 256 captions, from the three caption sources of M3IT
          that are trained on. The paper took LAION-400M: import yours (`m3it import image-text`, named laion) and give
          --data.mixture='{"laion": 1}'
          command:   m3it train configs/stage1_align.py:paper --run-dir runs/stage1 --data.path=DATA
                     --init_from.vit=RUN --init_from.qformer=RUN --init_from.decoder=RUN
          hardware:  an accelerator slice with 100 GB or more; the authors report about 10 days on 8 A100 80GB
          score:     not published
"""

from m3it_jax.config import (
    CheckpointConfig,
    DataConfig,
    Experiment,
    LogConfig,
    MeshConfig,
    ModelConfig,
    OptimizerConfig,
)

# The paper has AdamW, which the preset `paper` keeps; docs/adr/0009 has what was measured on two cores. The Q-Former's
# matrices move slowly, so that the fresh projection finds it as it was pre-trained.
MUON = OptimizerConfig(name="muon", learning_rate=2e-3, matrix_learning_rate=0.001, b2=0.98, warmup_steps=30)

PRESETS = ("mini", "mini_base", "paper")

TRAINABLE = ((r"(qformer|projection)/.*", True), (r"(vit|decoder)/.*", False))


# Training rows of arXiv 2306.04387, Table 7: sources are met by their size.
CAPTIONS = {"coco": 566_747.0, "textcap": 97_765.0, "image-paragraph-captioning": 14_575.0}


def get_config(preset: str = "mini") -> Experiment:
    """Returns the configuration of a preset."""
    return {"mini": _mini, "mini_base": _mini_base, "paper": _paper}[preset or "mini"]()


def _mini() -> Experiment:
    return Experiment(
        num_steps=240,
        model=ModelConfig(variant="mini"),
        data=DataConfig(
            tokenizer="package:mini",
            global_batch_size=32,
            max_images=32,
            max_text_len=40,
            max_response_len=20,
            mixture={
                "shapes-caption": 3.0,
                "shapes-caption-zh": 3.0,
                "digits-caption": 4.0,
                "pairs-caption": 4.0,
                "video-caption": 1.0,
                "emoji-caption": 2.0,
                "flags-caption": 3.0,
            },
        ),
        optimizer=MUON,
        trainable=TRAINABLE,
        init_from={"vit": "package:mini", "qformer": "package:mini", "decoder": "package:mini"},
        checkpoint=CheckpointConfig(every=120),
    )


def _mini_base() -> Experiment:
    config = _mini()
    mixture = config.data.mixture
    config.data.mixture = {name: mixture[name] for name in mixture if not name.startswith(("emoji", "flags"))}
    return config


def _paper() -> Experiment:
    return Experiment(
        num_steps=300_000,
        model=ModelConfig(variant="ying_vlm_13b", compute_dtype="bfloat16", frozen_dtype="bfloat16", remat=True),
        data=DataConfig(
            global_batch_size=256, max_images=256, max_text_len=512, max_response_len=128, mixture=dict(CAPTIONS)
        ),
        optimizer=OptimizerConfig(learning_rate=5e-5, warmup_steps=2_000, weight_decay=0.05),
        trainable=TRAINABLE,
        mesh=MeshConfig(data=1, fsdp=-1),
        checkpoint=CheckpointConfig(every=1_000),
        log=LogConfig(every=50),
    )
