"""A few held-out pictures of each skill as files, with question, reference and answer: to look at, and to ask again."""

import hashlib
import io
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from PIL import Image

from m3it_jax import errors, metrics, records, rng, schema
from m3it_jax.evaluation import controls, output, tasks

INDEX = "examples.json"

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}")


def write(
    store: output.EvalFolder, folder: records.DataFolder, *, protocol: tasks.Protocol, per_skill: int = 2
) -> list[dict[str, Any]]:
    """Writes the pictures and `examples/examples.json` into an evaluation folder and returns what the latter holds.

    Which examples are shown depends on the seed and the records' ids, never on whether the answer is right.
    An object has `files` (names in examples/, a video's frames in order), `id`, `skill`, `family`, `language`,
    `instruction`, `inputs`, `reference`, `prediction` and `right` (by the skill's headline metric); one of a
    conversation also its `turns`, `new_pictures` and `system`.

    Args:
      store: The evaluation folder; its predictions are read.
      folder: The data that was evaluated.
      protocol: Its split and seed are used.
      per_skill: Most examples of a skill.

    Raises:
      UserError: a record cannot be read, or the predictions are damaged.
    """
    by_skill: dict[str, list[dict[str, Any]]] = {}
    for row in store.predictions():
        if row["variant"] == controls.OWN:
            by_skill.setdefault(row["skill"], []).append(row)
    examples = []
    for skill, rows in by_skill.items():
        rows.sort(key=lambda row: rng.fold(protocol.seed, "example", row["id"]))
        for number, row in enumerate(rows[:per_skill], start=1):
            images = _images(row, folder, split=protocol.split_of(row["source"]))
            task = protocol.task(skill, family=row["family"], language=row["language"])
            path = store.path / output.EXAMPLES / f"{_file_stem(skill)}-{number}.png"
            examples.append({"files": _write_pictures(images, path)} | _example(row, task))
    store.write(f"{output.EXAMPLES}/{INDEX}", examples)
    return examples


def _file_stem(skill: str) -> str:
    """Returns a file name for a skill, which comes from a record and may be any text: it must not leave the folder."""
    if _PLAIN.fullmatch(skill):
        return skill
    digest = hashlib.sha256(skill.encode("utf-8", "surrogatepass")).hexdigest()[:8]  # keeps `a/b` and `a:b` apart
    return f"{re.sub(r'[^A-Za-z0-9_-]+', '-', skill)[:60].strip('-') or 'skill'}-{digest}"


def _images(row: Mapping[str, Any], folder: records.DataFolder, *, split: str) -> tuple[bytes, ...]:
    table = folder.table(row["source"], split)
    instance = table.read(row["number"]) if row["number"] < len(table) else None
    if instance is None or instance.id != row["id"]:
        raise errors.UserError(
            f"{output.PREDICTIONS}: record {row['number']} of {row['source']} in {folder.path} is not {row['id']}; "
            "give the data that was evaluated, or evaluate again with another --out"
        )
    return instance.images


def _example(row: Mapping[str, Any], task: tasks.EvalTask) -> dict[str, Any]:
    shown = ("id", "skill", "family", "language", "instruction", "inputs", "prediction")
    return {
        **{name: row[name] for name in (*shown, *output.BEFORE) if name in row},
        "reference": row["references"][0],
        "right": _is_right(task, row),
    }


def _is_right(task: tasks.EvalTask, row: Mapping[str, Any]) -> bool:
    """Returns whether an answer has all that its task's headline gives; equal to a reference, where that is no mean."""
    name = task.computable([row])[0][0]
    metric = metrics.METRICS[name if metrics.METRICS[name].is_mean and not name.startswith("cider") else "exact_match"]
    targets, prediction = task.scored(row)
    return next(iter(metric([targets], [prediction]).values())) == metric.top


def _write_pictures(images: tuple[bytes, ...], path: pathlib.Path) -> list[str]:
    """Writes one picture to `path`, several to numbered files beside it, and returns their names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = []
    for number, image in enumerate(images, start=1):
        file = path if len(images) == 1 else path.with_stem(f"{path.stem}-frame{number}")
        with Image.open(io.BytesIO(image), formats=schema.PICTURE_FORMATS) as opened:
            opened.convert("RGB").save(file, "PNG")
        names.append(file.name)
    return names
