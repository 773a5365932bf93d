"""How the names of picture files end, and where a row holds such a name under a field that nobody looks at."""

from collections.abc import Collection, Mapping
from typing import Any

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
# What else pictures are kept in; they are not read, and named where they lie.
OTHERS = (".heic", ".heif", ".avif", ".jfif", ".jp2", ".svg", ".ico", ".psd", ".raw", ".dng")


def hidden(row: Mapping[str, Any], known: Collection[str]) -> tuple[str, str] | None:
    """Returns (field, value) of a picture's name or content under a field that is not in `known`."""
    for name, value in row.items():
        first = value[0] if isinstance(value, list) and value else value
        is_picture = isinstance(first, str) and (
            first.lower().endswith(PICTURES + OTHERS) and "\n" not in first or first.startswith("data:image/")
        )
        if name not in known and is_picture:
            return str(name)[:40], first[:80]
    return None
