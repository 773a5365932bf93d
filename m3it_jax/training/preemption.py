"""A signal to stop becomes "save at the end of this step": SIGTERM from a scheduler, Ctrl-C from a person."""

import signal
from types import FrameType


class Preemption:
    """Within this context the first SIGTERM or SIGINT is noted; a second Ctrl-C interrupts at once."""

    def __init__(self) -> None:
        """Nothing is noted yet."""
        self.signal: signal.Signals | None = None

    def __enter__(self) -> "Preemption":
        """Takes the two signals over."""
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        """Gives the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.signal is signal.SIGINT and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)
