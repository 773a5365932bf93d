"""The files of an evaluation folder.

    lock.json           the identity of the evaluation (`lock.py`), written first
    .lock               held by the process that writes here
    predictions.jsonl   one line an answer, appended as they come
    scores.json         computed from the two (`scores.py`)
    examples/           pictures with question, reference and answer (`examples.py`)

A line of predictions.jsonl holds all that scoring needs, so that scores can be computed again without data or model:

    {"id", "source", "number", "skill", "family", "language", "group", "instruction", "inputs", "references": [...],
     "num_images", "variant", "prediction"}

`people` stands there where the task compares with the answers of single people, repeated ones repeated. The last
answer of a conversation also has `turns`, `new_pictures` and `system` of its record, if they are not empty.
`number` is the record's place in its source's split; `variant` is `own` or one of the controls (`controls.py`).
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from m3it_jax import errors, file_safety, schema

# What stands before the question in a conversation, as in a record's `meta`.
BEFORE = ("turns", "new_pictures", "system")

LOCK, PREDICTIONS, SCORES, EXAMPLES = "lock.json", "predictions.jsonl", "scores.json", "examples"

_TEXTS = ("id", "source", "skill", "family", "language", "group", "instruction", "inputs", "variant", "prediction")


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
        self.compare({name: identity.get(name) for name in {*stored, *identity}})

    def compare(self, fields: Mapping[str, Any]) -> None:
        """Compares some fields of an identity with the stored one, if there is one.

        Raises:
          UserError: a field differs; the message names the first.
        """
        stored = self.lock()
        for name in sorted(fields if stored else ()):
            if stored.get(name) != fields[name]:
                raise errors.UserError(
                    f"{self.path}: holds an evaluation with another {name} ({stored.get(name)}, now "
                    f"{fields[name]}); name another folder with --out, or move this one away"
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
        file_safety.write_whole(file, json.dumps(value, ensure_ascii=False, indent=2) + "\n")

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Adds predictions as they come, and waits in the end until they are on the disk.

        Each row is handed to the system at once, so a process that is killed, or an error in `rows`, loses none.
        """
        with open(self.path / PREDICTIONS, "ab") as file:
            for row in rows:
                file.write(json.dumps(row, ensure_ascii=False).encode("utf-8") + b"\n")
                file.flush()
            os.fsync(file.fileno())

    def has_predictions(self) -> bool:
        """Returns whether there is a file of predictions."""
        return (self.path / PREDICTIONS).is_file()

    def predictions(self, *, repair: bool = False) -> list[dict[str, Any]]:
        """Returns the predictions; none if there is no file. A torn last line, as a killed run leaves it, is no row.

        Of several answers to one question in one variant the last one counts.

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
        rows: dict[tuple[str, str, str], dict[str, Any]] = {}
        for number, line in enumerate(content[:whole].split(b"\n")[:-1], start=1):
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            reason = _broken(row)
            if reason:
                raise errors.UserError(
                    f"{file}:{number}: is no prediction ({reason}); move the folder away and evaluate again"
                )
            rows[row["source"], row["id"], row["variant"]] = row
        return list(rows.values())

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


def _broken(row: Any) -> str:
    """Returns what is wrong with a line of predictions.jsonl, or nothing if it is sound."""
    if not isinstance(row, dict):
        return "no JSON object"
    for name in _TEXTS:
        if not isinstance(row.get(name), str):
            return f"{name}={row.get(name)!r}, must be text"
    if row["family"] not in schema.TASKS:
        return f"family={row['family']!r}, must be one of {', '.join(schema.TASKS)}"
    if type(row.get("number")) is not int or row["number"] < 0:
        return f"number={row.get('number')!r}, must be a whole number from 0"
    references = row.get("references")
    if not isinstance(references, list) or not references or not all(isinstance(text, str) for text in references):
        return f"references={references!r}, must be a list of at least one text"
    return ""
