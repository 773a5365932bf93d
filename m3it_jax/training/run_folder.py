"""The folder of one run: who may write to it, which configuration it belongs to, and where it was made."""

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jax

from m3it_jax import checkpointing, errors, file_safety, schema, tokenizer
from m3it_jax.config import Experiment, to_dict
from m3it_jax.models import variants

# A change of these does not change what is learned, so the same run may go on with other values. Of the data it is the
# fingerprint in the checkpoint that decides, not where it lies.
FREE_FIELDS = (
    "checkpoint",
    "log",
    "mesh",
    "validation",
    "samples",
    "data.path",
    "data.tokenizer",
    "data.max_bad_share",
)
# Of these it is the folder that counts, and not where it lies.
_PLACES = ("init_from.", "model.variant")
ASKED_FILE = "asked.json"
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "sentencepiece", "numpy")


def write_config(config: Experiment, run_dir: Path, *, free: Iterable[str] = FREE_FIELDS) -> None:
    """Writes config.json, and model.json with the model's sizes, which may have come from another folder.

    If the folder has a checkpoint, it is checked first that it was trained with the same configuration.

    Args:
      config: The resolved configuration.
      run_dir: The run folder.
      free: Fields, or sections of them, that may differ.

    Raises:
      ConfigError: the folder holds a run with another configuration; the message names the first difference.
    """
    path = run_dir / "config.json"
    new = json.loads(json.dumps(to_dict(config)))
    if path.exists() and checkpointing.newest_step(run_dir) is not None:
        try:
            old = json.loads(path.read_text("utf-8"))
        except ValueError as error:
            raise errors.UserError(f"{path}: is no JSON ({error}); choose another --run-dir") from error
        for name, before, now in _differences(_with_defaults(old, to_dict(Experiment())), new, ""):
            is_free = any(f"{name}.".startswith(f"{field}.") for field in free)
            if not is_free and not (name.startswith(_PLACES) and _moved_along(before, now, run_dir)):
                raise errors.ConfigError(
                    f"{name}={now!r}: {run_dir} holds a run with {before!r}; use another --run-dir, or the former value"
                )
    file_safety.write_whole(path, json.dumps(new, indent=2, ensure_ascii=False) + "\n")
    variants.write(variants.named(config.model.variant), run_dir)


def _moved_along(before: Any, now: Any, run_dir: Path) -> bool:
    """Whether two paths are one folder that was moved together with the run, as a quick start's stage 1 beside stage 2.

    It lies in the folder around the run now, and its former path ended in the same names from there on.
    """
    if not (isinstance(before, str) and isinstance(now, str)):
        return False
    around, place = run_dir.resolve().parent, Path(now).resolve()
    if not place.is_relative_to(around) or place == around:
        return False
    names = place.relative_to(around).parts
    return Path(before).parts[-len(names) :] == names


def _with_defaults(old: Any, defaults: dict[str, Any]) -> Any:
    """Returns a stored configuration with the fields that its version did not have yet, as they behaved then."""
    if not isinstance(old, dict):
        return old
    for name, value in defaults.items():
        if name not in old:
            old[name] = json.loads(json.dumps(value))
        elif isinstance(value, dict) and value:  # a section; tables have no default entries
            _with_defaults(old[name], value)
    return old


def _differences(old: Any, new: Any, prefix: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()):
            yield from _differences(old.get(name), new.get(name), f"{prefix}{name}.")
    elif old != new:
        yield prefix.rstrip("."), old, new


def write_asked(instances: Iterable[schema.Instance], run_dir: Path) -> None:
    """Writes asked.json: how the model is asked in training, one record of each source, for whoever tries it later.

    Of a conversation it has the first question and the number of turns.
    """
    rows = []
    for one in instances:
        turns = schema.turns_of(one)
        asked = {"instruction": turns[0].instruction, "inputs": turns[0].inputs}
        about = {"source": one.source, "task": one.task, "num_images": len(one.images), "num_turns": len(turns)}
        rows.append({**about, **asked})
    file_safety.write_whole(run_dir / ASKED_FILE, json.dumps(rows, indent=2, ensure_ascii=False) + "\n")


def write_env(run_dir: Path, tokenizer_path: Path) -> None:
    """Writes env.json (versions, devices, revision, command) and the tokenizer that the checkpoints belong to.

    Raises:
      UserError: the folder has checkpoints and another tokenizer.
    """
    files = {run_dir / name: source.read_bytes() for name, source in tokenizer.files(tokenizer_path).items()}
    changed = [path for path, data in files.items() if not path.exists() or path.read_bytes() != data]
    former = tokenizer.find(run_dir)
    differs = former.exists() and bool(changed)
    if differs and checkpointing.newest_step(run_dir) is not None:
        raise errors.UserError(
            f"{former}: differs from {tokenizer_path}, but the folder has checkpoints; give "
            f"--data.tokenizer={former}, or another --run-dir"
        )
    devices = [{"platform": device.platform, "kind": device.device_kind} for device in jax.devices()]
    env = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "devices": devices,
        "process_count": jax.process_count(),
        "git_revision": _git_revision(),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }
    file_safety.write_whole(run_dir / "env.json", json.dumps(env, indent=2) + "\n")
    if former not in files:
        former.unlink(missing_ok=True)  # of another kind
    for path in changed:
        file_safety.write_whole(path, files[path])


def _git_revision() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None  # installed without its repository
