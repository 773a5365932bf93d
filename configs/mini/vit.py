"""Pre-trains the small vision tower on the training pictures of m3it-mini: attributes and captions.

The paper takes its tower from BLIP-2; no small tower comes inside a package, so the project makes its own, once.

command:   m3it train configs/mini/vit.py --run-dir runs/towers/vit --data.path=runs/towers/data
hardware:  2 CPU cores
time:      see m3it_jax/towers/mini/README.md, written by the run
score:     validation/accuracy/* in metrics.jsonl; the card of the shipped towers has them
"""

from m3it_jax import config

# Caption sources hold every training picture once. Shares follow docs/adr/0008: digits in several forms need most.
MIXTURE = {
    "shapes-caption": 5.0,
    "digits-caption": 9.0,
    "pairs-caption": 12.0,
    "video-caption": 2.0,
    "emoji-caption": 3.0,
    "flags-caption": 3.0,
}
AUGMENT = config.AugmentConfig(shift=0.05, scale=0.1, rotate=5.0, wave=0.02, jitter=0.15)


def get_config(preset: str = "") -> config.Experiment:
    """Returns the configuration; there are no presets."""
    return config.Experiment(
        num_steps=9_000,
        objective="vit_tower",
        model=config.ModelConfig(variant="mini"),
        data=config.DataConfig(mixture=MIXTURE, global_batch_size=32, max_images=256, augment=AUGMENT),
        optimizer=config.OptimizerConfig(
            name="muon",
            learning_rate=1e-3,
            matrix_learning_rate=0.02,
            b2=0.99,
            warmup_steps=60,
            hold_share=0.3,
            decay="linear",
            end_share=0.01,
        ),
        trainable=((r".*", True),),
        validation=config.ValidationConfig(every=3_000, num_steps=30),
        checkpoint=config.CheckpointConfig(every=500),
        log=config.LogConfig(every=50),
    )
