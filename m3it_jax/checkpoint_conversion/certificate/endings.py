"""What ends an answer: the ids of HF_DIR's files beside those of the checkpoint. One left out, and text runs on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from m3it_jax.checkpoint_conversion.certificate.plain import folder, settings
from m3it_jax.checkpoint_conversion.folders import exporting, side_files
from m3it_jax.models.variants import Variant

GENERATION_FILE = "generation_config.json"


def compare(hf_dir: Path, run: Path, variant: Variant) -> dict[str, Any]:
    """Returns the answer about what ends an answer.

    A language model of BLIP-2 takes it from config.json, LLaVA from generation_config.json, so both are looked at.

    Args:
      hf_dir: The folder in Hugging Face layout.
      run: Folder of the checkpoint. Imported weights keep the files that they came with; for others an export writes
        them.
      variant: The model.
    """
    theirs, kept = _told(hf_dir), run / side_files.KEPT
    if (kept / settings.CONFIG_FILE).is_file():
        ours = _told(kept)
    else:
        ours = dict.fromkeys(theirs, sorted(exporting.token_ids(run, variant).eos))
    apart = [
        {"file": file, "hf_dir": theirs.get(file), "checkpoint": ours.get(file)}
        for file in sorted(theirs.keys() | ours.keys())
        if theirs.get(file) != ours.get(file)
    ]
    return {"ok": not apart, "ids": theirs, "differences": apart}


def _told(path: Path) -> dict[str, list[int]]:
    """Returns {file: ids} of a folder's files that name any."""
    found = {}
    for file in (settings.CONFIG_FILE, GENERATION_FILE):
        values = folder.read_json(path / file) if (path / file).is_file() else {}
        text = values.get("text_config")
        ends = values.get("eos_token_id", text.get("eos_token_id") if isinstance(text, Mapping) else None)
        if ends is not None:
            found[file] = sorted(ends) if isinstance(ends, list) else [ends]
    return found
