"""Three pre-training runs -> the folder of towers that ships with the package, with its card."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from m3it_jax import checkpointing, errors

PARTS = ("vit", "qformer", "decoder")
CARD_FILE = "card.json"

_CARD = """# Towers of m3it-mini

Vision tower, Q-Former and language model of the variant `{variant}`, pre-trained from nothing by this project on the
training pictures and training texts of m3it-mini alone. They stand where the paper takes BLIP-2's and Ziya's. They know
shapes, digits, emoji and flags, and nothing else of the world.

Stored as float16. No validation or test picture was read: each run below used the split `train`, and splits are by
picture (`tests/towers/test_shipped.py` checks both). Accuracies are of the pre-training heads on the validation split,
which serves to choose recipes; the test split was not looked at.

| part | command | steps | hours | file | sha256 |
|---|---|---|---|---|---|
{rows}

Hours are wall-clock on two CPU cores that did other work as well.

## Probes on the validation split

{probes}

Licences: the weights are Apache-2.0 as the code is; the pictures they were trained on keep theirs (see the data card).
Rebuild everything with `bash launch/towers.sh`.
"""


def pack(runs: Mapping[str, Path], out: Path) -> dict[str, Any]:
    """Writes one safetensors file for each part, the tokenizer, README.md and card.json; returns the card.

    Args:
      runs: Part -> the run folder that pre-trained it.
      out: Folder to write to.

    Raises:
      UserError: a run is not finished, or the runs are of different variants.
    """
    locations = {part: checkpointing.locate(runs[part]) for part in PARTS}
    configs = {part: checkpointing.read_config(location) for part, location in locations.items()}
    for part, location in locations.items():
        if location.step != configs[part]["num_steps"]:
            raise errors.UserError(
                f"{runs[part]}: stands at step {location.step} of {configs[part]['num_steps']}; finish it first"
            )
    variants = {config["model"]["variant"] for config in configs.values()}
    if len(variants) > 1:
        raise errors.UserError(f"the runs are of different variants ({', '.join(sorted(variants))}); train them alike")
    checkpointing.write_towers(out, {part: checkpointing.load_part(str(runs[part]), part) for part in PARTS})
    shutil.copyfile(locations["decoder"].run / "tokenizer.model", out / "tokenizer.model")
    card = {
        "variant": variants.pop(),
        "parts": {part: _describe(part, locations[part].run, config=configs[part], out=out) for part in PARTS},
        "tokenizer_sha256": _sha256(out / "tokenizer.model"),
    }
    (out / CARD_FILE).write_text(json.dumps(card, indent=2) + "\n", "utf-8")
    (out / "README.md").write_text(_render(card), "utf-8")
    return card


def _describe(part: str, run: Path, *, config: Mapping[str, Any], out: Path) -> dict[str, Any]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
    probes = [line for line in lines if any(name.startswith("validation/") for name in line)]
    path = out / f"{part}.safetensors"
    return {
        "command": f"m3it train configs/{config['model']['variant']}/{part}.py",
        "steps": config["num_steps"],
        "seconds": _seconds(run),
        "split": config["data"]["split"],
        "sources": sorted(config["data"]["mixture"]),
        "seed": config["seed"],
        "file": path.name,
        "sha256": _sha256(path),
        "validation": {name: value for name, value in probes[-1].items() if name.startswith("validation/")}
        if probes
        else {},
    }


def _seconds(run: Path) -> float:
    """Returns the time spent on steps: seconds a step between two lines, times the steps between them."""
    total, last = 0.0, 0
    for line in (run / "perf.jsonl").read_text("utf-8").splitlines():
        figures = json.loads(line)
        total += figures["perf/step_s"] * (figures["step"] - last)
        last = figures["step"]
    return total


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _render(card: Mapping[str, Any]) -> str:
    rows = [
        f"| {part} | `{facts['command']}` | {facts['steps']:,} | {facts['seconds'] / 3600:.2f} | {facts['file']} | "
        f"`{facts['sha256'][:16]}` |"
        for part, facts in card["parts"].items()
    ]
    names = sorted({name for facts in card["parts"].values() for name in facts["validation"]})
    probes = ["| probe | " + " | ".join(card["parts"]) + " |", "|---|" + "---|" * len(card["parts"])]
    for name in names:
        values = [facts["validation"].get(name) for facts in card["parts"].values()]
        cells = ["" if value is None else f"{value:.3f}" for value in values]
        probes.append(f"| {name.removeprefix('validation/')} | " + " | ".join(cells) + " |")
    return _CARD.format(variant=card["variant"], rows="\n".join(rows), probes="\n".join(probes))
