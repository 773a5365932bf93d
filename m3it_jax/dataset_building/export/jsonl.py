"""JSON lines under the keys of the released M3IT, with what its rows lack: id, source, task, language and meta."""

import json
import pathlib
from collections.abc import Iterator

import pybase64

from m3it_jax import records, schema

# Key of the pictures in the released data set (M3IT.py of MMInstruction/M3IT), a list of base64 texts.
PICTURES = "image_base64_str"

# JSON allows them inside a text; a reader that splits lines as Python's `splitlines` does would cut a row there.
_BREAKS = {mark: f"\\u{ord(mark):04x}" for mark in "\x85\u2028\u2029"}


def write(path: pathlib.Path, rows: Iterator[schema.Instance]) -> None:
    """Writes one file, an object a line; `meta` is JSON text as in the record."""
    with open(path, "wb") as file:
        for instance in rows:
            row = records.to_features(instance)
            pictures = b", ".join(b'"%b"' % pybase64.b64encode(data) for data in row.pop("images"))
            line = json.dumps(row, ensure_ascii=False)
            for mark, escape in _BREAKS.items():
                line = line.replace(mark, escape)
            # Base64 needs no escape, and is nearly all of a line: only the rest goes through the JSON encoder.
            begin = f'{line[:-1]}, "{PICTURES}": ['.encode()
            file.writelines((begin, pictures, b"]}\n"))
