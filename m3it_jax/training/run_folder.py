"""The folder of one run: who may write to it, which configuration it belongs to, and where it was made."""

import contextlib
import fcntl
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from m3it_jax import checkpointing, errors
from m3it_jax.config import Experiment, to_dict

# A change of these does not change what is learned, so the same run may go on with other values. Of the data it is the
# fingerprint in the checkpoint that decides, not where it lies.
FREE_FIELDS = ("checkpoint", "log", "mesh", "validation", "data.path", "data.tokenizer")
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "sentencepiece", "numpy")


@contextlib.contextmanager
def claim(run_dir: Path) -> Iterator[None]:
    """Makes the folder and holds its lock: two runs in one folder would spoil each other.

    Raises:
      UserError: another process holds it, or it cannot be written.
    """
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        handle = (run_dir / ".lock").open("a+")
    except OSError as error:
        raise errors.UserError(f"{run_dir}: cannot be written ({error.strerror}); choose another --run-dir") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise errors.UserError(
                f"{run_dir}: another process is training in this folder; wait for it, or choose another --run-dir"
            ) from error
        yield


def write_config(config: Experiment, run_dir: Path) -> None:
    """Writes config.json; if the folder has a checkpoint, checks first that it was trained with the same configuration.

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
        for name, before, now in _differences(old, new, ""):
            if not any(f"{name}.".startswith(f"{field}.") for field in FREE_FIELDS):
                raise errors.ConfigError(
                    f"{name}={now!r}: {run_dir} holds a run with {before!r}; use another --run-dir, or the former value"
                )
    write_atomically(path, json.dumps(new, indent=2, ensure_ascii=False) + "\n")


def _differences(old: Any, new: Any, prefix: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()):
            yield from _differences(old.get(name), new.get(name), f"{prefix}{name}.")
    elif old != new:
        yield prefix.rstrip("."), old, new


def write_env(run_dir: Path, tokenizer_path: Path) -> None:
    """Writes env.json (versions, devices, revision, command) and the tokenizer that the checkpoints belong to.

    Raises:
      UserError: the folder has checkpoints and another tokenizer.
    """
    copy = run_dir / "tokenizer.model"
    differs = copy.exists() and copy.read_bytes() != tokenizer_path.read_bytes()
    if differs and checkpointing.newest_step(run_dir) is not None:
        raise errors.UserError(
            f"{copy}: differs from {tokenizer_path}, but the folder has checkpoints; give --data.tokenizer={copy}, or "
            "another --run-dir"
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
    write_atomically(run_dir / "env.json", json.dumps(env, indent=2) + "\n")
    if differs or not copy.exists():
        temporary = copy.with_suffix(".tmp")
        shutil.copyfile(tokenizer_path, temporary)
        os.replace(temporary, copy)


def _git_revision() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None  # installed without its repository


def write_atomically(path: Path, text: str) -> None:
    """Writes a file that is either the old or the new one, never half."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, "utf-8")
    os.replace(temporary, path)
