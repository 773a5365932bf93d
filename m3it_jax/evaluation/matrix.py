"""Answers under conditions -> the generalisation matrix, and what each kind of shift costs.

    {"score": what a value is, "wording": "known" or "assumed", "sources_trained_on": [...],
     "cells": [{"task": "seen", "wording": "unseen", "language": "zh", "medium": "video", "strength": 3,
                "value", "n", "low", "high"}, ...],
     "shifts": [{"shift": "wording", "from": "seen", "to": "unseen", "paired": true, "n",
                 "value_from", "value_to", "difference", "low", "high"}, ...],
     "no_other_wording": {SOURCE: questions},
     "lock": {...}}

Values are means over questions, from 0 to 100, of the headline metric of each question's skill; where that is one of a
whole corpus (CIDEr, BLEU), ROUGE-L stands in. `difference` is `value_to` less `value_from`. A shift is paired where the
same questions were asked both ways; otherwise it compares different questions, and what makes them harder may be more
than the shift. Intervals come from resamples of pictures (`group`), the same for both ends of a shift.
"""

import collections
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from m3it_jax import errors, metrics
from m3it_jax.evaluation import conditions, controls, corruptions, output, subgroups, tasks

Row = Mapping[str, Any]

SCORE = "mean over questions of the headline metric of their skill (ROUGE-L for a headline of a whole corpus)"

# M3IT takes 8 frames of every video (arXiv 2306.04387, section on video data); no other source has as many pictures.
_VIDEO_FRAMES = 8

TASKS = WORDINGS = ("seen", "unseen")
LANGUAGES = ("en", "zh", "other")
MEDIA = ("picture", "video")
STRENGTHS = (0, *corruptions.STRENGTHS)


def variants(strengths: Sequence[int]) -> list[str]:
    """Returns the names of all conditions of a matrix: both wordings, clean and at some strengths."""
    kinds = itertools.product((False, True), (0, *strengths))
    return [conditions.Condition(is_reworded, strength).variant for is_reworded, strength in kinds]


@dataclasses.dataclass(frozen=True)
class _Answer:
    """An answer with its labels; `medium` is `text` without pictures, `corruption` empty where pictures are clean."""

    key: tuple[str, str]
    group: str
    value: float
    task: str
    wording: str
    is_reworded: bool
    language: str
    medium: str
    strength: int
    corruption: str


def measure(
    store: output.EvalFolder,
    protocol: tasks.Protocol,
    *,
    trained_on: Sequence[str],
    is_seen: subgroups.Label | None,
    is_asked: Callable[[Row], bool] = lambda row: True,
) -> dict[str, Any]:
    """Returns the matrix of an evaluation folder, as above.

    Args:
      store: The folder, with answers under `conditions`.
      protocol: Its seed, resamples and confidence are used.
      trained_on: Sources of the model's training; all others are unseen tasks. If it is empty, all count as seen.
      is_seen: Whether a row's instruction was trained with, as `subgroups.wording` gives it; None if nothing says so,
        and then the stored instructions count as seen and other words as unseen.
      is_asked: Whether a prediction is to be counted; all are by default.

    Raises:
      UserError: the predictions or the lock are damaged, or there is no answer under any condition.
    """
    rows = [row for row in store.predictions() if is_asked(row) and conditions.of(row["variant"])]
    if not rows:
        raise errors.UserError(f"{store.path}: has no answer to measure; run m3it matrix without --rescore")
    rows.sort(key=lambda row: (row["source"], row["number"], row["variant"]))
    answers = _labelled(rows, protocol, trained_on=set(trained_on), is_seen=is_seen)
    resamples = protocol.resampled([answer.group for answer in answers])
    reworded = {(row["source"], row["id"]) for row in rows if _condition(row).is_reworded}
    lacking = collections.Counter(
        row["source"] for row in rows if row["variant"] == controls.OWN and (row["source"], row["id"]) not in reworded
    )
    return {
        "score": SCORE,
        "wording": "known" if is_seen else "assumed",
        "sources_trained_on": sorted(trained_on),
        "cells": list(_cells(answers, resamples)),
        "shifts": list(_shifts(answers, resamples)),
        "no_other_wording": dict(lacking),
        "lock": store.lock(),
    }


def _condition(row: Row) -> conditions.Condition:
    return conditions.of(row["variant"]) or conditions.Condition()


def _labelled(
    rows: Sequence[Row], protocol: tasks.Protocol, *, trained_on: set[str], is_seen: subgroups.Label | None
) -> list[_Answer]:
    values = np.zeros(len(rows))
    places: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(row["skill"], []).append(place)
    for skill, its_places in places.items():
        first = rows[its_places[0]]
        task = protocol.task(skill, family=first["family"], language=first["language"])
        values[its_places] = _values(task, [rows[place] for place in its_places])
    return [
        _Answer(
            key=(row["source"], row["id"]),
            group=row["group"],
            value=float(value),
            task="seen" if not trained_on or row["source"] in trained_on else "unseen",
            wording=is_seen(row) if is_seen else WORDINGS[_condition(row).is_reworded],
            is_reworded=_condition(row).is_reworded,
            language=row["language"] if row["language"] in LANGUAGES else "other",
            medium=_medium(row),
            strength=_condition(row).strength,
            corruption=corruptions.corruption_of(row["id"], seed=protocol.seed) if _condition(row).strength else "",
        )
        for row, value in zip(rows, values, strict=True)
    ]


def _values(task: tasks.EvalTask, rows: Sequence[Row]) -> np.ndarray:
    """Returns float64 [rows], from 0 to 100: what each answer is worth by the headline metric of its task."""
    name = task.computable(rows)[0][0]
    metric = metrics.METRICS[name if metrics.METRICS[name].is_mean else "rouge_l"]
    targets, predictions = zip(*map(task.scored, rows), strict=True)
    return metric.rows(targets, predictions)[:, 0] / metric.top * 100


def _medium(row: Row) -> str:
    number = row.get("num_images", 1)
    if not number:
        return "text"
    return "video" if row["family"] == "video" or number >= _VIDEO_FRAMES else "picture"


def _cells(answers: Sequence[_Answer], resamples: controls.Resamples) -> Iterable[dict[str, Any]]:
    cells: dict[tuple[Any, ...], list[_Answer]] = {}
    for each in answers:
        cells.setdefault((each.task, each.wording, each.language, each.medium, each.strength), []).append(each)
    for key in itertools.product(TASKS, WORDINGS, LANGUAGES, (*MEDIA, "text"), STRENGTHS):
        found = cells.get(key)
        if found:
            values = [each.value for each in found]
            low, high = resamples.interval(values, [each.group for each in found])
            names = dict(zip(("task", "wording", "language", "medium", "strength"), key, strict=True))
            yield names | {"value": sum(values) / len(values), "n": len(values), "low": low, "high": high}


def _shifts(answers: Sequence[_Answer], resamples: controls.Resamples) -> Iterable[dict[str, Any]]:
    clean = [each for each in answers if not each.strength]
    yield from _paired("wording", WORDINGS, _by(clean, "wording"), resamples=resamples)
    stored = [each for each in answers if not each.is_reworded and each.medium != "text"]
    by_strength = _by(stored, "strength")
    for strength in corruptions.STRENGTHS:
        yield from _paired("pictures", (0, strength), by_strength, resamples=resamples)
    for name in corruptions.CORRUPTIONS:
        worse = [each for each in stored if each.corruption == name]
        yield from _paired(
            name,
            ("clean", "mean of strengths"),
            {"clean": by_strength.get(0, []), "mean of strengths": worse},
            resamples=resamples,
        )
    own = [each for each in clean if not each.is_reworded]
    for shift, ends in (
        ("task", [TASKS]),
        ("language", [("en", "zh"), ("en", "other")]),
        ("medium", [MEDIA]),
    ):
        for pair in ends:
            yield from _shift(shift, pair, _by(own, shift), resamples=resamples, is_paired=False)


def _by(answers: Iterable[_Answer], label: str) -> dict[Any, list[_Answer]]:
    parts: dict[Any, list[_Answer]] = {}
    for each in answers:
        parts.setdefault(getattr(each, label), []).append(each)
    return parts


def _paired(
    shift: str, ends: tuple[Any, Any], parts: Mapping[Any, Sequence[_Answer]], *, resamples: controls.Resamples
) -> Iterable[dict[str, Any]]:
    """Yields a shift over the questions that both ends have."""
    both = {each.key for each in parts.get(ends[0], ())} & {each.key for each in parts.get(ends[1], ())}
    kept = {end: [each for each in parts.get(end, ()) if each.key in both] for end in ends}
    return _shift(shift, ends, kept, resamples=resamples, is_paired=True)


def _shift(
    shift: str,
    ends: tuple[Any, Any],
    parts: Mapping[Any, Sequence[_Answer]],
    *,
    resamples: controls.Resamples,
    is_paired: bool,
) -> Iterable[dict[str, Any]]:
    """Yields the shift from one end to the other, if both have answers."""
    before, after = parts.get(ends[0], ()), parts.get(ends[1], ())
    if not before or not after:
        return
    # Columns: sum and count of either end; an answer stands in the columns of its own end alone.
    sums = np.zeros((len(before) + len(after), 4))
    sums[: len(before), 0], sums[: len(before), 1] = [each.value for each in before], 1
    sums[len(before) :, 2], sums[len(before) :, 3] = [each.value for each in after], 1

    def difference(total: np.ndarray) -> np.ndarray:
        return total[..., 2] / total[..., 3] - total[..., 0] / total[..., 1]

    low, high = resamples.interval_of_sums(sums, [each.group for each in (*before, *after)], difference)
    total = sums.sum(0)
    yield {
        "shift": shift,
        "from": str(ends[0]),
        "to": str(ends[1]),
        "paired": is_paired,
        "n": len({each.key for each in (*before, *after)}),
        "value_from": float(total[0] / total[1]),
        "value_to": float(total[2] / total[3]),
        "difference": float(difference(total)),
        "low": low,
        "high": high,
    }


def table(found: Mapping[str, Any]) -> str:
    """Returns a matrix as text: one line for each row of it, strengths side by side, then one for each shift."""
    cells = {
        tuple(cell[name] for name in ("task", "wording", "language", "medium", "strength")): cell
        for cell in found["cells"]
    }
    strengths = [strength for strength in STRENGTHS if any(key[-1] == strength for key in cells)]
    heads = "".join(f"{'clean' if not strength else f'strength {strength}':>21}" for strength in strengths)
    lines = [f"{'task':<8}{'wording':<9}{'language':<10}{'medium':<9}{'n':>7}{heads}"]
    media = (*MEDIA, *(["text"] if any(key[3] == "text" for key in cells) else []))
    for key in itertools.product(TASKS, WORDINGS, LANGUAGES, media):
        found_cells = [cells.get((*key, strength)) for strength in strengths]
        number = max((cell["n"] for cell in found_cells if cell), default=0)
        told = "".join(f"{_told(cell):>21}" for cell in found_cells)
        lines.append(f"{key[0]:<8}{key[1]:<9}{key[2]:<10}{key[3]:<9}{number:>7,}{told}")
    lines += ["", f"{'shift':<12}{'from':<10}{'to':<19}{'n':>7}{'from':>8}{'to':>8}{'difference':>24}"]
    for shift in found["shifts"]:
        interval = f"{shift['difference']:+.1f} [{shift['low']:+.1f}, {shift['high']:+.1f}]"
        note = "" if shift["paired"] else "  other questions"
        lines.append(
            f"{shift['shift']:<12}{shift['from']:<10}{shift['to']:<19}{shift['n']:>7,}{shift['value_from']:>8.1f}"
            f"{shift['value_to']:>8.1f}{interval:>24}{note}"
        )
    if found["no_other_wording"]:
        lacking = ", ".join(f"{name} ({number:,})" for name, number in found["no_other_wording"].items())
        lines += ["", f"asked in the stored words alone, for want of other ones: {lacking}"]
    if found["wording"] == "assumed":
        lines.append("nothing says which instructions the model was trained with: the stored ones count as seen")
    if not found["sources_trained_on"]:
        lines.append("nothing says which sources the model was trained on: all tasks count as seen (--trained-on)")
    return "\n".join(lines)


def _told(cell: Mapping[str, Any] | None) -> str:
    return f"{cell['value']:.1f} [{cell['low']:.1f}, {cell['high']:.1f}]" if cell else "-"
