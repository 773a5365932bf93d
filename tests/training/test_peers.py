"""A process that is killed, stopped, asleep or ended by an error is named by the others; one that is busy is not."""

import contextlib
import json
import threading

import pytest

from m3it_jax.training import peers


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(peers, "_EVERY_S", 0.05)
    monkeypatch.setattr(peers, "_SILENT_S", 0.4)
    monkeypatch.setattr(peers, "_BEHIND_S", 0.4)
    monkeypatch.setattr(peers, "_TROUBLED_S", 0.1)


class Run:
    """Two processes that are objects of the test; `lost` is what the first said when it left."""

    def __init__(self, folder):
        self.left = threading.Event()
        self.lost: list[str] = []
        self.first = peers.Watch(folder, 0, 2, leave=self._leave)
        self.second = peers.Watch(folder, 1, 2, leave=lambda _: None)

    def _leave(self, line: str) -> None:
        self.lost.append(line)
        self.left.set()


@pytest.fixture
def run(tmp_path):
    with contextlib.ExitStack() as stack:
        made = Run(tmp_path)
        stack.enter_context(made.second)
        stack.enter_context(made.first)
        yield made
        made.second._over.set()


def test_processes_that_are_well_are_left_alone(run):
    for step in range(12):
        for each in (run.first, run.second):
            each.count(step)
        assert not run.left.wait(0.1)


def test_one_that_gives_no_sign_is_named_with_its_host_and_step(run):
    run.second.count(7)
    assert not run.left.wait(0.1)
    run.second._over.set()  # as by kill -9 or SIGSTOP: its thread stands still
    assert run.left.wait(3)
    (line,) = run.lost
    assert line.startswith("process 1 (host ") and "no sign of life" in line and line.endswith("it was at step 7")


def test_one_that_stays_behind_is_named_although_it_lives(run):
    run.second.count(7)
    run.first.count(8)
    assert run.left.wait(3)
    assert "process 1" in run.lost[0] and "has been at step 7" in run.lost[0]


@pytest.mark.parametrize("what", ["compiling", "saving"])
def test_one_that_is_busy_is_waited_for(run, what):
    run.second.count(7)
    with run.second.doing(what):
        run.first.count(8)
        assert not run.left.wait(0.8)
    assert run.left.wait(3)  # it came back and did not go on


def test_one_that_ended_by_an_error_is_named_with_it(tmp_path):
    run = Run(tmp_path)
    with run.first:
        with pytest.raises(ValueError, match="disk"), run.second:
            raise ValueError("disk full\nmore")
        assert run.left.wait(3)
    assert run.lost[0].endswith("has ended at step 0: disk full")


def test_one_that_finished_is_not_lost(tmp_path):
    run = Run(tmp_path)
    with run.first:
        with run.second:
            pass
        run.first.count(3)
        assert not run.left.wait(0.8)


def test_signs_of_an_earlier_run_do_not_count(tmp_path):
    folder = tmp_path / peers.FOLDER
    folder.mkdir()
    (folder / "1.json").write_text(json.dumps({"beat": 999, "step": 50, "ended": "Killed", "doing": "step"}))
    run = Run(tmp_path)
    with run.second, run.first:
        run.first.count(1)
        run.second.count(1)
        assert not run.left.wait(0.3)
        run.second._over.set()


def test_an_error_of_jax_waits_for_the_name_of_the_peer(run):
    run.second.count(5)
    run.second._over.set()
    with pytest.raises(RuntimeError), run.first.blaming(RuntimeError):
        raise RuntimeError("Gloo: connection closed by peer")
    assert run.left.is_set() and "process 1" in run.lost[0]


def test_a_run_of_one_process_writes_nothing(tmp_path):
    with peers.Watch(tmp_path, 0, 1) as watch:
        watch.count(3)
        with watch.doing("saving"), pytest.raises(RuntimeError), watch.blaming(RuntimeError):
            raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_to_leave_is_one_line_and_an_exit_code_of_its_own(monkeypatch, capsys):
    codes = []
    monkeypatch.setattr(peers.os, "_exit", codes.append)
    peers._leave("process 1 has ended")
    (line,) = capsys.readouterr().err.splitlines()
    assert codes == [75] and line.startswith("m3it: process 1 has ended. Nothing that was saved is lost")
