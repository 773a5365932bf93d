"""Which split a file's rows belong to, by the names of folders and files, and which rows a share is taken from.

The words are those that the library `datasets` looks for (datasets/data_files.py: SPLIT_KEYWORDS), as whole names or
between characters that are no letters: `test/0000.parquet`, `data/val2014/a.jpg`, `train-00000-of-00004.parquet`. In
contrast to it, capitals do not matter, no file is left out because others have such a word, and names that tell two
splits are refused.
"""

import pathlib
import re
from collections.abc import Iterable

from m3it_jax import errors

WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "dev", "val"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
    # As one word in GQA and VQA v2, in RefCOCO and in MathVista.
    **dict.fromkeys(("testdev", "teststd", "testa", "testb", "testmini"), "test"),
    "minival": "validation",
}


def words(name: str) -> set[str]:
    """Returns the splits that a name tells."""
    return {WORDS[word] for word in re.split(r"[^a-z]+", name.lower()) if word in WORDS}


def whole(name: str) -> set[str]:
    """Returns the split that a name is, and nothing more: `val2014`, but not `test_pictures`."""
    found = [word for word in re.split(r"[^a-z]+", name.lower()) if word]
    return words(name) if len(found) == 1 else set()


def of(names: Iterable[str], *, above: str = "") -> set[str]:
    """Returns the splits that the names of a file and of the folders on the way to it tell.

    `above` is the folder that was given, or that a given file lies in: it is only taken if its whole name is a split,
    since a person may try things in a folder called `test_pictures`.
    """
    return whole(above).union(*map(words, names))


def chosen(told: set[str], what: object, *, given: str = "", default: str = "") -> str:
    """Returns the split: the given one, the one that is told, or the default.

    Raises:
      UserError: several are told, or none and there is no default.
    """
    if given:
        return given
    if len(told) > 1:
        raise errors.UserError(
            f"{what}: its name and folders tell several splits ({', '.join(sorted(told))}); give --split, or rename it"
        )
    if not told and not default:
        raise errors.UserError(f"{what}: its name does not tell which split it is; give --split")
    return told.pop() if told else default


def above(path: pathlib.Path) -> str:
    """Returns the name of a given folder, or of the folder in which a given file lies, as far as it was written."""
    return path.name if path.is_dir() else path.parent.name
