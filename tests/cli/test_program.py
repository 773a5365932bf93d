"""The console script: whatever Ctrl-C meets, the process ends with 130, in one line, and without a crash."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

_CHILD = """
import signal, sys, threading, time, types, weakref
from m3it_jax.cli import main, program

def ctrl_c():
    signal.raise_signal(signal.SIGINT)

{run}

module = types.ModuleType("verb_under_test")
module.EXAMPLE, module.add_arguments, module.run = "m3it try", lambda parser: None, run
sys.modules["verb_under_test"] = module
main.VERBS["try"] = ("verb_under_test", "be tried")
sys.argv = ["m3it", "try"]
program.main()
"""

COMPILING = """
def run(args):
    import jax, os
    def deep(x):
        for number in range(400):
            x = jax.numpy.sin(x @ x) + number
        return x
    lowered = jax.jit(deep).lower(jax.numpy.ones((8, 8)))
    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
    lowered.compile()
    time.sleep(5)
    return 0
"""

SWALLOWED = """
class Thing:
    pass

def run(args):
    thing = Thing()
    reference = weakref.ref(thing, lambda _: ctrl_c())
    del thing
    time.sleep(20)
    return 0
"""

MADE_ANOTHER_ERROR = """
def run(args):
    try:
        ctrl_c()
    except KeyboardInterrupt:
        raise RuntimeError("INTERNAL: a callback failed")
"""

TOLD_AS_A_FAILURE = """
def run(args):
    from m3it_jax import errors
    try:
        ctrl_c()
    except KeyboardInterrupt:
        raise errors.UserError("a worker died")
"""

A_SECOND_ONE = """
def run(args):
    try:
        ctrl_c()
    finally:
        time.sleep(1.2)
        ctrl_c()
        time.sleep(20)
"""


def run_child(run: str, **options) -> subprocess.CompletedProcess:
    script = _CHILD.format(run=textwrap.dedent(run))
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, **options)


PRINTED_BY_C = """
def run(args):
    try:
        ctrl_c()
    except KeyboardInterrupt as error:
        sys.excepthook(type(error), error, error.__traceback__)
    time.sleep(20)
    return 0
"""

OTHERS_COMPLAIN = """
def run(args):
    import os
    def complain():
        while True:
            os.write(2, b"Traceback (most recent call last):")
    try:
        ctrl_c()
    finally:
        threading.Thread(target=complain, daemon=True).start()
        print("left in the middle", file=sys.stderr)
        time.sleep(0.2)
"""


@pytest.mark.parametrize(
    "run",
    [COMPILING, SWALLOWED, MADE_ANOTHER_ERROR, TOLD_AS_A_FAILURE, A_SECOND_ONE, PRINTED_BY_C, OTHERS_COMPLAIN],
)
def test_ctrl_c_is_one_line_and_130(run) -> None:
    done = run_child(run)
    assert (done.returncode, done.stderr) == (130, "m3it: interrupted\n")


def test_ctrl_c_needs_no_stderr() -> None:
    done = run_child("def run(args):\n    ctrl_c()", preexec_fn=lambda: os.close(2))
    assert done.returncode == 130


def test_a_program_that_is_to_ignore_ctrl_c_ignores_it() -> None:
    ignoring = lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)  # noqa: E731
    done = run_child("def run(args):\n    ctrl_c()\n    return 3", preexec_fn=ignoring)
    assert (done.returncode, done.stderr) == (3, "")


def test_a_mistake_of_ours_keeps_its_traceback() -> None:
    done = run_child("def run(args):\n    raise RuntimeError('ours')")
    assert done.returncode == 1 and "Traceback" in done.stderr and "ours" in done.stderr
