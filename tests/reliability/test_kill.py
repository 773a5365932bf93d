"""R1: a run that is killed again and again equals an undisturbed one, to the last bit.

Every run is a process of its own and dies by SIGKILL, while a checkpoint is being written or at a random moment.
Dropout is on, and a checkpoint is due every few steps. With M3IT_LONG set there are fifty kills of each kind of rows,
over rows of four shapes; else a few, over rows of one shape.
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

LONG = "M3IT_LONG" in os.environ
# Kind of rows -> whether each kill falls into a save. A random one is the last: a short run may have ended before it.
INSIDE_A_SAVE = {"none": [True, False], "rows": [True]}
if LONG:
    INSIDE_A_SAVE = dict.fromkeys(INSIDE_A_SAVE, [number % 2 == 0 for number in range(50)])
NUM_STEPS = 60 if LONG else 20
LATEST = 8.0 if LONG else 4.0  # seconds from the start to the latest random kill
MIXTURE = {} if LONG else {"ones": 1.0, "more-ones": 1.0}  # one shape: tracing programs is most of what a start costs
PACKING = {"none": {}, "rows": {"packing": "rows", "row_len": 300, "row_images": 10, "global_batch_size": 2}}

pytestmark = pytest.mark.slow


def config(data: str, packing: str) -> Experiment:
    sizes = {"global_batch_size": 8, "max_images": 16, "max_text_len": 80, "max_response_len": 40}
    return Experiment(
        num_steps=NUM_STEPS,
        model=ModelConfig(variant="tiny"),
        data=DataConfig(path=data, mixture=dict(MIXTURE), **sizes | PACKING[packing]),
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
def compiled(tmp_path_factory) -> str:
    """The folder of compiled programs, which the runs of both kinds of rows share."""
    return str(tmp_path_factory.mktemp("compiled"))


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


def kill_inside_a_save(process, run_dir: pathlib.Path) -> bool:
    """Kills the process while it writes a checkpoint; returns False if it ends before."""
    end = time.monotonic() + 120.0
    while process.is_alive() and time.monotonic() < end:
        if is_saving(run_dir):
            os.kill(process.pid, signal.SIGSTOP)  # else the save may end between the look and the kill
            if is_saving(run_dir):
                os.kill(process.pid, signal.SIGKILL)
                process.join()
                return True
            os.kill(process.pid, signal.SIGCONT)
        time.sleep(0.002)
    process.kill()
    process.join()
    return False


def kill_at_random(process, chance: random.Random) -> None:
    """Kills the process a few seconds after its start, unless it ends before."""
    process.join(chance.uniform(1.0, LATEST))
    process.kill()
    process.join()


@pytest.mark.parametrize("packing", list(PACKING))
def test_kills_change_nothing(folder, tmp_path, compiled, start, packing) -> None:
    """A few kills of each kind of rows; with M3IT_LONG set, fifty."""
    named = {"cache": compiled, "packing": packing}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    undisturbed = start(str(folder.path), str(whole), **named)
    undisturbed.join()
    assert undisturbed.exitcode == 0
    chance, inside = random.Random(0), 0
    for inside_a_save in INSIDE_A_SAVE[packing]:
        process = start(str(folder.path), str(killed), **named)
        if inside_a_save:
            inside += kill_inside_a_save(process, killed)
        else:
            kill_at_random(process, chance)
    assert inside >= (2 if LONG else 1), "no kill landed inside a save: the test proves less than it says"
    last = start(str(folder.path), str(killed), **named)
    last.join()
    assert last.exitcode == 0
    assert (killed / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    expected, found = (parameter_paths.flatten(checkpointing.restore_params(path)[0]) for path in (whole, killed))
    assert expected.keys() == found.keys()
    for path, leaf in expected.items():
        np.testing.assert_array_equal(leaf.view(np.uint8), found[path].view(np.uint8), err_msg=path)
