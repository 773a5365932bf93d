"""What transformers puts into a row of ids for a picture: told by a folder's tokenizer and processor, not by its model.

Sources: transformers 5.24.0 models/{blip_2,instructblip,llava}/processing_*.py; 4.57 does the same.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from m3it_jax.checkpoint_conversion.certificate.plain import folder, text

TOKEN = "<image>"
PROCESSOR_FILE, SETTINGS_FILE, ADDED_FILE = "processor_config.json", "tokenizer_config.json", "added_tokens.json"


@dataclasses.dataclass(frozen=True)
class Placeholders:
    """What stands for one picture.

    Attributes:
      token: Its spelling.
      token_id: Its id: the tokenizer's own, or the one behind all others, where the processor adds it. None where the
        folder has no tokenizer.
      count: How many the processor writes, None where its file does not say.
    """

    token: str
    token_id: int | None
    count: int | None


def read(path: Path, config: Mapping[str, Any]) -> Placeholders:
    """Returns what stands for a picture in the rows of a folder's processor.

    Args:
      path: The folder.
      config: Its `config.json`, complete (`settings.read`).

    Raises:
      UserError: a file is no JSON object.
    """
    processor, told = _optional(path / PROCESSOR_FILE), _optional(path / SETTINGS_FILE)
    own = (told.get("extra_special_tokens") or {}) if isinstance(told.get("extra_special_tokens"), Mapping) else {}
    token = own.get("image_token") or told.get("image_token") or processor.get("image_token") or TOKEN
    token = token if isinstance(token, str) else str(token.get("content", TOKEN))
    added = {str(name): int(index) for name, index in _optional(path / ADDED_FILE).items()}
    for index, value in (told.get("added_tokens_decoder") or {}).items():
        added[str(value.get("content"))] = int(index)
    return Placeholders(token, _token_id(path, token, added), _count(config, processor))


def _optional(path: Path) -> dict[str, Any]:
    return folder.read_json(path) if path.is_file() else {}


def _token_id(path: Path, token: str, added: Mapping[str, int]) -> int | None:
    ids = text.pieces(path)
    if ids is None:
        return None
    ids = {**added, **ids}
    return ids.get(token, max(ids.values()) + 1)


def _count(config: Mapping[str, Any], processor: Mapping[str, Any]) -> int | None:
    if config["model_type"] != "llava":
        return processor.get("num_query_tokens")
    if not isinstance(processor.get("patch_size"), int):
        return None
    count = (config["vision_config"]["image_size"] // processor["patch_size"]) ** 2
    count += processor.get("num_additional_image_tokens") or 0
    return count - (processor.get("vision_feature_select_strategy") == "default")
