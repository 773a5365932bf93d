"""R1: a run that is killed again and again equals an undisturbed one, to the last bit.

Every run is a process of its own and dies by SIGKILL: half of the kills at a random moment, half while a checkpoint is
being written. Dropout is on, and a checkpoint is due every few steps. With M3IT_LONG set there
are fifty kills of each kind of rows, else three.
"""

import multiprocessing
import os
import pathlib
import random
import signal
import time

import numpy as np
import pytest

from m3it_jax import checkpointing, file_safety, parameter_paths
from m3it_jax.config import CheckpointConfig, DataConfig, Experiment, LogConfig, ModelConfig, OptimizerConfig

NUM_KILLS = 50 if "M3IT_LONG" in os.environ else 3
NUM_STEPS = 60
PACKING = {"none": {}, "rows": {"packing": "rows", "row_len": 300, "row_images": 10, "global_batch_size": 2}}

pytestmark = pytest.mark.slow


def config(data: str, packing: str) -> Experiment:
    sizes = {"global_batch_size": 8, "max_images": 16, "max_text_len": 80, "max_response_len": 40}
    return Experiment(
        num_steps=NUM_STEPS,
        model=ModelConfig(variant="tiny"),
        data=DataConfig(path=data, **sizes | PACKING[packing]),
        optimizer=OptimizerConfig(warmup_steps=5),
        checkpoint=CheckpointConfig(every=4),
        log=LogConfig(every=3),
    )


def train(data: str, run_dir: str, *, cache: str, packing: str) -> None:
    """Runs in a fresh process, whose JAX has one device and compiles into a cache that all runs share."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax

    jax.config.update("jax_num_cpu_devices", 1)
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    from m3it_jax.training import loop, run_folder, setup

    experiment, folder = config(data, packing), pathlib.Path(run_dir)
    prepared = setup.prepare(experiment)
    with file_safety.held(folder, doing="training", instead="--run-dir"):
        run_folder.write_config(experiment, folder)
        run_folder.write_env(folder, prepared.tokenizer_path)
        loop.run(experiment, prepared, folder, on_first_batch=lambda *_: None)


@pytest.fixture(scope="module")
def start():
    """Starts `train` in a process that forks from one with everything imported, so that restarts are cheap."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["m3it_jax.training.loop", "m3it_jax.training.setup"])

    def start(*arguments: str, **named: str) -> multiprocessing.Process:
        process = context.Process(target=train, args=arguments, kwargs=named)
        process.start()
        return process

    return start


def is_saving(run_dir: pathlib.Path) -> bool:
    """Whether a checkpoint is being written: Orbax writes under a temporary name and renames at the end."""
    folder = run_dir / "checkpoints"
    return folder.is_dir() and any("tmp" in entry.name for entry in folder.iterdir())


def kill_once(process, run_dir: pathlib.Path, *, inside_a_save: bool, chance: random.Random) -> bool:
    """Kills the process and returns whether a save was under way; False as well if it finished before."""
    begun = time.monotonic()
    wait = chance.uniform(1.0, 8.0)
    while process.is_alive():
        saving = is_saving(run_dir)
        if saving and inside_a_save and time.monotonic() - begun > 1.0 or time.monotonic() - begun > 120.0:
            break
        if not inside_a_save and time.monotonic() - begun > wait:
            break
        time.sleep(0.002)
    saving = is_saving(run_dir)
    if process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    return saving


@pytest.mark.parametrize("packing", list(PACKING))
def test_kills_change_nothing(folder, tmp_path, start, packing) -> None:
    """A few kills of each kind of rows; with M3IT_LONG set, fifty."""
    named = {"cache": str(tmp_path / "cache"), "packing": packing}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    undisturbed = start(str(folder.path), str(whole), **named)
    undisturbed.join()
    assert undisturbed.exitcode == 0
    chance = random.Random(0)
    inside = 0
    for number in range(NUM_KILLS):
        process = start(str(folder.path), str(killed), **named)
        inside += kill_once(process, killed, inside_a_save=number % 2 == 0, chance=chance)
    last = start(str(folder.path), str(killed), **named)
    last.join()
    assert last.exitcode == 0
    print(f"{NUM_KILLS} kills, {inside} inside a save")  # noqa: T201
    assert inside >= 2, "no kill landed inside a save: the test proves less than it says"
    assert (killed / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    expected, found = (parameter_paths.flatten(checkpointing.restore_params(path)[0]) for path in (whole, killed))
    assert expected.keys() == found.keys()
    for path, leaf in expected.items():
        np.testing.assert_array_equal(leaf.view(np.uint8), found[path].view(np.uint8), err_msg=path)
