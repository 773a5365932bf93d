"""How the names of picture files end, and where a row holds such a name under a field that nobody looks at."""

import re
from collections.abc import Collection, Mapping
from typing import Any

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
# What else pictures are kept in; they are not read, and named where they lie.
OTHERS = (".heic", ".heif", ".avif", ".jfif", ".jp2", ".svg", ".ico", ".psd", ".raw", ".dng")

# CHOICE: so much text without a blank is no sentence, but a picture in base64.
_BASE64 = re.compile(r"[A-Za-z0-9+/]{400,}={0,2}")


def hidden(row: Mapping[str, Any], known: Collection[str]) -> tuple[str, str] | None:
    """Returns (field, value) of a picture's name or content under a field that is not in `known`."""
    for name, value in row.items():
        first = value[0] if isinstance(value, list) and value else value
        is_picture = isinstance(first, str) and (
            (first.lower().endswith(PICTURES + OTHERS) and "\n" not in first)
            or first.startswith("data:image/")
            or _BASE64.fullmatch(first) is not None
        )
        if name not in known and is_picture:
            return str(name)[:40], first[:80]
    return None
