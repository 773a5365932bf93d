"""The console script: runs `main` in a process of its own, which Ctrl-C ends in one line and with exit code 130.

An interrupt can reach Python while XLA still compiles in a thread of its own. The usual way out of the interpreter
then takes the devices away from under that thread, which ends in a segmentation fault (exit code 139). So after an
interrupt the process unwinds, which lets locks go and removes half-made files, and then ends without that way out.

Meanwhile nobody else may write to stderr. Libraries that were cut off in the middle of an import print tracebacks of
their own, from threads and from C, so the first Ctrl-C points stderr at nothing and only the last line passes it by.

Nothing heavy is imported here: from its first lines on, Ctrl-C finds this module's handler and not a traceback.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from types import FrameType, TracebackType
from typing import Any, NoReturn

_INTERRUPTED = 130  # what shells report for a program that Ctrl-C ended: 128 + SIGINT
_STDERR = 2  # its file descriptor, where the process was given one
_AGAIN = 0.02  # seconds until an interrupt is raised again that came where none can be raised
_HURRY = 1.0  # seconds after the first Ctrl-C from which on a second one no longer waits for the unwinding

_RESUMING = (
    "mini",
    "import",
    "build",
    "paraphrase",
    "translate",
    "train",
    "eval",
    "ablate",
    "judge",
)  # verbs that keep what is finished


class Interrupts:
    """Turns the first Ctrl-C into KeyboardInterrupt, and a later one into the end of the process."""

    def __init__(self) -> None:
        """Nothing was interrupted yet."""
        self.first: float | None = None  # when the first Ctrl-C came
        self._swallowed = False
        self._stderr = _STDERR  # where the last line goes

    def take_over(self) -> None:
        """Becomes the handler of Ctrl-C, unless the process was started with Ctrl-C ignored, as `nohup` does."""
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            return
        signal.signal(signal.SIGINT, self._note)
        sys.unraisablehook = self._unraisable
        sys.excepthook = self._printed

    def leave(self) -> NoReturn:
        """Ends the process after an interrupt, with a line that says so."""
        kept = "; the same command resumes where it left off" if sys.argv[1:2] and sys.argv[1] in _RESUMING else ""
        # A line may stand half-written on a terminal, and the terminal has put ^C behind it.
        begin = "\n" if os.isatty(self._stderr) else ""
        if sys.__stderr__ is not None:
            with contextlib.suppress(OSError):  # the reader has left
                os.write(self._stderr, f"{begin}m3it: interrupted{kept}\n".encode())
        leave()

    def _note(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self.first is None or self._swallowed:
            if self.first is None:
                self._silence()
            self.first, self._swallowed = self.first or time.monotonic(), False
            raise KeyboardInterrupt
        if time.monotonic() - self.first > _HURRY:
            self.leave()

    def _silence(self) -> None:
        """Lets nothing but the last line reach stderr from here on."""
        if sys.__stderr__ is None:
            return  # closed at the start; the number may be that of another file by now
        self._stderr = os.dup(_STDERR)
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, _STDERR)
        os.close(nothing)

    def _raise_later(self) -> None:
        """Raises an interrupt again that came where none can be raised; here it would be swallowed once more."""
        self._swallowed = True
        main_thread = threading.main_thread().ident
        threading.Timer(_AGAIN, signal.pthread_kill, (main_thread, signal.SIGINT)).start()  # it ends a sleep as well

    def _unraisable(self, ignored: Any) -> None:
        """Is told of what came in the end of an object, or in another callback."""
        if ignored.exc_type is KeyboardInterrupt:
            self._raise_later()
        else:
            sys.__unraisablehook__(ignored)

    def _printed(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        """Is told of what C prints and drops, as NumPy does while it is imported."""
        if kind is KeyboardInterrupt:
            self._raise_later()
        else:
            sys.__excepthook__(kind, error, trace)


def leave() -> NoReturn:
    """Ends the process with exit code 130 and nothing else: no thread is waited for, no module is cleared."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # as in a process that was started without
            with contextlib.suppress(OSError, ValueError):  # the reader has left
                stream.flush()
    os._exit(_INTERRUPTED)


def _fill_closed() -> None:
    """Opens nothing in the place of a standard file that was closed (`m3it ... 2>&-`).

    Else the next file that is opened gets its number, and what libraries print in C is written into it.
    """
    for number in (0, 1, _STDERR):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def main() -> NoReturn:
    """Runs `m3it` with the arguments of the process, and ends it."""
    interrupts = Interrupts()
    _fill_closed()
    try:
        interrupts.take_over()
        from m3it_jax.cli import main as verbs

        code = verbs.main()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the work is done: what is left is the way out
    except KeyboardInterrupt:
        interrupts.leave()
    except Exception:
        if interrupts.first is None:
            raise
        interrupts.leave()  # a library has made its own error of it
    if code and interrupts.first is not None:
        interrupts.leave()  # so has one of our own messages
    if code == _INTERRUPTED:
        leave()  # the verb has said what it saved
    sys.exit(code)
