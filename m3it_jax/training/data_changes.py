"""Whether a checkpoint may go on with the data of a run: its order of records must be that of before, or accepted.

A checkpoint holds the fingerprint of its data and the fingerprints of its parts, so that what changed is named. An
accepted change is noted in `data_changes.json` of the run folder; the run goes on at its step in the new order.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from m3it_jax import checkpointing, errors, file_safety
from m3it_jax.input_pipeline.pipeline import Pipeline

FILE = "data_changes.json"
OPTION = "--accept-data-change"


def check(run_dir: Path, pipeline: Pipeline) -> None:
    """Checks that the newest checkpoint of a folder, if it has one, belongs to the data of this run.

    Raises:
      UserError: it does not, and the change was not accepted.
    """
    newest = checkpointing.newest_step(run_dir)
    if newest is not None:
        location = checkpointing.Location(run_dir, newest)
        check_position(checkpointing.read_position(location), pipeline, location.folder, run_dir=run_dir)


def check_position(position: Mapping[str, Any], pipeline: Pipeline, folder: Any, *, run_dir: Path) -> None:
    """Checks that a checkpoint belongs to the data of this run.

    Args:
      position: Of the checkpoint.
      pipeline: Of this run.
      folder: The checkpoint, for the message.
      run_dir: Where accepted changes are noted.

    Raises:
      UserError: it does not, and the change was not accepted; the message names the parts that differ.
    """
    if position["fingerprint"] == pipeline.fingerprint:
        return
    if any(
        change["from"] == position["fingerprint"] and change["to"] == pipeline.fingerprint for change in _noted(run_dir)
    ):
        return
    raise errors.UserError(
        f"{folder}: was trained on other data ({differing(position, pipeline)} changed), so the order of records "
        f"cannot go on; use another --run-dir, the former data, or {OPTION} (records may repeat or be skipped)"
    )


def differing(position: Mapping[str, Any], pipeline: Pipeline) -> str:
    """Returns the parts of the data that differ, in words; of a checkpoint from before they were noted, all of them."""
    before = position.get("parts") or {}
    parts = [name for name in before | pipeline.parts if before.get(name) != pipeline.parts.get(name)]
    return ", ".join(parts if before else pipeline.parts)


def accept(run_dir: Path, pipeline: Pipeline) -> str:
    """Notes that the newest checkpoint goes on with this data, and returns what changed; empty if nothing did.

    Raises:
      UserError: what was noted before cannot be read.
    """
    newest = checkpointing.newest_step(run_dir)
    if newest is None:
        return ""
    position = checkpointing.read_position(checkpointing.Location(run_dir, newest))
    if position["fingerprint"] == pipeline.fingerprint:
        return ""
    changed = differing(position, pipeline)
    change = {"step": newest, "changed": changed, "from": position["fingerprint"], "to": pipeline.fingerprint}
    file_safety.write_whole(run_dir / FILE, json.dumps([*_noted(run_dir), change], indent=2) + "\n")
    return changed


def _noted(run_dir: Path) -> list[dict[str, Any]]:
    path = run_dir / FILE
    if not path.exists():
        return []
    try:
        changes: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))
        return [dict(change) for change in changes if {"from", "to"} <= change.keys()]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise errors.UserError(f"{path}: cannot be read ({error}); delete it and give {OPTION} again") from error
