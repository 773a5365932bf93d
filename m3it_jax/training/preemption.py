"""A signal to stop becomes "save at the end of this step": SIGTERM from a scheduler, Ctrl-C from a person."""

import os
import signal
import sys
from types import FrameType

_STOPPING = b"\nstopping after this step and saving; Ctrl-C again leaves at once, without saving\n"


class Preemption:
    """Within this context the first SIGTERM or SIGINT is noted; a second Ctrl-C interrupts at once.

    In a run of several processes JAX notes SIGTERM, so that all stop after the same step (`processes.should_stop`);
    Ctrl-C is handed on as SIGTERM there.
    """

    def __init__(self, num_processes: int = 1) -> None:
        """Nothing is noted yet."""
        self.signal: signal.Signals | None = None
        self._is_alone = num_processes == 1
        taken = (signal.SIGTERM, signal.SIGINT) if self._is_alone else (signal.SIGINT,)
        self._before = {number: signal.getsignal(number) for number in taken}

    def __enter__(self) -> "Preemption":
        """Takes the two signals over."""
        for number, handler in self._before.items():
            if handler is not signal.SIG_IGN:  # as for a program that a script has put into the background
                signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        """Gives the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        before = self._before[signal.SIGINT]
        if self.signal is signal.SIGINT and number == signal.SIGINT and callable(before):
            before(number, frame)  # Ctrl-C as it is elsewhere
            return
        if self.signal is None:
            os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, _STOPPING)  # `print` may be interrupted itself
        if not self._is_alone and self.signal is None:
            os.kill(os.getpid(), signal.SIGTERM)
        self.signal = signal.Signals(number)
