"""Apertium, Debian's offline engine of rules, as a process: `apt-get install apertium apertium-eng-spa`.

A batch is the paragraphs of one process. One that dies, hangs or gives another number is asked again in halves,
down to the line that does it: that one gets no translation, all others do.
"""

import concurrent.futures
import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from m3it_jax import errors, languages
from m3it_jax.dataset_building.translation.engines import Failure

PROGRAM = "apertium"

_GAP = "\n\n"
_LIST_S = 30.0
_START_S = 30.0  # CHOICE: seconds for a process beside those for its lines
_LINE_S = 0.5  # CHOICE: measured 1.4 ms a caption (952 captions in 1.3 s)
_STOP_AFTER = 20  # CHOICE: so many lines in a row without an answer are no matter of single lines


class Apertium:
    """See `engines.Engine`. What it does not know it leaves in the source's language."""

    def __init__(self, program: str = PROGRAM, *, processes: int = 1, start_s: float = _START_S):
        """Takes the program, how many run side by side, and the seconds that one may need before its first line.

        Raises:
          UserError: it is not installed.
        """
        found = shutil.which(program)
        if found is None:
            raise errors.UserError(
                f"{program}: is not installed; on Debian run apt-get install apertium apertium-eng-spa, or choose "
                "another --translator"
            )
        self._program, self._processes, self._start_s = found, processes, start_s
        self._modes = self._listed()
        self._failed_in_a_row = 0

    def settings(self) -> Mapping[str, Any]:
        """See `Engine`: the rules that are installed are not told apart."""
        return {"name": "apertium"}

    def check(self, source: languages.Language, target: languages.Language) -> None:
        """See `Engine`."""
        self._mode(source, target)

    def translate(
        self, texts: Sequence[str], source: languages.Language, target: languages.Language
    ) -> list[str | Failure]:
        """See `Engine`."""
        mode = self._mode(source, target)
        if not texts:
            return []
        size = -(-len(texts) // self._processes)
        parts = [texts[start : start + size] for start in range(0, len(texts), size)]
        with concurrent.futures.ThreadPoolExecutor(self._processes) as pool:
            said = [line for lines in pool.map(lambda part: self._lines(mode, part), parts) for line in lines]
        for line in said:
            self._failed_in_a_row = self._failed_in_a_row + 1 if isinstance(line, Failure) else 0
            if isinstance(line, Failure) and self._failed_in_a_row >= _STOP_AFTER:
                raise errors.UserError(
                    f"{self._program} {mode}: {self._failed_in_a_row} texts in a row got no translation ({line.text}); "
                    "see to it, then run the same command again: what was translated is kept"
                )
        return said

    def _listed(self) -> frozenset[str]:
        try:
            told = subprocess.run([self._program, "-l"], capture_output=True, timeout=_LIST_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise errors.UserError(f"{self._program}: does not list its modes ({error}); install it again") from error
        return frozenset(told.stdout.decode("utf-8", "replace").split())

    def _mode(self, source: languages.Language, target: languages.Language) -> str:
        for one in (source.nllb.partition("_")[0], source.code):
            for other in (target.nllb.partition("_")[0], target.code):
                if f"{one}-{other}" in self._modes:
                    return f"{one}-{other}"
        raise errors.UserError(
            f"apertium: has no mode from {source.code} to {target.code}; installed are "
            f"{', '.join(sorted(self._modes)) or 'none'}"
        )

    def _lines(self, mode: str, texts: Sequence[str]) -> list[str | Failure]:
        said = self._process(mode, texts)
        if isinstance(said, list):
            return list(said)
        if len(texts) == 1:
            return [said]
        half = len(texts) // 2
        return self._lines(mode, texts[:half]) + self._lines(mode, texts[half:])

    def _process(self, mode: str, texts: Sequence[str]) -> list[str] | Failure:
        """Returns the lines of one process, or what went wrong with it."""
        # An empty line ends a paragraph: without it a line's words would be read with those of the next.
        given = "".join(f"{text}{_GAP}" for text in texts).encode("utf-8", "replace")
        limit = self._start_s + _LINE_S * len(texts)
        try:
            # A session of its own: the program is a shell script, whose children would outlive it.
            process = subprocess.Popen(
                [self._program, "-u", mode],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            return Failure(f"cannot be started ({error.strerror})")
        try:
            out, wrong = process.communicate(given, timeout=limit)
        except subprocess.TimeoutExpired:
            return Failure(f"gave no answer within {limit:.0f} s")
        finally:
            _end(process)
        if process.returncode:
            last = (wrong.decode("utf-8", "replace").strip().splitlines() or [""])[-1][:200]
            return Failure(f"ended with code {process.returncode}{': ' if last else ''}{last}")
        lines = out.decode("utf-8", "replace").removesuffix(_GAP).split(_GAP)
        if len(lines) != len(texts):
            return Failure(f"gave {len(lines)} lines for {len(texts)}")
        return lines


def _end(process: subprocess.Popen) -> None:
    """Ends a process with its children, if it has not ended."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
