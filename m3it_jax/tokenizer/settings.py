"""What lies beside a vocabulary's file in the Hugging Face layout: which tokens are special, which were added later."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from m3it_jax import errors

CONFIG, MAP, ADDED = "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"
NAMES = (CONFIG, MAP, ADDED)

# Role -> its names in those files, the first that is there counts. BERT puts CLS and SEP around texts; InstructBLIP's
# copy of it has a bos_token besides, which is not used.
ROLES = {
    "bos": ("cls_token", "bos_token"),
    "eos": ("sep_token", "eos_token"),
    "pad": ("pad_token",),
    "unk": ("unk_token",),
}


@dataclasses.dataclass(frozen=True)
class Added:
    """A token that was added to a vocabulary. A special one never comes out of text; another is cut out of it."""

    content: str
    special: bool


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the files say.

    Attributes:
      specials: Role of `ROLES` -> spelling; a role without a token has None, one that no file names is left out.
      added: Id -> the token added there.
      is_legacy: A space is put before the text behind every special token, and not only before a whole text. This is
        what transformers calls legacy, and does where its files do not deny it.
    """

    specials: dict[str, str | None]
    added: dict[int, Added]
    is_legacy: bool


def files(path: Path) -> Iterator[Path]:
    """Yields the files that belong to a vocabulary's file: beside it, or in the folder `hf` of imported weights."""
    below = Path(path.stem) if path.stem == "qformer_tokenizer" else Path()
    for name in NAMES:
        for folder in (path.parent / below, path.parent / "hf" / below):
            if (folder / name).is_file():
                yield folder / name
                break


def read(path: Path) -> Settings:
    """Returns the settings of a vocabulary's file; none of the files beside it has to exist.

    Raises:
      UserError: one of them is no JSON of that form.
    """
    found = {file.name: file for file in files(path)}
    config, spellings, older = (_values(found.get(name)) for name in NAMES)
    try:
        specials = {}
        for role, names in ROLES.items():
            values = [source[name] for name in names for source in (config, spellings) if name in source]
            if values:
                specials[role] = next((_content(value) for value in values if value is not None), None)
        added = {int(index): Added(content, special=False) for content, index in older.items()}
        for index, value in config.get("added_tokens_decoder", {}).items():
            added[int(index)] = Added(_content(value), bool(value.get("special")))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise errors.UserError(
            f"{found.get(CONFIG, path)}: is not in the form of transformers ({error}); copy it again"
        ) from error
    return Settings(specials, added, is_legacy=config.get("legacy") is not False)


def _values(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise errors.UserError(f"{path}: cannot be read as JSON ({error}); copy it again") from error
    if not isinstance(values, dict):
        raise errors.UserError(f"{path}: must hold a JSON object; copy it again")
    return values


def _content(value: Any) -> str:
    """Returns the spelling of a token that is a text, or an object that describes one."""
    content = value if isinstance(value, str) else value["content"]
    if not isinstance(content, str):
        raise TypeError(f"{content!r} is no token")
    return content
