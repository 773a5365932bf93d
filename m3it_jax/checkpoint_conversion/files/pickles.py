"""Pickled checkpoints (.bin, .pth) turned into safetensors by a child process that cannot run what they hold.

The file is taken apart first and refused if it would call anything (`pickle_scan`). Then `children/torch_reader.py`
runs under an interpreter that has torch: the one named in M3IT_TORCH_PYTHON, or this one with the extra `pickle`. The
child gets an environment without any of this one's values, no network, limits on memory, time and disk, and uses
`torch.load(weights_only=True)`. This process never imports torch.
"""

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from m3it_jax import errors
from m3it_jax.checkpoint_conversion.files import pickle_scan
from m3it_jax.safetensors_files import short

PYTHON_VARIABLE = "M3IT_TORCH_PYTHON"
CHILD = Path(__file__).parent / "children" / "torch_reader.py"

_ROOM = 64 << 20  # bytes beside the tensors themselves: headers


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a pickled file holds.

    Attributes:
      file: The file.
      tensors: {key: (dtype as safetensors names it, shape)}.
      left_out: Names of what is no tensor: an optimiser's state, an epoch.
      written: The safetensors file made of it; None if only a list was asked for.
    """

    file: Path
    tensors: dict[str, tuple[str, tuple[int, ...]]]
    left_out: tuple[str, ...]
    written: Path | None


def interpreter() -> str:
    """Returns the Python that has torch.

    Raises:
      UserError: there is none.
    """
    chosen = os.environ.get(PYTHON_VARIABLE)
    if chosen:
        if not os.access(chosen, os.X_OK):
            raise errors.UserError(f"{PYTHON_VARIABLE}={chosen}: is no program; name a Python that has torch >= 2.6")
        return chosen
    if importlib.util.find_spec("torch") is None:
        raise errors.UserError(
            "pickled weights (.bin, .pth) are read by torch >= 2.6 in a process of its own: install the extra with "
            f"pip install -e '.[pickle]' in the repository, "
            f"or name a Python that has torch in {PYTHON_VARIABLE}; safetensors files "
            "need neither"
        )
    return sys.executable


def convert(files: Sequence[Path], out: Path | None, *, scratch: Path) -> list[Contents]:
    """Returns what pickled files hold, and writes it as safetensors into `out` (None: only lists it).

    Args:
      files: The files.
      out: An empty folder, or None.
      scratch: Folder that the child may call its home.

    Raises:
      UserError: a file would run code, is broken, or torch is missing or too old.
    """
    for path in files:
        pickle_scan.check(path)
    max_bytes = _ROOM + max(path.stat().st_size for path in files)
    request = {
        "files": [str(path.absolute()) for path in files],
        "out": None if out is None else str(out.absolute()),
        "max_bytes": max_bytes,
    }
    command = [interpreter(), "-I", str(CHILD)]
    environment = {
        "PATH": os.defpath,
        "HOME": str(scratch.absolute()),
        "TMPDIR": str(scratch.absolute()),
        "LANG": "C.UTF-8",
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        command, input=json.dumps(request), env=environment, cwd=scratch, capture_output=True, text=True
    )
    lines = [_line(text) for text in done.stdout.splitlines() if text.startswith("{")]
    refused = next((line["error"] for line in lines if "error" in line), None)
    if done.returncode or refused is not None or len(lines) != len(files):
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise errors.UserError(
            f"{command[0]}: the process that reads pickled files refused: {short(refused or last)}; nothing was written"
        )
    return [_contents(path, line) for path, line in zip(files, lines, strict=True)]


def _line(text: str) -> dict[str, Any]:
    try:
        return dict(json.loads(text))
    except ValueError:
        return {"error": f"it answered {short(text)}"}


def _contents(path: Path, line: dict[str, Any]) -> Contents:
    shapes = {key: (str(dtype), tuple(shape)) for key, (dtype, shape) in line["tensors"].items()}
    written = line["written"]
    return Contents(path, shapes, tuple(line["left_out"]), None if written is None else Path(written))
