"""Pre-training runs -> the folder of towers that ships with the package, with its card."""

import hashlib
import json
import shutil
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from m3it_jax import checkpointing, errors, tower_files

PARTS = ("vit", "qformer", "decoder")
CARD_FILE = "card.json"

_CARD = """# Towers of m3it-mini

Vision tower, Q-Former and language model of the variant `{variant}`, pre-trained from nothing by this project on the
training pictures and training texts of m3it-mini alone. They stand where the paper takes BLIP-2's and Ziya's. They know
shapes, digits, emoji and flags, and nothing else of the world.

Stored as float16. No validation or test picture was read: each run below used the split `train`, and splits are by
picture (`tests/towers/test_shipped.py` checks both). Accuracies and losses are of the validation split, which serves to
choose recipes; the test split was not looked at.

| part | file | sha256 |
|---|---|---|
{files}

| part | runs, in their order | steps | hours |
|---|---|---|---|
{runs}

Hours are the median time of a step times the steps: the two CPU cores did other work as well for a part of the time.

## Probes on the validation split

{probes}

Licences: the weights are Apache-2.0 as the code is; the pictures they were trained on keep theirs (see the data card).
Rebuild everything with `bash launch/towers.sh`.
"""


def pack(runs: Mapping[str, Path], out: Path) -> dict[str, Any]:
    """Writes one safetensors file for each part, the tokenizer, README.md and card.json; returns the card.

    Args:
      runs: Part -> the last run folder that pre-trained it; the ones before it are found through its `init_from`.
      out: Folder to write to.

    Raises:
      UserError: a run is not finished, is gone, or the runs are of different variants.
    """
    histories = {part: _history(part, runs[part]) for part in PARTS}
    configs = [checkpointing.read_config(location) for history in histories.values() for location in history]
    variants = {config["model"]["variant"] for config in configs}
    if len(variants) > 1:
        raise errors.UserError(f"the runs are of different variants ({', '.join(sorted(variants))}); train them alike")
    tower_files.write(out, {part: checkpointing.load_part(str(runs[part]), part) for part in PARTS})
    shutil.copyfile(histories["decoder"][-1].run / "tokenizer.model", out / "tokenizer.model")
    parts = {}
    for part, history in histories.items():
        path = out / f"{part}.safetensors"
        described = [_describe(location) for location in history]
        parts[part] = {"file": path.name, "sha256": _sha256(path), "runs": described}
    card = {"variant": variants.pop(), "parts": parts, "tokenizer_sha256": _sha256(out / "tokenizer.model")}
    (out / CARD_FILE).write_text(json.dumps(card, indent=2) + "\n", "utf-8")
    (out / "README.md").write_text(_render(card), "utf-8")
    return card


def _history(part: str, newest: Path) -> list[checkpointing.Location]:
    """Returns the finished runs that a part went through, the first one first."""
    history: list[checkpointing.Location] = []
    path: str | None = str(newest)
    while path:
        if path.startswith(checkpointing.PACKAGE_PREFIX):
            raise errors.UserError(
                f"{history[0].run}: its {part} starts from {path} and not from a run, so its history cannot be told; "
                "pack runs that begin fresh or from other runs"
            )
        location = checkpointing.locate(path)
        config = checkpointing.read_config(location)
        if location.step != config["num_steps"]:
            raise errors.UserError(f"{path}: stands at step {location.step} of {config['num_steps']}; finish it first")
        history.insert(0, location)
        path = config["init_from"].get(part)
    return history


def _describe(location: checkpointing.Location) -> dict[str, Any]:
    """Returns what the card tells of one run."""
    config = checkpointing.read_config(location)
    command = json.loads((location.run / "env.json").read_text("utf-8"))["command"]
    lines = [json.loads(line) for line in (location.run / "metrics.jsonl").read_text("utf-8").splitlines()]
    probes = [line for line in lines if any(name.startswith("validation/") for name in line)]
    return {
        "config": command[command.index("train") + 1],
        "steps": config["num_steps"],
        "seconds": _seconds(location.run),
        "split": config["data"]["split"],
        "sources": sorted(config["data"]["mixture"]),
        "seed": config["seed"],
        "validation": {name: value for name, value in probes[-1].items() if name.startswith("validation/")}
        if probes
        else {},
    }


def _seconds(run: Path) -> float:
    """Returns the median time of a step times the number of steps: what the run takes where nothing else runs."""
    lines = [json.loads(line) for line in (run / "perf.jsonl").read_text("utf-8").splitlines()]
    return statistics.median(line["perf/step_s"] for line in lines) * lines[-1]["step"]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _render(card: Mapping[str, Any]) -> str:
    parts = card["parts"]
    files = [f"| {part} | {facts['file']} | `{facts['sha256'][:16]}` |" for part, facts in parts.items()]
    told = [(part, run) for part, facts in parts.items() for run in facts["runs"]]
    rows = [
        f"| {part} | `m3it train {run['config']}` | {run['steps']:,} | {run['seconds'] / 3600:.2f} |"
        for part, run in told
    ]
    titles = [Path(run["config"]).stem for _, run in told]
    probes = ["| probe | " + " | ".join(titles) + " |", "|---|" + "---|" * len(titles)]
    for name in sorted({name for _, run in told for name in run["validation"]}):
        values = [run["validation"].get(name) for _, run in told]
        cells = ["" if value is None else f"{value:.3f}" for value in values]
        probes.append(f"| {name.removeprefix('validation/')} | " + " | ".join(cells) + " |")
    return _CARD.format(variant=card["variant"], files="\n".join(files), runs="\n".join(rows), probes="\n".join(probes))
