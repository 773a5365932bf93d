"""Arrays that can be made again at any time, kept in files: whole or not there, and told if they cannot be used."""

import io
import pathlib
import sys
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from m3it_jax import file_safety

Arrays = dict[str, np.ndarray]


def read(path: pathlib.Path, fingerprint: str, *, columns: Mapping[str, str]) -> Arrays | None:
    """Returns the arrays of a file; None: there is none, or none of use, which is told on stderr.

    Args:
      path: The file.
      fingerprint: Of what the arrays must belong to.
      columns: The dtype of each array, as `u2`; all have one length.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays, whose = {name: stored[name] for name in columns}, str(stored["fingerprint"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        problem = f"is damaged ({error})"
    else:
        problem = "" if whose == fingerprint else "belongs to other records, texts or limits"
        kinds = all(arrays[name].dtype == np.dtype(kind) and arrays[name].ndim for name, kind in columns.items())
        if not kinds or len({len(array) for array in arrays.values()}) > 1:
            problem = "is damaged (its columns do not fit each other)"
    if problem:
        sys.stderr.write(f"m3it: {path}: {problem}; it is made again\n")
        return None
    return arrays


def write(folders: Sequence[pathlib.Path], name: str, *, fingerprint: str, arrays: Mapping[str, np.ndarray]) -> bool:
    """Writes a file into the first of the folders that can be written to; returns whether there was one."""
    buffer = io.BytesIO()
    stored: dict[str, Any] = {"fingerprint": np.array(fingerprint), **arrays}
    np.savez(buffer, **stored)
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file_safety.write_whole(folder / name, buffer.getvalue())
        except OSError:
            continue
        return True
    return False
