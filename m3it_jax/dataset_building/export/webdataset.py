"""WebDataset tars: the files of a record stand together and share the name before the first dot."""

import io
import json
import pathlib
import re
import tarfile
from collections.abc import Iterator

from m3it_jax import records, schema
from m3it_jax.dataset_building.media import pictures

# A dot would end the key, a slash would make a folder; the format keeps names of up to 100 bytes.
_KEY = re.compile(r"[A-Za-z0-9_-]{1,80}")


def write(path: pathlib.Path, rows: Iterator[schema.Instance]) -> None:
    """Writes one tar: `<id>.0.jpg`, `<id>.1.png`, ..., then `<id>.json` with all that is no picture.

    No time, owner or order of a folder gets into it, so the same rows give the same bytes.
    """
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for instance in rows:
            fields = records.to_features(instance)
            name = key(instance)
            for number, data in enumerate(fields.pop("images")):
                _add(tar, f"{name}.{number}.{pictures.extension(data)}", data)
            _add(tar, f"{name}.json", json.dumps(fields, ensure_ascii=False).encode("utf-8"))


def key(instance: schema.Instance) -> str:
    """Returns the name of a record's files: its id, or a hash of it where a tar could not hold that."""
    return instance.id if _KEY.fullmatch(instance.id) else schema.content_id("record", instance.id)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))
