"""Processes that watch each other: one that is killed, stopped or asleep is named by all others in under a minute.

Each process writes its sign of life to `RUN/processes/RANK.json` every two seconds, from a thread of its own:

    {"beat": 17, "step": updates under way, "doing": "step" or what else, "host", "pid", "ended": why, if it has}

and reads those of the others. A peer is lost if its beat stands still (it was killed, or stopped by a signal), if it
ended by an error, or if it stays behind this process's step while it says that it is at one (asleep, or waiting for
what does not come). Only changes count, so clocks need not agree. Without this, JAX names nobody, and some peers wait
for ever.
"""

import contextlib
import dataclasses
import json
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from m3it_jax import file_safety
from m3it_jax.training import processes

LOST = 75  # exit code: start the same command again (EX_TEMPFAIL of sysexits.h); what launch/ restarts on
FOLDER = "processes"
STEP = "step"

_EVERY_S = 2.0
_SILENT_S = 25.0  # CHOICE: a dozen beats; a shared file system shows a change within a few seconds
_BEHIND_S = 40.0  # CHOICE: named in under a minute, and longer than a hiccup of the storage
_TROUBLED_S = 8.0  # of silence, where JAX says already that something is wrong


@dataclasses.dataclass
class _Peer:
    """What was last seen of a peer, and when each of the two changed by this process's clock."""

    seen: Mapping[str, Any]
    beat_at: float
    moved_at: float


class Watch:
    """Within this context the other processes are watched; the process ends with `LOST` when one of them is lost.

    A run of one process has nobody to watch, and writes nothing.
    """

    def __init__(self, run_dir: Path, rank: int, count: int, *, leave: Callable[[str], None] | None = None):
        """Begins at the start; `leave` is called with the line that names a lost peer (it ends the process)."""
        self._folder, self._rank, self._others = run_dir / FOLDER, rank, [n for n in range(count) if n != rank]
        self._leave = leave or _leave
        self._step, self._doing, self._ended, self._beat = 0, "starting", "", 0
        self._silent_s = _SILENT_S
        now = time.monotonic()
        self._peers = {number: _Peer({}, now, now) for number in self._others}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="peers")

    def __enter__(self) -> "Watch":
        """Gives the first sign of life and begins to look."""
        if self._others:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._sign()
            processes.meet("watch")  # from here on all signs are of this run
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Tells the others that this process ends, and by what."""
        if self._others:
            self._over.set()
            self._thread.join()
            self._ended = str(error or kind.__name__).split("\n")[0][:300] if kind else "finished"
            self._sign()

    def count(self, step: int) -> None:
        """Notes that update number `step` is under way."""
        self._step, self._doing = step, STEP

    @contextlib.contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Says that this process does something that takes its time, so that it is not behind."""
        before, self._doing = self._doing, what
        try:
            yield
        finally:
            self._doing = before

    @contextlib.contextmanager
    def blaming(self, error: type[Exception]) -> Iterator[None]:
        """An error of this kind is the end of a peer, if one is lost: then that is told, not the error."""
        try:
            yield
        except error:
            if self._others:
                self._silent_s = _TROUBLED_S
                self._thread.join(_TROUBLED_S + 5 * _EVERY_S)  # it ends the process, unless all are alive
            raise

    def _watch(self) -> None:
        while not self._over.wait(_EVERY_S):
            self._sign()
            if lost := self._lost(time.monotonic()):
                self._leave(lost)
                return

    def _sign(self) -> None:
        self._beat += 1
        told = {"beat": self._beat, "step": self._step, "doing": self._doing, "ended": self._ended}
        told |= {"host": platform.node(), "pid": os.getpid()}
        with contextlib.suppress(OSError):  # a full disk is for the checkpoint to tell
            file_safety.write_whole(self._folder / f"{self._rank}.json", json.dumps(told) + "\n")

    def _lost(self, now: float) -> str:
        """Returns a line that names the first peer that is lost; empty if all are well."""
        for number, peer in self._peers.items():
            found = self._read(number)
            if found.get("beat") != peer.seen.get("beat"):
                peer.beat_at = now
            if any(found.get(name) != peer.seen.get(name) for name in ("step", "doing")):
                peer.moved_at = now
            peer.seen = found
            who = f"process {number} (host {found.get('host', 'unknown')}, pid {found.get('pid', 'unknown')})"
            step = found.get("step", 0)
            if found.get("ended") not in ("", None, "finished") and now - peer.beat_at < self._silent_s:
                return f"{who} has ended at step {step}: {found['ended']}"
            if found.get("ended") != "finished" and now - peer.beat_at > self._silent_s:
                return f"{who} has given no sign of life for {now - peer.beat_at:.0f} s; it was at step {step}"
            is_behind = found.get("doing") == STEP and step < self._step
            if is_behind and now - peer.moved_at > _BEHIND_S:
                return f"{who} has been at step {step} for {now - peer.moved_at:.0f} s, the others wait for it"
        return ""

    def _read(self, number: int) -> Mapping[str, Any]:
        try:
            found = json.loads((self._folder / f"{number}.json").read_text("utf-8"))
        except (OSError, ValueError):
            return self._peers[number].seen  # not there yet, or the file system is between two states
        return found if isinstance(found, dict) else {}


def _leave(lost: str) -> None:
    sys.stderr.write(f"m3it: {lost}. Nothing that was saved is lost: start the same command again in all processes\n")
    sys.stderr.flush()
    os._exit(LOST)  # the main thread waits in a collective that will never end
