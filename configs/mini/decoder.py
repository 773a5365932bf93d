"""Pre-trains the small language model on the training texts of m3it-mini: a description stands where the picture will.

The paper takes a language model that can read and answer (Ziya); this one learns to answer from descriptions, so that
stage 1 has only to teach the Q-Former to describe.

command:   m3it train configs/mini/decoder.py --run-dir runs/towers/decoder --data.path=runs/towers/data
hardware:  2 CPU cores
time:      see m3it_jax/towers/mini/README.md, written by the run
score:     validation/loss in metrics.jsonl
"""

from m3it_jax import config

# Names (flags, groups of emoji) are many and each is met seldom, so they get more than their size.
MIXTURE = {
    "shapes-caption": 1.0,
    "shapes-caption-zh": 1.0,
    "shapes-vqa": 3.0,
    "shapes-options": 2.0,
    "shapes-vqa-zh": 1.5,
    "digits-caption": 1.0,
    "digits-vqa": 1.5,
    "digits-zh": 1.0,
    "digits-facts": 1.0,
    "digits-region": 1.0,
    "pairs-caption": 1.0,
    "pairs-reasoning": 5.0,
    "two-pictures": 3.0,
    "digits-dialogue": 1.5,
    "video-caption": 1.0,
    "video-digits": 2.0,
    "video-digits-zh": 1.0,
    "emoji-caption": 2.0,
    "emoji-group": 1.5,
    "emoji-zh": 2.0,
    "emoji-languages": 1.0,
    "flags-caption": 2.0,
    "flags": 8.0,
}


def get_config(preset: str = "") -> config.Experiment:
    """Returns the configuration; there are no presets."""
    return config.Experiment(
        num_steps=1_500,
        model=config.ModelConfig(variant="mini"),
        data=config.DataConfig(
            mixture=MIXTURE,
            picture_as="captions",
            global_batch_size=64,
            max_images=128,
            max_text_len=40,
            max_response_len=20,
        ),
        optimizer=config.OptimizerConfig(
            learning_rate=2e-3, b2=0.99, warmup_steps=60, hold_share=0.3, decay="linear", end_share=0.01
        ),
        trainable=((r"(vit|qformer|projection)/.*", False), (r"decoder/.*", True)),
        validation=config.ValidationConfig(every=750, num_steps=30),
        checkpoint=config.CheckpointConfig(every=500),
        log=config.LogConfig(every=50),
    )
