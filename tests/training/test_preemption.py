"""The first signal is noted and told once, the second Ctrl-C interrupts, and afterwards both are as they were."""

import os
import signal

import pytest

from m3it_jax.training.preemption import Preemption

STOPPING = b"stopping after this step and saving"


def test_the_first_signal_of_either_kind_is_noted_and_told(capfd) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        with Preemption() as preemption:
            assert preemption.signal is None
            os.kill(os.getpid(), number)
            assert preemption.signal is number
        assert capfd.readouterr().err.encode().count(STOPPING) == 1


def test_a_second_ctrl_c_interrupts_and_what_a_scheduler_sends_beside_it_does_not(capfd) -> None:
    with Preemption() as preemption:
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)  # a scheduler may send several, and a person comes after it
        assert preemption.signal is signal.SIGINT
        os.kill(os.getpid(), signal.SIGTERM)
        assert preemption.signal is signal.SIGTERM
    assert capfd.readouterr().err.encode().count(STOPPING) == 1
    with Preemption():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_the_signals_are_given_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with Preemption():
        assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] != before
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_in_a_run_of_several_processes_sigterm_is_left_to_jax_and_ctrl_c_becomes_one(monkeypatch, capfd) -> None:
    before, sent = signal.getsignal(signal.SIGTERM), []
    with Preemption(num_processes=2) as preemption:
        assert signal.getsignal(signal.SIGTERM) is before
        kill = os.kill
        monkeypatch.setattr(os, "kill", lambda pid, number: sent.append(number))
        kill(os.getpid(), signal.SIGINT)
        assert sent == [signal.SIGTERM] and preemption.signal is signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            kill(os.getpid(), signal.SIGINT)
        assert sent == [signal.SIGTERM]
    assert capfd.readouterr().err.encode().count(STOPPING) == 1
