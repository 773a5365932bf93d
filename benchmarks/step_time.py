"""Seconds of a training step of both stages, beside the machine's own matrix product.

    python benchmarks/step_time.py [--repeats 7]

Variant mini with fresh weights and the shapes, the trainable parts and the optimiser of the mini presets; made-up
batches, so no data folder is needed and reading costs nothing. Useful operations are those of `training/flops.py`.
Writes benchmarks/results/step_time.json; about a minute on two quiet cores, half of it compiling.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import harness
import jax
import numpy as np

from m3it_jax import prompts, sharding
from m3it_jax.cli import configuration
from m3it_jax.config import Experiment
from m3it_jax.input_pipeline.rows.transforms import Layout
from m3it_jax.models.variants import VARIANTS, Variant
from m3it_jax.training import flops, objectives, optimizer, state, step

STAGES = {"stage 1": "configs/stage1_align.py:mini", "stage 2": "configs/stage2_instruct.py:mini"}
# (stage, pictures of a row); 8 are the frames of a video.
CASES = (("stage 1", 1), ("stage 2", 1), ("stage 2", 8))
STEPS = 2  # of one repeat
# CHOICE: the end marks and a few words, as the answers of m3it-mini have.
SUPERVISED = 6

COLUMNS = (
    ("stage", "stage", ""),
    ("pictures", "pictures of a row", ""),
    ("rows", "rows", ""),
    ("tokens", "tokens of a row", ""),
    ("gflop", "GFLOP of a step", ".1f"),
    ("seconds.min", "seconds, least", ".3f"),
    ("seconds.median", "median", ".3f"),
    ("seconds.max", "most", ".3f"),
    ("peak_share", "share of the GEMM's rate (best to best)", ".2f"),
    ("compile_seconds", "compile, seconds", ".1f"),
)


def make_batch(config: Experiment, variant: Variant, num_images: int) -> dict[str, np.ndarray]:
    """Returns a batch of rows with `num_images` pictures each, in the shapes of the input pipeline."""
    data, rng = config.data, np.random.default_rng(0)
    num_rows = max(1, min(data.global_batch_size, data.max_images // num_images))
    layout = Layout(
        format=prompts.YING_VLM,
        picture_len=variant.qformer.num_queries,
        open_ids=(4,),
        close_ids=(5,),
        closing_ids=(6, 2),
        bos_id=1,
        eos_id=2,
        max_text_len=data.max_text_len,
        max_response_len=data.max_response_len,
    )
    row_len, block = layout.row_len(num_images), layout.row_len(1) - data.max_text_len
    index = np.full((num_rows, row_len), -1, np.int32)
    for number in range(num_images):
        first = number * block + 1
        own = (np.arange(num_rows)[:, None] * num_images + number) * layout.picture_len
        index[:, first : first + layout.picture_len] = own + np.arange(layout.picture_len)
    loss_mask = np.zeros((num_rows, row_len), np.float32)
    loss_mask[:, -SUPERVISED:] = 1.0
    side = variant.vit.image_size
    return {
        "images": rng.integers(0, 256, (num_rows * num_images, side, side, 3), np.uint8),
        "token_ids": rng.integers(4, variant.decoder.vocab_size, (num_rows, row_len), np.int32),
        "image_token_index": index,
        "segment_ids": np.ones((num_rows, row_len), np.int32),
        "positions": np.tile(np.arange(row_len, dtype=np.int32), (num_rows, 1)),
        "loss_mask": loss_mask,
        "source_index": np.zeros(num_rows, np.int32),
    }


def start(config: Experiment, variant: Variant) -> tuple[step.StepFn, state.TrainState, flops.StepFlops]:
    """Returns the update function, the first state and the formula of a stage."""
    objective = objectives.OBJECTIVES[config.objective]
    task = objectives.Task(variant, config.model.compute_dtype, False, (), 1, config.data.max_response_len)
    example = make_batch(config, variant, 1)
    params = jax.jit(objective.make_model(task).init)(jax.random.key(0), example)["params"]
    trainable, frozen = state.split(params, config.trainable)
    rule = optimizer.make_optimizer(config.optimizer, config.num_steps)
    update = step.make_train_step(objective, task, optimizer=rule, rules=sharding.PRESETS[config.mesh.rules], seed=0)
    count = flops.StepFlops(variant, trainable=trainable, frozen=frozen, max_targets=task.max_targets)
    return update, state.TrainState(np.int32(0), trainable, frozen, rule.init(trainable)), count


def make_case(stage: str, num_images: int) -> tuple[Callable[[], None], dict[str, Any]]:
    """Returns (a function that makes STEPS updates and waits, the facts of its row)."""
    config = configuration.load(str(harness.ROOT / STAGES[stage]), [])
    variant = VARIANTS[config.model.variant]
    update, current, count = start(config, variant)
    batch = make_batch(config, variant, num_images)
    compiled, seconds = compile_timed(update, current, batch)

    def run() -> None:
        nonlocal current
        for _ in range(STEPS):
            current, sums = compiled(current, batch)
        jax.block_until_ready(sums)

    num_rows, row_len = batch["token_ids"].shape
    facts = {"stage": stage, "pictures": num_images, "rows": num_rows, "tokens": row_len}
    return run, {**facts, "gflop": count(batch) / 1e9, "compile_seconds": seconds}


def compile_timed(function: Callable[..., Any], *arguments: Any) -> tuple[Callable[..., Any], float]:
    """Returns the compiled function, whose first argument is used up, and the seconds that compiling took."""
    lowered = jax.jit(function, donate_argnums=0).lower(*arguments)
    begin = time.perf_counter()
    return lowered.compile(), time.perf_counter() - begin


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    machine = harness.machine()
    with jax.set_mesh(sharding.make_mesh(data=1, fsdp=1, tensor=1, devices=jax.devices()[:1])):
        made = {f"{stage} {count}": make_case(stage, count) for stage, count in CASES}
        cases = {"gemm": flops.gemm(), **{name: run for name, (run, _) in made.items()}}
        seconds = harness.interleave(cases, args.repeats)
    peak = flops.GEMM_FLOPS / min(seconds["gemm"]) / 1e9
    rows = []
    for name, (_, facts) in made.items():
        spread = harness.spread(seconds[name], 1 / STEPS)
        rows.append({**facts, "seconds": spread, "peak_share": facts["gflop"] / spread["min"] / peak})
    references = {"float32 product 2048 x 2048 x 2048, best of the run, GFLOP/s": peak}
    harness.finish("step_time", machine=machine, references=references, columns=COLUMNS, rows=rows)


if __name__ == "__main__":
    main()
