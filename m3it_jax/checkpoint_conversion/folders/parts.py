"""Which folder each part of a model comes from: one Hugging Face folder for all, or a JSON file that says so.

    {"variant": "ying_vlm_13b",
     "vit": "blip2-opt-2.7b", "qformer": "blip2-opt-2.7b", "projection": "fresh",
     "decoder": {"delta": "Ziya-LLaMA-13B-v1", "base": "llama-13b", "embeddings": "replaced"},
     "tokenizer": "Ziya-LLaMA-13B-v1", "seed": 0}

Paths are relative to the file. A part is a folder, a file of weights, `fresh` or a delta over a base.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from m3it_jax import errors
from m3it_jax.checkpoint_conversion.files import derived, hf_folder

PARTS = ("vit", "qformer", "projection", "decoder")
FRESH = "fresh"
_FIELDS = {"variant", "tokenizer", "seed", *PARTS}
_DELTA_FIELDS = {"delta", "base", "embeddings"}


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where one part comes from.

    Attributes:
      folder: A folder or a file of weights; None if the part starts fresh.
      base: What the folder is a delta of; None if it is none.
      embeddings: Of a delta, a word of `derived.EMBEDDINGS`.
    """

    folder: Path | None
    base: Path | None = None
    embeddings: str = "replaced"


@dataclasses.dataclass(frozen=True)
class Parts:
    """What a file of parts says, with whole paths.

    Attributes:
      variant: A row of `variants.VARIANTS`, or a folder with a model.json.
      origins: {part: where it comes from}.
      tokenizer: Folder of the tokenizer.
      seed: Of parts that start fresh.
    """

    variant: str
    origins: dict[str, Origin]
    tokenizer: Path
    seed: int


def read(path: Path) -> Parts:
    """Returns what a file of parts says.

    Raises:
      ConfigError: a field is unknown, missing or not allowed.
      UserError: it is no JSON.
    """
    values = hf_folder.read_json(path)
    unknown = sorted(values.keys() - _FIELDS)
    if unknown:
        raise errors.ConfigError(f"{path}: {unknown[0]!r} is no field; known are {', '.join(sorted(_FIELDS))}")
    name = values.get("variant")
    if not isinstance(name, str) or not name:
        raise errors.ConfigError(f"{path}: variant={name!r} must be the name of a variant, or a folder with model.json")
    seed = values.get("seed", 0)
    if type(seed) is not int or seed < 0:
        raise errors.ConfigError(f"{path}: seed={seed!r} must be a whole number from 0")
    origins = {part: _origin(values[part], part, path) for part in PARTS if part in values}
    if not origins:
        raise errors.ConfigError(f"{path}: names no part; give a folder or {FRESH!r} for each of {', '.join(PARTS)}")
    local = path.parent / name
    return Parts(
        variant=str(local) if local.is_dir() else name,
        origins=origins,
        tokenizer=_tokenizer(values.get("tokenizer"), origins, path),
        seed=seed,
    )


def _origin(value: Any, part: str, path: Path) -> Origin:
    if value == FRESH:
        return Origin(None)
    if isinstance(value, str) and value:
        return Origin(path.parent / value)
    if not isinstance(value, Mapping) or value.keys() != _DELTA_FIELDS:
        raise errors.ConfigError(
            f"{path}: {part}={value!r} must be a folder, a file of weights, {FRESH!r}, or an object with "
            f"{', '.join(sorted(_DELTA_FIELDS))}"
        )
    for name in ("delta", "base"):
        if not isinstance(value[name], str) or not value[name]:
            raise errors.ConfigError(f"{path}: {part}.{name}={value[name]!r} must be a folder")
    if value["embeddings"] not in derived.EMBEDDINGS:
        raise errors.ConfigError(
            f"{path}: {part}.embeddings={value['embeddings']!r} must be one of {', '.join(derived.EMBEDDINGS)}"
        )
    return Origin(path.parent / value["delta"], path.parent / value["base"], value["embeddings"])


def _tokenizer(value: Any, origins: Mapping[str, Origin], path: Path) -> Path:
    """Returns the folder of the tokenizer: the one named, else that of the language model."""
    decoder = origins.get("decoder", Origin(None))
    if value is None and decoder.folder is not None:
        return decoder.folder.parent if decoder.folder.is_file() else decoder.folder
    if not isinstance(value, str) or not value:
        raise errors.ConfigError(f"{path}: tokenizer={value!r} must be a folder with tokenizer.model or tokenizer.json")
    return path.parent / value
