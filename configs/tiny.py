"""For tests and tutorials: the smallest model, both parts of the path, a minute or less on one CPU.

command:   m3it train configs/tiny.py --run-dir runs/tiny
hardware:  one CPU core
time:      under a minute
score:     none worth a name; the loss falls from about 7.8 to below 4
"""

from m3it_jax.config import CheckpointConfig, DataConfig, Experiment, ModelConfig, OptimizerConfig


def get_config(preset: str = "") -> Experiment:
    """Returns the configuration; there are no presets."""
    return Experiment(
        num_steps=60,
        model=ModelConfig(variant="tiny"),
        data=DataConfig(global_batch_size=16, max_images=64),
        optimizer=OptimizerConfig(learning_rate=3e-3, warmup_steps=5),
        trainable=((r".*", True),),
        checkpoint=CheckpointConfig(every=20),
    )
