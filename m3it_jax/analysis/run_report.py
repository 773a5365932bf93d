"""Run folder or quick-start folder -> one self-contained report.html.

`collect` reads the folder into plain values, `render` puts them into the page `pages/report.html`. Whatever a folder
does not have yet (no evaluation, no phases) is left out of the page.
"""

import base64
import contextlib
import dataclasses
import io
import json
import pathlib
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jinja2
from PIL import Image

from m3it_jax import errors, file_safety, records, schema
from m3it_jax.analysis import charts
from m3it_jax.evaluation import controls, examples, output, report

REPORT = "report.html"
PHASES = "phases.json"

_STAGES = ("stage1", "stage2")  # the run folders of a quick-start folder
_PICTURE_SIDE = 192  # largest side of an embedded picture in pixels; a larger one is made smaller
_PICTURE_BUDGET = 1_500_000  # bytes of all embedded pictures, so that the page stays under 3 MB
_EXAMPLE_FIELDS = ("id", "skill", "family", "language", "instruction", "inputs", "reference", "prediction", "right")
_SMALL_EDITION = "m3it-mini"


def write(run_dir: pathlib.Path, out: pathlib.Path | None = None) -> pathlib.Path:
    """Writes the report of a folder, by default into it, and returns its path.

    Raises:
      UserError: the folder is no run, or one of its files is damaged.
    """
    out = out or run_dir / REPORT
    page = render(collect(run_dir))
    out.parent.mkdir(parents=True, exist_ok=True)
    file_safety.write_whole(out, page)
    return out


def render(page: Mapping[str, Any]) -> str:
    """Returns the page as HTML: style and pictures inside, no script, nothing to load."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("m3it_jax.analysis", "pages"),
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["duration"] = duration
    margins = {"left": charts.LEFT, "right": charts.RIGHT, "top": charts.TOP, "bottom": charts.BOTTOM}
    size = {"width": charts.WIDTH, "height": charts.HEIGHT, **margins}
    return environment.get_template(REPORT).render(page, size=size)


def collect(run_dir: pathlib.Path) -> dict[str, Any]:
    """Returns everything that the page shows, as JSON values.

    Raises:
      UserError: the folder is no run, or one of its files is damaged.
    """
    folders = run_folders(run_dir)
    stages = [_stage(folder) for folder in folders]
    phases = _read_json(run_dir / PHASES, [])
    with _blamed_on(run_dir / PHASES):
        phases = [{**phase, "phase": str(phase["phase"]), "seconds": float(phase["seconds"])} for phase in phases]
    return {
        "name": run_dir.resolve().name,
        "stages": stages,
        "settings": _side_by_side([stage.pop("config") for stage in stages]),
        "environment": _side_by_side([stage.pop("environment") for stage in stages]),
        "phases": phases,
        "seconds": sum(phase["seconds"] for phase in phases),
        "data": _data(run_dir, folders),
        "evaluation": next(filter(None, (_evaluation(folder) for folder in reversed(folders))), None),
    }


def run_folders(run_dir: pathlib.Path) -> list[pathlib.Path]:
    """Returns the run folders to report on: the folder itself, or the stages of a quick-start folder.

    Raises:
      UserError: it is neither.
    """
    stages = [run_dir / name for name in _STAGES]
    folders = [folder for folder in (run_dir, *stages) if (folder / "config.json").is_file()]
    if not folders:
        raise errors.UserError(
            f"{run_dir}: is no run folder (no config.json) and has no {' or '.join(_STAGES)}; give the --run-dir of "
            "`m3it train` or of launch/quickstart.sh"
        )
    return folders


def _stage(folder: pathlib.Path) -> dict[str, Any]:
    metrics = _read_lines(folder / "metrics.jsonl")
    timed = _read_lines(folder / "perf.jsonl")
    speed = timed or metrics
    with _blamed_on(folder / "metrics.jsonl"):
        losses = [(int(row["step"]), float(row["train/loss"])) for row in metrics if "train/loss" in row]
        steps = max((int(row["step"]) for row in metrics), default=0)
    with _blamed_on(folder / ("perf.jsonl" if timed else "metrics.jsonl")):
        seconds, tokens = _median(speed, "perf/step_s"), _median(speed, "perf/tokens_per_s")
    chart = charts.line(losses)
    return {
        "name": folder.name,
        "steps": steps,
        "first_loss": losses[0][1] if losses else None,
        "last_loss": losses[-1][1] if losses else None,
        "chart": dataclasses.asdict(chart) if chart else None,
        "seconds_per_step": seconds,
        "tokens_per_second": tokens,
        "config": _flat(_read_json(folder / "config.json", {})),
        "environment": _flat(_read_json(folder / "env.json", {})),
    }


def _median(rows: Sequence[Mapping[str, Any]], name: str) -> float | None:
    values = [float(row[name]) for row in rows if name in row]
    return statistics.median(values) if values else None


def _data(run_dir: pathlib.Path, folders: Sequence[pathlib.Path]) -> dict[str, Any]:
    """Returns what the data folder says of itself; only its path if it is not there any more."""
    config = folders[-1] / "config.json"
    with _blamed_on(config):
        path = str(_read_json(config, {}).get("data", {}).get("path", ""))
    candidates = [run_dir / "data", pathlib.Path(path)]
    found = next((folder for folder in candidates if (folder / records.MANIFEST).is_file()), None)
    if found is None:
        return {"path": path, "name": "", "edition": "", "small": False, "records": {}}
    manifest = _read_json(found / records.MANIFEST, {})
    counts: dict[str, int] = {}
    with _blamed_on(found / records.MANIFEST):
        for source in manifest.get("sources", {}).values():
            for split, number in source["splits"].items():
                counts[split] = counts.get(split, 0) + int(number)
    name = manifest.get("name", "")
    return {
        "path": path,
        "name": name,
        "edition": manifest.get("edition", ""),
        "small": name == _SMALL_EDITION,
        "records": counts,
    }


def _evaluation(folder: pathlib.Path) -> dict[str, Any] | None:
    """Returns the newest scored evaluation of a run folder, or None if there is none."""
    found = [path.parent for path in folder.glob(f"eval/*/{output.SCORES}") if path.parent.name.isdigit()]
    if not found:
        return None
    store = output.EvalFolder(max(found, key=lambda path: int(path.name)))
    scores = store.scores()
    with _blamed_on(store.path / output.SCORES):
        families = [
            {**_headline(name, scores["tasks"][name]), "skills": family["skills"], "lost": report.lost(family["beats"])}
            for name, family in scores["families"].items()
        ]
        judged = scores.get("skills", {})  # an evaluation of an older version does not tell
        skills = [
            {**_headline(name, entry), "lost": report.lost(judged.get(name, {}).get("beats", {}))}
            for name, entry in scores["tasks"].items()
            if name not in scores["families"]
        ]
        lock = _flat(scores["lock"])
    return {
        "stage": folder.name,
        "step": int(store.path.name),
        "families": families,
        "skills": skills,
        "coverage": report.coverage(scores),
        "num_questions": sum(skill["n"] for skill in skills),
        "controls": [name for name in controls.CONTROLS if any(name in skill["controls"] for skill in skills)],
        "lock": lock,
        "gallery": _gallery(store.path / output.EXAMPLES),
    }


def _headline(name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    metric, score = next(iter(entry.items()))
    numbers = {key: float(score[key]) for key in ("value", "low", "high")}
    bounds = {control: (float(low), float(high)) for control, (low, high) in score["control_intervals"].items()}
    others = {control: float(value) for control, value in score["controls"].items()}
    shown = {"n": int(score["n"]), **numbers, "controls": others, "control_intervals": bounds}
    return {"name": name, "metric": metric, **shown, "rouge": entry.get("rougeL", {}).get("value")}


def _gallery(folder: pathlib.Path) -> list[dict[str, Any]]:
    """Returns the examples by family with their pictures as data: URIs, as many as the budget of bytes allows."""
    families: dict[str, list[dict[str, Any]]] = {task: [] for task in schema.TASKS}
    left = _PICTURE_BUDGET
    for example in _read_json(folder / examples.INDEX, []):
        with _blamed_on(folder / examples.INDEX):
            pictures = [_data_uri(_inside(folder, name)) for name in example["files"]]
            left -= sum(map(len, pictures))
            if left < 0:
                break
            shown = {name: example[name] for name in _EXAMPLE_FIELDS} | {"turns": example.get("turns", [])}
            families[example["family"]].append({**shown, "pictures": pictures})
    return [{"name": name, "examples": shown} for name, shown in families.items() if shown]


def _inside(folder: pathlib.Path, name: str) -> pathlib.Path:
    """Returns a file of the folder; a name that leads out of it would show any picture of this machine."""
    if pathlib.PurePath(name).name != name or (folder / name).is_symlink():
        raise ValueError(f"{name!r} is no plain file name")
    return folder / name


def _data_uri(path: pathlib.Path) -> str:
    try:
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
    except (OSError, Image.DecompressionBombError) as error:
        raise errors.UserError(f"{path}: is no picture ({error}); run `m3it eval` again") from error
    file = io.BytesIO()
    if max(picture.size) > _PICTURE_SIDE:
        picture.thumbnail((_PICTURE_SIDE, _PICTURE_SIDE))
        picture.save(file, "JPEG", quality=85)
    else:
        picture.save(file, "PNG")
    kind = "jpeg" if file.getvalue().startswith(b"\xff\xd8") else "png"
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def _side_by_side(columns: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns a row for each name in any column, with its value in every column and whether they differ."""
    rows = []
    for name in dict.fromkeys(name for column in columns for name in column):
        values = [_shown(column[name]) if name in column else "-" for column in columns]
        rows.append({"name": name, "values": values, "differ": len(set(values)) > 1})
    return rows


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Returns nested objects as one, with dotted names; lists of plain values stay as they are."""
    if not isinstance(value, Mapping) or (not value and name):
        return {name: value}
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat |= _flat(inner, f"{name}.{key}" if name else str(key))
    return flat


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def duration(seconds: float) -> str:
    """Returns seconds in words: `0.4 s`, `52 s`, `8 min 52 s`, `1 h 5 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _read_json(path: pathlib.Path, default: Any) -> Any:
    """Returns what a JSON file holds, which must be of the type of `default`; `default` itself if there is no file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return default
    except (ValueError, RecursionError) as error:
        raise errors.UserError(f"{path}: is no JSON ({error}); restore the file or delete it") from error
    if not isinstance(value, type(default)):
        kind = "object" if isinstance(default, dict) else "list"
        raise errors.UserError(f"{path}: holds no JSON {kind}; restore the file or delete it")
    return value


def _read_lines(path: pathlib.Path) -> list[dict[str, Any]]:
    """Returns the objects of a JSONL file; a torn last line, as a killed run leaves it, is passed over."""
    if not path.exists():
        return []
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    rows = []
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise errors.UserError(f"{path}:{number}: is no JSON ({error}); restore the file or delete it") from error
        if not isinstance(row, dict):
            raise errors.UserError(f"{path}:{number}: holds no JSON object; restore the file or delete it")
        rows.append(row)
    return rows


@contextlib.contextmanager
def _blamed_on(path: pathlib.Path) -> Iterator[None]:
    """Tells of a file whose values are missing or of another type, where they are taken out of it.

    Raises:
      UserError: they are.
    """
    try:
        yield
    except (AttributeError, IndexError, KeyError, StopIteration, TypeError, ValueError) as error:
        told = f"{type(error).__name__}: {error}"
        raise errors.UserError(
            f"{path}: does not hold what it should ({told}); restore the file or delete it"
        ) from error
