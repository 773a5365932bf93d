"""The files of an evaluation folder.

    lock.json           the identity of the evaluation (`lock.py`), written first
    predictions.jsonl   one line an answer, appended as they come
    scores.json         computed from the two (`scores.py`)
    examples/           pictures with question, reference and answer (`examples.py`)

A line of predictions.jsonl holds all that scoring needs, so that scores can be computed again without data or model:

    {"id", "source", "number", "skill", "family", "language", "group", "instruction", "inputs", "references": [...],
     "num_images", "variant", "prediction"}

`number` is the record's place in its source's split; `variant` is `own` or one of the controls (`controls.py`).
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from m3it_jax import errors

LOCK, PREDICTIONS, SCORES, EXAMPLES = "lock.json", "predictions.jsonl", "scores.json", "examples"

_NEEDED = {"id", "source", "number", "skill", "family", "language", "group", "references", "variant", "prediction"}


@dataclasses.dataclass(frozen=True)
class EvalFolder:
    """An evaluation folder at `path`; it is made when something is written."""

    path: pathlib.Path

    def claim(self, identity: Mapping[str, Any]) -> None:
        """Makes this the folder of the evaluation with this identity: made now, or found to be just that.

        Raises:
          UserError: it holds another evaluation; the message names the first field that differs.
        """
        stored = self.lock()
        if not stored:
            self.write(LOCK, identity)
            return
        for name in sorted({*stored, *identity}):
            if stored.get(name) != identity.get(name):
                raise errors.UserError(
                    f"{self.path}: holds an evaluation with another {name} ({stored.get(name)}, now "
                    f"{identity.get(name)}); name another folder with --out, or move this one away"
                )

    def lock(self) -> dict[str, Any]:
        """Returns the stored identity; empty if there is none yet.

        Raises:
          UserError: the file is damaged.
        """
        return self._read(LOCK)

    def scores(self) -> dict[str, Any]:
        """Returns scores.json; empty if there is none yet.

        Raises:
          UserError: the file is damaged.
        """
        return self._read(SCORES)

    def write(self, name: str, value: Any) -> None:
        """Writes a JSON file of the folder in one piece: a reader sees the whole new file or the old one."""
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(file.name + ".partial")
        partial.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        os.replace(partial, file)

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Adds predictions and waits until they are on the disk."""
        with open(self.path / PREDICTIONS, "ab") as file:
            for row in rows:
                file.write(json.dumps(row, ensure_ascii=False).encode("utf-8") + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def predictions(self, *, repair: bool = False) -> list[dict[str, Any]]:
        """Returns the predictions; none if there is no file. A torn last line, as a killed run leaves it, is no row.

        Args:
          repair: Also cut a torn last line off the file, so that more can be appended.

        Raises:
          UserError: another line is not what `append` writes.
        """
        file = self.path / PREDICTIONS
        if not file.exists():
            return []
        content = file.read_bytes()
        whole = content.rfind(b"\n") + 1
        if repair and whole < len(content):
            os.truncate(file, whole)
        rows = []
        for number, line in enumerate(content[:whole].split(b"\n")[:-1], start=1):
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict) or not row.keys() >= _NEEDED:
                raise errors.UserError(f"{file}:{number}: is no prediction; move the folder away and evaluate again")
            rows.append(row)
        return rows

    def _read(self, name: str) -> dict[str, Any]:
        file = self.path / name
        try:
            value = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise errors.UserError(f"{file}: is damaged ({error}); move the folder {self.path} away") from error
        if not isinstance(value, dict):
            raise errors.UserError(f"{file}: is no JSON object; move the folder {self.path} away")
        return value
