"""Pre-trains the small Q-Former on the frozen vision tower, with the tower's own objective.

command:   m3it train configs/mini/qformer.py --run-dir runs/towers/qformer --data.path=runs/towers/data
           --init_from.vit=runs/towers/vit
hardware:  2 CPU cores
time:      see m3it_jax/towers/mini/README.md, written by the run
score:     validation/accuracy/* within a few points of the tower's
"""

from m3it_jax import config

# The sources and shares of configs/mini/vit.py.
MIXTURE = {
    "shapes-caption": 5.0,
    "digits-caption": 9.0,
    "pairs-caption": 12.0,
    "video-caption": 2.0,
    "emoji-caption": 3.0,
    "flags-caption": 3.0,
}


def get_config(preset: str = "") -> config.Experiment:
    """Returns the configuration; there are no presets."""
    return config.Experiment(
        num_steps=1_600,
        objective="qformer_tower",
        model=config.ModelConfig(variant="mini"),
        data=config.DataConfig(
            mixture=MIXTURE,
            global_batch_size=32,
            max_images=256,
            augment=config.AugmentConfig(shift=0.05, scale=0.1, rotate=5.0, wave=0.02, jitter=0.15),
        ),
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
        trainable=((r"vit/.*", False), (r"(qformer|heads)/.*", True)),
        validation=config.ValidationConfig(every=800, num_steps=30),
        checkpoint=config.CheckpointConfig(every=500),
        log=config.LogConfig(every=50),
    )
