"""Teaches the small Q-Former to speak to a frozen language model: captions, with vision tower and decoder frozen.

BLIP-2 trains its Q-Former twice, with heads of its own and then through a frozen language model; the paper takes the
result. configs/mini/qformer.py is the first time, this the second. The projection it learns with is thrown away.

command:   m3it train configs/mini/qformer_captions.py --run-dir runs/towers/qformer_captions
           --data.path=runs/towers/data --init_from.vit=runs/towers/vit --init_from.qformer=runs/towers/qformer
           --init_from.decoder=runs/towers/decoder
hardware:  2 CPU cores
time:      see m3it_jax/towers/mini/README.md, written by the run
score:     validation/loss/* in metrics.jsonl
"""

from m3it_jax import config

MIXTURE = {
    "shapes-caption": 4.0,
    "shapes-caption-zh": 2.0,
    "digits-caption": 6.0,
    "pairs-caption": 9.0,
    "video-caption": 1.0,
    "emoji-caption": 2.0,
    "flags-caption": 4.0,
}


def get_config(preset: str = "") -> config.Experiment:
    """Returns the configuration; there are no presets."""
    return config.Experiment(
        # The second digit of a pair is learned after about 600 steps, the names of flags after about 1,200; not before.
        num_steps=2_000,
        model=config.ModelConfig(variant="mini"),
        data=config.DataConfig(
            mixture=MIXTURE, global_batch_size=64, max_images=64, max_text_len=40, max_response_len=20
        ),
        optimizer=config.OptimizerConfig(
            name="muon", learning_rate=1e-3, matrix_learning_rate=0.02, b2=0.98, warmup_steps=30
        ),
        trainable=((r"(qformer|projection)/.*", True), (r"(vit|decoder)/.*", False)),
        validation=config.ValidationConfig(every=1_000, num_steps=15),
        checkpoint=config.CheckpointConfig(every=500),
        log=config.LogConfig(every=50),
    )
