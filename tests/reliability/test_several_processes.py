"""Real processes on this machine, started as launch/local.sh starts them: they train as one does, and miss each other.

A process that is killed is named by the other one in under a minute, and the run goes on in one process, from the step
that was saved, as if nothing had happened; so is one that is stopped. When the first is killed, JAX ends the other.
Four processes agree on a step to stop after. A series of minutes, so it runs with M3IT_LONG set; the parts are tested
in tests/training.
"""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from m3it_jax import checkpointing
from m3it_jax.cli import main

CONFIG = pathlib.Path(__file__).parents[2] / "configs" / "tiny.py"
STEPS = 40

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("M3IT_LONG" not in os.environ, reason="a long series: set M3IT_LONG"),
]


def words(folder, run_dir: pathlib.Path, steps: int = STEPS) -> list[str]:
    sizes = {"global_batch_size": 8, "max_images": 64, "max_text_len": 80, "max_response_len": 40}
    options = [f"--data.{name}={value}" for name, value in sizes.items()]
    options += [f"--data.path={folder.path}", f"--num_steps={steps}", "--log.every=2", "--validation.every=0"]
    return ["train", str(CONFIG), "--run-dir", str(run_dir), *options, "--checkpoint.every=4"]


class Processes:
    """The processes of a run, two of the eight devices of a batch each; the output of each in a file."""

    def __init__(self, command: list[str], count: int, logs: pathlib.Path):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        shared = {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}", "JAX_NUM_PROCESSES": str(count)}
        shared |= {"JAX_NUM_CPU_DEVICES": "1", "JAX_COMPILATION_CACHE_DIR": str(logs / "cache")}
        self.logs = [logs / f"{rank}.log" for rank in range(count)]
        self.all = []
        for rank, log in enumerate(self.logs):
            with log.open("wb") as file:
                environ = {**os.environ, **shared, "JAX_PROCESS_ID": str(rank)}
                started = [sys.executable, "-m", "m3it_jax", *command]
                self.all.append(subprocess.Popen(started, env=environ, stdout=file, stderr=file))

    def wait(self, seconds: float = 240) -> list[int]:
        end = time.monotonic() + seconds
        return [process.wait(max(end - time.monotonic(), 0.1)) for process in self.all]

    def close(self) -> None:
        for process in self.all:
            process.kill()
            process.wait()


@pytest.fixture
def start(tmp_path):
    started = []

    def start(command: list[str], count: int = 2) -> Processes:
        logs = tmp_path / f"logs{len(started)}"
        logs.mkdir()
        started.append(Processes(command, count, logs))
        return started[-1]

    yield start
    for processes in started:
        processes.close()


def metrics(run_dir: pathlib.Path) -> dict[int, float]:
    file = run_dir / "metrics.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return {row["step"]: row["train/loss"] for row in map(json.loads, lines)}


def wait_for(run_dir: pathlib.Path, step: int, processes: Processes, seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while checkpointing.newest_step(run_dir) is None or max(metrics(run_dir), default=0) < step:
        assert time.monotonic() < end and all(process.poll() is None for process in processes.all), processes.logs
        time.sleep(0.1)


def lose(processes: Processes, victim: int, number: signal.Signals) -> tuple[list[int], float]:
    """Sends a signal to one process; returns the exit codes of the others and how many seconds they took."""
    os.kill(processes.all[victim].pid, number)
    begun = time.monotonic()
    others = [process for rank, process in enumerate(processes.all) if rank != victim]
    codes = [process.wait(90) for process in others]
    return codes, time.monotonic() - begun


def test_a_killed_process_is_named_and_one_goes_on_as_if_two_had_never_stopped(folder, start, tmp_path):
    run_dir, alone = tmp_path / "run", tmp_path / "alone"
    two = start(words(folder, run_dir))
    wait_for(run_dir, 6, two)
    codes, seconds = lose(two, 1, signal.SIGKILL)
    assert codes == [75] and seconds < 60, two.logs[0].read_text()[-2000:]
    (line,) = [line for line in two.logs[0].read_text().splitlines() if line.startswith("m3it: process")]
    assert f"process 1 (host {os.uname().nodename}, pid {two.all[1].pid}) has" in line
    assert "starts at step 0" in two.logs[0].read_text() and "starts at" not in two.logs[1].read_text()
    assert main.main(words(folder, alone)) == 0
    # The same command, in one process on another mesh: losses agree up to the order of sums, from the first step on.
    assert main.main(words(folder, run_dir)) == 0
    found, wanted = metrics(run_dir), metrics(alone)
    assert list(found) == list(wanted) == list(range(2, STEPS + 1, 2))
    np.testing.assert_allclose(list(found.values()), list(wanted.values()), rtol=1e-5)


@pytest.mark.parametrize(("victim", "number"), [(1, signal.SIGSTOP), (0, signal.SIGSTOP)])
def test_whatever_happens_to_a_process_the_other_names_it_in_a_minute(folder, start, tmp_path, victim, number):
    two = start(words(folder, tmp_path / "run", 100_000))
    wait_for(tmp_path / "run", 6, two)
    codes, seconds = lose(two, victim, number)
    assert codes == [75] and seconds < 60
    assert f"process {victim} (host " in two.logs[1 - victim].read_text()


def test_when_the_first_is_killed_the_other_ends_at_once_by_jax(folder, start, tmp_path):
    two = start(words(folder, tmp_path / "run", 100_000))
    wait_for(tmp_path / "run", 6, two)
    codes, seconds = lose(two, 0, signal.SIGKILL)
    assert codes in ([75], [-signal.SIGABRT]) and seconds < 60


def test_four_processes_stop_after_the_same_step_when_one_gets_sigterm(folder, start, tmp_path):
    four = start(words(folder, tmp_path / "run", 100_000), count=4)
    wait_for(tmp_path / "run", 6, four)
    four.all[2].terminate()
    assert four.wait(120) == [130] * 4
    newest = checkpointing.newest_step(tmp_path / "run")
    assert f"stopped and saved at step {newest}" in four.logs[0].read_text()
    assert newest % 4 or newest > 6
