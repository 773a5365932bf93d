"""The console script: runs `main` in a process of its own, which Ctrl-C ends in one line and with exit code 130.

An interrupt can reach Python while XLA still compiles in a thread of its own. The usual way out of the interpreter
then takes the devices away from under that thread, which ends in a segmentation fault (exit code 139). So after an
interrupt the process unwinds, which lets locks go and removes half-made files, and then ends without that way out.

Nothing heavy is imported here: from its first lines on, Ctrl-C finds this module's handler and not a traceback.
"""

import _thread
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any, NoReturn

_INTERRUPTED = 130  # what shells report for a program that Ctrl-C ended: 128 + SIGINT
_AGAIN = 0.02  # seconds until an interrupt is raised again that came where none can be raised
_HURRY = 1.0  # seconds after the first Ctrl-C from which on a second one no longer waits for the unwinding


class Interrupts:
    """Turns the first Ctrl-C into KeyboardInterrupt, and a later one into the end of the process."""

    def __init__(self) -> None:
        """Nothing was interrupted yet."""
        self.first: float | None = None  # when the first Ctrl-C came
        self._swallowed = False

    def take_over(self) -> None:
        """Becomes the handler of Ctrl-C, unless the process was started with Ctrl-C ignored, as `nohup` does."""
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            return
        signal.signal(signal.SIGINT, self._note)
        sys.unraisablehook = self._unraisable

    def _note(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self.first is None or self._swallowed:
            self.first, self._swallowed = self.first or time.monotonic(), False
            raise KeyboardInterrupt
        if time.monotonic() - self.first > _HURRY:
            leave("interrupted")

    def _unraisable(self, ignored: Any) -> None:
        """Raises an interrupt again that came where none can be raised, such as in the end of an object."""
        if ignored.exc_type is KeyboardInterrupt:
            self._swallowed = True
            threading.Timer(_AGAIN, _thread.interrupt_main).start()  # here it would be swallowed once more
        else:
            sys.__unraisablehook__(ignored)


def leave(message: str = "") -> NoReturn:
    """Ends the process with exit code 130 and nothing else: no thread is waited for, no module is cleared."""
    if message:
        print(f"m3it: {message}", file=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass  # the reader has left
    os._exit(_INTERRUPTED)


def main() -> NoReturn:
    """Runs `m3it` with the arguments of the process, and ends it."""
    interrupts = Interrupts()
    try:
        interrupts.take_over()
        from m3it_jax.cli import main as verbs

        code = verbs.main()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the work is done: what is left is the way out
    except KeyboardInterrupt:
        leave("interrupted")
    except Exception:
        if interrupts.first is None:
            raise
        leave("interrupted")  # a library has made its own error of it
    if code == _INTERRUPTED or (code and interrupts.first is not None):
        leave()
    sys.exit(code)
