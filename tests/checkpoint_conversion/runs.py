"""Checkpoints whose export writes its own files: runs, and weights put together from parts."""

import json
import pathlib
import shutil

from m3it_jax import checkpointing
from m3it_jax.models import variants


def as_run(imported: pathlib.Path, run: pathlib.Path, *, step: int = 7) -> pathlib.Path:
    """Makes a run folder with the parameters, the model and the tokenizer of imported weights."""
    params, _, _ = checkpointing.restore_params(imported)
    manager = checkpointing.open_manager(run, 1)
    checkpointing.save(manager, step, {"params": params}, position={})
    manager.close()
    variants.write(variants.read(imported), run)
    (run / "config.json").write_text(json.dumps({"model": {"variant": "elsewhere"}}))
    for path in [*imported.glob("*tokenizer*"), *(imported / "hf").glob("*token*.json")]:
        if path.is_file():
            shutil.copyfile(path, run / path.name)
    return run


def without_files(importing, source: pathlib.Path, out: pathlib.Path) -> pathlib.Path:
    """Imports a folder and keeps of its files those of the tokenizer alone, as an import from parts does."""
    importing.convert(source, out)
    for path in (out / "hf").iterdir():
        if path.name not in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
            path.unlink()
    return out
