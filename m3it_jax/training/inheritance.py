"""What a run takes over from what it starts from: the model's sizes and the tokenizer, unless they are given."""

import copy
from pathlib import Path

from m3it_jax import checkpointing, errors, tokenizer
from m3it_jax.config import INHERIT, TRAINED_VARIANTS, Experiment, stored_tiles


def resolved(config: Experiment, run_dir: Path) -> Experiment:
    """Returns the configuration with `model.variant` and `data.tokenizer` filled in where another place decides them.

    With the variant of another run, its `model.tiles` are taken over as well, if none are given.

    A run that resumes takes both from its own folder, so what `init_from` names is not needed any more.

    Raises:
      UserError: `init_from` names no checkpoint.
      ConfigError: its tokenizer is needed and missing.
    """
    config = copy.deepcopy(config)
    resumes = checkpointing.newest_step(run_dir) is not None
    if config.model.variant == INHERIT:
        source = str(run_dir) if resumes else config.init_from["all"]
        location = checkpointing.locate(source)
        config.model.variant = _variant(location)
        if config.model.tiles == 1:
            config.model.tiles = stored_tiles(checkpointing.read_config(location))
    if not config.data.tokenizer:
        path = tokenizer.find(run_dir) if resumes else _tokenizer(config)
        config.data.tokenizer = str(path) if path is not None and path.is_file() else ""
    return config


def _variant(location: checkpointing.Location) -> str:
    """Returns a variant's name, or the folder that holds its model.json; imported weights have sizes of their own."""
    name = checkpointing.read_config(location).get("model", {}).get("variant")
    return name if name in TRAINED_VARIANTS and not location.is_imported else str(location.run)


def _tokenizer(config: Experiment) -> Path | None:
    """Returns the tokenizer of the decoder that is loaded, whose ids the weights know; None if none is loaded."""
    for part in ("all", "decoder"):
        if part in config.init_from:
            path = checkpointing.source_tokenizer(config.init_from[part])
            if not path.is_file():
                raise errors.ConfigError(
                    f"data.tokenizer: not set, and init_from.{part}={config.init_from[part]} has no tokenizer; give "
                    "--data.tokenizer=FILE, the model's own tokenizer.model or tokenizer.json"
                )
            return path
    return None
