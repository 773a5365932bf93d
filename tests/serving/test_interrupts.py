"""Ctrl-C in a conversation: the first stops an answer or empties a line, the second leaves."""

import ctypes
import io
import signal
import threading

import pytest

from m3it_jax.serving import interrupts


def ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def reader(*steps):
    left = list(steps)

    def read() -> str:
        if not left:
            raise EOFError
        step = left.pop(0)
        if step is ctrl_c:
            ctrl_c()
        return step

    return read


def test_ctrl_c_at_the_prompt_is_told_and_the_next_line_is_read():
    notes = io.StringIO()
    with interrupts.Stop(notes) as stop:
        assert list(stop.lines(reader(ctrl_c, "one", ctrl_c, "two"))) == ["one", "two"]
    assert notes.getvalue().count("Ctrl-C again or /quit leaves") == 2


def test_a_second_one_without_a_line_between_leaves():
    with interrupts.Stop(io.StringIO()) as stop, pytest.raises(KeyboardInterrupt):
        list(stop.lines(reader(ctrl_c, ctrl_c, "never read")))


def test_an_answer_is_asked_to_stop_and_a_second_one_ends_it(capfd):
    with interrupts.Stop(io.StringIO()) as stop:
        lines = stop.lines(reader("one", "two"))
        next(lines)
        ctrl_c()
        assert stop.asked
        assert "stopping" in capfd.readouterr().err
        next(lines)
        assert not stop.asked, "the next line begins anew"
        ctrl_c()
        with pytest.raises(KeyboardInterrupt):
            ctrl_c()


def test_the_handler_before_comes_back():
    before = signal.getsignal(signal.SIGINT)
    with interrupts.Stop(io.StringIO()):
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before


def test_a_prompt_that_waits_in_c_looks_for_a_ctrl_c_that_came_before():
    """Readline draws the prompt, then waits: a Ctrl-C between the two wakes nothing by itself."""
    libc = ctypes.CDLL(None)
    rescue = threading.Timer(10.0, signal.pthread_kill, (threading.get_ident(), signal.SIGALRM))
    rescue.start()

    def read() -> str:
        libc.pause()  # until any signal comes
        return "woken" if rescue.is_alive() else "asleep"

    with interrupts.Stop(io.StringIO()) as stop:
        assert next(stop.lines(read)) == "woken"
    rescue.cancel()
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
