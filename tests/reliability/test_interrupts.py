"""Ctrl-C at any moment of any verb: one line, exit code 130, no traceback, and never a crash of the process.

The signal goes to the whole process group, as a terminal sends it. With M3IT_LONG set there are 100 interrupts, spread
over the verbs; else one for each verb.
"""

import json
import os
import pathlib
import pty
import random
import select
import signal
import subprocess
import sys
import time

import pytest
import tiny_assistant

CONFIGS = pathlib.Path(__file__).resolve().parents[2] / "configs"
PROGRAM = [sys.executable, "-m", "m3it_jax"]
LATEST = 12.0  # seconds from the start to the latest interrupt: every verb below is past its imports by then
PATIENCE = 300.0  # seconds from an interrupt to the end: a step that is being compiled is made and saved first
EARLIEST = 0.6  # before, the interpreter itself may still be starting

VERBS = ("generate", "eval", "train", "mini", "import", "check", "stats", "browse", "export", "repair")
NUM_EACH = 100 // len(VERBS) if "M3IT_LONG" in os.environ else 1

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def places(folder, tmp_path_factory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("places")
    run = tiny_assistant.write_run(root / "run")
    picture = root / "picture.png"
    tiny_assistant.picture().save(picture)
    talk = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "noise"}]
    rows = [{"id": str(number), "image": picture.name, "conversations": talk} for number in range(2000)]
    (root / "rows.json").write_text(json.dumps(rows))
    return {
        "run": str(run),
        "data": str(folder.path),
        "picture": str(picture),
        "rows": str(root / "rows.json"),
        "config": str(CONFIGS / "tiny.py"),
    }


def words(verb: str, places: dict[str, str], out: pathlib.Path) -> list[str]:
    data, run = places["data"], places["run"]
    sizes = ["--data.max_text_len=80", "--data.max_response_len=40", "--num_steps=3000"]
    asked = ["--image", places["picture"], "--instruction", "What colour?"]
    return {
        "generate": ["generate", run, *asked],
        "eval": ["eval", run, "--data", data, "--out", f"{out}/eval", "--controls"],
        "train": ["train", places["config"], "--run-dir", f"{out}/run", f"--data.path={data}", *sizes],
        "mini": ["mini", f"{out}/mini"],
        "import": ["import", "llava", places["rows"], "--out", f"{out}/import"],
        "check": ["check", data],
        "stats": ["stats", data],
        "browse": ["browse", data, "--out", f"{out}/pages"],
        "export": ["export", "parquet", data, "--out", f"{out}/parquet"],
        "repair": ["repair", data, "--out", f"{out}/repaired"],
    }[verb]


def interrupted(command: list[str], after: float) -> tuple[int, str]:
    """Returns (exit code, stderr) of a program that gets Ctrl-C so many seconds after its start."""
    process = subprocess.Popen(
        [*PROGRAM, *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGINT)
    try:
        _, told = process.communicate(timeout=PATIENCE)
    finally:
        if process.poll() is None:
            process.kill()
    return process.returncode, told


@pytest.mark.parametrize("verb", VERBS)
def test_an_interrupt_at_a_random_moment_is_one_line_and_130(verb, places, tmp_path) -> None:
    chance = random.Random(verb)
    for number in range(NUM_EACH):
        after = chance.uniform(EARLIEST, LATEST)
        code, told = interrupted(words(verb, places, tmp_path / str(number)), after)
        lines = [line for line in told.splitlines() if line.startswith("m3it:")]
        said = f"{verb} after {after:.2f} s: exit code {code}, {told[-2000:]}"
        assert "Traceback" not in told and "Exception ignored" not in told, said
        if code == 130:
            assert len(lines) == 1 or "stopped and saved" in told, said
        else:
            assert code in (0, 1) and not any("interrupted" in line for line in lines), said  # it had ended before


class Terminal:
    """A program at a terminal of its own."""

    def __init__(self, command: list[str]):
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [*PROGRAM, *command], stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)
        self.shown = ""

    def wait_for(self, text: str, seconds: float = 90.0) -> None:
        """Waits until `text` is shown after what was looked at before."""
        found, end = "", time.monotonic() + seconds
        while text not in found:
            assert time.monotonic() < end, f"{text!r} did not come: {self.shown + found}"
            if select.select([self._master], [], [], 0.1)[0]:
                try:
                    found += os.read(self._master, 4096).decode(errors="replace")
                except OSError:
                    break
            elif self.process.poll() is not None:
                break
        self.shown += found
        assert text in found, self.shown

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def press_ctrl_c(self) -> None:
        os.killpg(self.process.pid, signal.SIGINT)


@pytest.mark.parametrize("after", [0.0, 0.3, 1.0])
def test_ctrl_c_in_chat_stops_the_answer_and_a_second_one_leaves(places, after) -> None:
    terminal = Terminal(["chat", places["run"], "--image", places["picture"], "--max-new-tokens", "30"])
    try:
        terminal.wait_for("> ")
        terminal.type("What colour is the circle?\n")
        terminal.wait_for("circle?")
        time.sleep(after)
        terminal.press_ctrl_c()
        terminal.wait_for("> ")  # the prompt is back
        terminal.type("left or right\n")
        terminal.wait_for("> ")  # and the next line is answered
        terminal.press_ctrl_c()
        terminal.wait_for("again")
        terminal.press_ctrl_c()
        assert terminal.process.wait(30) == 130
    finally:
        if terminal.process.poll() is None:
            terminal.process.kill()
    assert "Traceback" not in terminal.shown
