"""Ctrl-C in a conversation: the first one stops the answer, or empties the line; a second one leaves."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TextIO

# Seconds between two looks for a Ctrl-C while a line is typed. Readline draws its prompt and then waits for a key; a
# Ctrl-C between the two is noted and wakes nobody, so an alarm that does nothing wakes it now and then.
_LOOK_EVERY = 0.2

_STOPPING = b"\nm3it: stopping this answer; Ctrl-C again leaves\n"


class Stop:
    """Within this context Ctrl-C is noted while an answer is made, and raised where a line is typed.

    An answer is stopped between two tokens and never inside the device's work, so the next one finds everything whole.
    """

    def __init__(self, notes: TextIO) -> None:
        """Takes where the user is told what a Ctrl-C at the prompt does."""
        self._notes = notes
        self._count = 0  # of interrupts since the last line
        self._is_typing = False

    @property
    def asked(self) -> bool:
        """Whether the answer under way is to be stopped."""
        return self._count > 0

    def __enter__(self) -> "Stop":
        """Takes Ctrl-C over."""
        self._before = signal.signal(signal.SIGINT, self._note)
        self._alarm_before = signal.signal(signal.SIGALRM, _wake)
        return self

    def __exit__(self, *_: object) -> None:
        """Gives it back."""
        signal.signal(signal.SIGALRM, self._alarm_before)
        signal.signal(signal.SIGINT, self._before)

    def lines(self, read: Callable[[], str]) -> Iterator[str]:
        """Yields the lines that `read` returns, until it raises EOFError.

        Raises:
          KeyboardInterrupt: a second Ctrl-C without a line between the two.
        """
        while True:
            try:
                self._is_typing = True
                signal.setitimer(signal.ITIMER_REAL, _LOOK_EVERY, _LOOK_EVERY)
                line = read()
            except EOFError:
                return
            except KeyboardInterrupt:
                if self._count > 1:
                    raise
                print("\n(Ctrl-C again or /quit leaves)", file=self._notes, flush=True)
                continue
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
                self._is_typing = False
            self._count = 0
            yield line

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        if self._count > 1 and callable(self._before):
            self._before(number, frame)  # Ctrl-C as it is elsewhere
        elif self._is_typing:
            raise KeyboardInterrupt
        else:
            # Not `print`, which may be what was interrupted.
            os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, _STOPPING)


def _wake(number: int, frame: FrameType | None) -> None:
    """Does nothing: the signal has ended a wait in C, and Python looks for other signals then."""
