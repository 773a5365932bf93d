"""What translators said, on disk under a hash of what they were asked: a run that is killed asks nothing again.

One SQLite file. A batch is put in one transaction, so that after `kill -9` it is there as a whole or not at all, and
what is still to be asked is asked in the same batches as if nothing had happened.
"""

import contextlib
import hashlib
import json
import pathlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from m3it_jax import errors

FILE = "translations.sqlite"

_AT_ONCE = 500  # keys in one question; SQLite allows 999 in its older versions (sqlite.org/limits.html)
_HOT = 1 << 15  # texts kept in memory: instructions and options come again and again
_BUSY_S = 60.0


class Key:
    """Makes the keys of one translator and one direction."""

    def __init__(self, settings: Mapping[str, Any], source: str, target: str):
        """Takes what decides a translation beside the text."""
        told = json.dumps([settings, source, target], sort_keys=True)
        self._begin = hashlib.blake2b(told.encode(), digest_size=16)

    def __call__(self, text: str) -> bytes:
        """Returns the 16 bytes under which the translation of a text is kept."""
        digest = self._begin.copy()
        digest.update(text.encode("utf-8", "surrogatepass"))
        return digest.digest()


class Store:
    """Translations on disk. One process writes, many may read."""

    def __init__(self, folder: pathlib.Path, *, writes: bool):
        """Opens the store in a folder; for writing, it is made if need be.

        Raises:
          UserError: the file is no such store, or cannot be opened.
        """
        self._path = folder / FILE
        self._hot: dict[bytes, str] = {}
        try:
            if writes:
                folder.mkdir(parents=True, exist_ok=True)
                self._db = sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None)
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute(
                    "PRAGMA synchronous = NORMAL"
                )  # whole after a kill; a power cut may lose the last ones
                self._db.execute("CREATE TABLE IF NOT EXISTS said (key BLOB PRIMARY KEY, text TEXT) WITHOUT ROWID")
            else:
                self._db = sqlite3.connect(f"{self._path.resolve().as_uri()}?mode=ro", timeout=_BUSY_S, uri=True)
            self._db.execute("SELECT key FROM said LIMIT 1")
        except (OSError, sqlite3.Error) as error:
            raise errors.UserError(
                f"{self._path}: holds no translations ({error}); delete it, or choose another --cache"
            ) from error

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    def get(self, keys: Sequence[bytes]) -> dict[bytes, str]:
        """Returns the translations that are there, by key."""
        hot = self._hot
        found = {key: hot[key] for key in keys if key in hot}
        cold = list(dict.fromkeys(key for key in keys if key not in found))
        for start in range(0, len(cold), _AT_ONCE):
            part = cold[start : start + _AT_ONCE]
            marks = ",".join("?" * len(part))
            found.update(self._db.execute(f"SELECT key, text FROM said WHERE key IN ({marks})", part))
        if cold:
            if len(hot) + len(cold) > _HOT:
                hot.clear()
            hot.update((key, found[key]) for key in cold if key in found)
        return found

    def put(self, texts: Mapping[bytes, str]) -> None:
        """Keeps translations: all of them, or none if the process ends on the way.

        Raises:
          OSError: the disk is full or cannot be written.
        """
        with self._transaction():
            self._db.executemany("INSERT OR REPLACE INTO said VALUES (?, ?)", sorted(texts.items()))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise OSError(None, f"cannot be written ({error})", str(self._path)) from error
