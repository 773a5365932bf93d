"""Judgements -> won, tied and lost with intervals, the judge's bias by position, its agreement with exact metrics.

    {"judge", "prompt_version", "settings", "a", "b",
     "items", "judged", "won", "tie", "lost",                              seen from A; unjudged items count in none
     "rates": {"won" | "tie" | "lost": {"value", "low", "high"}},          per cent of the judged items
     "mean_score": {"a", "b", "difference", "low", "high"},
     "position": {"first_less_second": {"value", "low", "high"}, "flipped": {"value", "low", "high"}, "favours_first",
                  "favours_second"},
     "agreement": {METRIC: {"n", "same", "kappa", "correlation"}},
     "samples": {"wanted", "scored", "unparsable", "asked_again", "unanswered"}, "problem": one failure in words,
     "tasks": {SKILL: {"judged", "won", "tie", "lost"}}}

Intervals are over pictures (`group`), as those of scores are.
"""

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from m3it_jax import metrics
from m3it_jax.evaluation import controls, judge, tasks

VERDICTS = ("won", "tie", "lost")

# Metrics with which the verdicts are compared; each is a mean over rows.
_EXACT = ("exact_match_normalised", "rouge_l")


def report(
    judgements: Sequence[judge.Judgement], *, settings: judge.Settings, protocol: tasks.Protocol
) -> dict[str, Any]:
    """Returns what the judgements say, as above (without `a` and `b`).

    Args:
      judgements: As `judge.ask` leaves them.
      settings: How was judged.
      protocol: Its seed, resamples and confidence are used for the intervals.
    """
    judged = [one for one in judgements if one.is_judged]
    counts = collections.Counter(one.verdict for one in judged)
    samples = {"wanted": len(judgements) * len(judge.ORDERS) * settings.samples}
    samples["scored"] = sum(len(one.scores) for one in judgements)
    for name in ("unparsable", "asked_again"):
        samples[name] = sum(getattr(one, name) for one in judgements)
    samples["unanswered"] = sum(len(one.unanswered) for one in judgements)
    found: dict[str, Any] = {
        "judge": settings.model,
        "prompt_version": judge.PROMPT_VERSION,
        "settings": dataclasses.asdict(settings),
        "items": len(judgements),
        "judged": len(judged),
        **{verdict: counts[verdict] for verdict in VERDICTS},
        "samples": samples,
        "problem": next((text for one in judgements for text in one.unanswered), ""),
    }
    if not judged:
        return found
    groups = [one.a["group"] for one in judged]
    drawn = protocol.resampled(groups)

    def interval(values: Sequence[float]) -> dict[str, float]:
        low, high = drawn.interval(values, groups)
        return {"value": sum(values) / len(values), "low": low, "high": high}

    found["rates"] = {verdict: interval([100.0 * (one.verdict == verdict) for one in judged]) for verdict in VERDICTS}
    found["mean_score"] = _mean_scores(judged, drawn)
    found["position"] = _position(judged, drawn)
    found["agreement"] = {name: _agreement(judged, name) for name in _EXACT}
    found["tasks"] = _by_task(judged)
    return found


def _spread(values: Sequence[float], judged: Sequence[judge.Judgement], drawn: controls.Resamples) -> dict[str, float]:
    """Returns the mean of values that are no shares, with the bootstrap interval of it."""
    rows = np.stack((np.asarray(values, np.float64), np.ones(len(values))), axis=-1)
    low, high = drawn.interval_of_sums(
        rows, [one.a["group"] for one in judged], lambda sums: sums[..., 0] / sums[..., 1]
    )
    return {"value": float(np.mean(values)), "low": low, "high": high}


def _mean_scores(judged: Sequence[judge.Judgement], drawn: controls.Resamples) -> dict[str, float]:
    means = [
        [sum(pair[which] for pair in one.means.values()) / len(judge.ORDERS) for one in judged] for which in (0, 1)
    ]
    difference = _spread([one.difference for one in judged], judged, drawn)
    named = {"a": float(np.mean(means[0])), "b": float(np.mean(means[1])), "difference": difference["value"]}
    return named | {"low": difference["low"], "high": difference["high"]}


def _position(judged: Sequence[judge.Judgement], drawn: controls.Resamples) -> dict[str, Any]:
    """Returns how far the place of an answer moves its score, and in how many items it changes the verdict."""
    gains, flipped, favours = [], [], collections.Counter[str]()
    for one in judged:
        straight, turned = (one.means[order][0] - one.means[order][1] for order in judge.ORDERS)  # A less B
        gains.append((straight - turned) / 2)  # what standing first adds: A stood first, then B
        flipped.append(100.0 * (np.sign(straight) != np.sign(turned)))
        if straight > turned:
            favours["first"] += 1
        elif straight < turned:
            favours["second"] += 1
    low, high = drawn.interval(flipped, [one.a["group"] for one in judged])
    return {
        "first_less_second": _spread(gains, judged, drawn),
        "flipped": {"value": sum(flipped) / len(flipped), "low": low, "high": high},
        "favours_first": favours["first"],
        "favours_second": favours["second"],
    }


def _agreement(judged: Sequence[judge.Judgement], name: str) -> dict[str, Any]:
    """Returns how verdicts agree with a metric's: the share that is the same, Cohen's kappa, the correlation."""
    metric = metrics.METRICS[name]
    targets = [one.a["references"] for one in judged]
    scores = [metric.rows(targets, [getattr(one, which)["prediction"] for one in judged])[:, 0] for which in ("a", "b")]
    gaps = scores[0] - scores[1]
    by_metric = [VERDICTS[1 - int(np.sign(gap))] for gap in gaps]
    by_judge = [one.verdict for one in judged]
    same = float(np.mean([left == right for left, right in zip(by_metric, by_judge, strict=True)]))
    chance = sum(by_metric.count(verdict) * by_judge.count(verdict) for verdict in VERDICTS) / len(judged) ** 2
    differences = np.array([one.difference for one in judged])
    spread = float(gaps.std() * differences.std())
    return {
        "n": len(judged),
        "same": 100.0 * same,
        "kappa": (same - chance) / (1 - chance) if chance < 1 else None,
        "correlation": float(((gaps - gaps.mean()) * (differences - differences.mean())).mean()) / spread
        if spread
        else None,
    }


def _by_task(judged: Sequence[judge.Judgement]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for one in judged:
        entry = found.setdefault(one.a["skill"], {"judged": 0, **dict.fromkeys(VERDICTS, 0)})
        entry["judged"] += 1
        entry[one.verdict] += 1
    return found


def lines(judgements: Sequence[judge.Judgement]) -> list[dict[str, Any]]:
    """Returns one JSON object a question, for reading: the answers, each order's scores, the verdict."""
    return [
        {
            **{name: one.a[name] for name in ("id", "source", "skill", "instruction", "inputs", "references")},
            "a": one.a["prediction"],
            "b": one.b["prediction"],
            "scores": [{"order": order, "a": a, "b": b} for order, a, b in one.scores],
            "verdict": one.verdict if one.is_judged else None,
        }
        for one in judgements
    ]


def table(found: Mapping[str, Any]) -> str:
    """Returns a report as text."""
    told = [f"A: {found['a']}", f"B: {found['b']}"]
    told.append(f"{found['judged']} of {found['items']} items judged by {found['judge']}")
    if found["judged"]:
        for verdict in VERDICTS:
            rate = found["rates"][verdict]
            told.append(
                f"A {verdict:<5}{found[verdict]:5d}  {rate['value']:5.1f} % [{rate['low']:.1f}, {rate['high']:.1f}]"
            )
        mean, place = found["mean_score"], found["position"]
        told.append(
            f"mean score: A {mean['a']:.2f}, B {mean['b']:.2f}, difference {mean['difference']:+.2f} "
            f"[{mean['low']:+.2f}, {mean['high']:+.2f}]"
        )
        gain, flips = place["first_less_second"], place["flipped"]
        told.append(
            f"position: standing first adds {gain['value']:+.2f} [{gain['low']:+.2f}, {gain['high']:+.2f}] points; it "
            f"changes the verdict of {flips['value']:.1f} % [{flips['low']:.1f}, {flips['high']:.1f}] of the items"
        )
        for name, entry in found["agreement"].items():
            kappa = "-" if entry["kappa"] is None else f"{entry['kappa']:.2f}"
            told.append(f"agreement with {name}: {entry['same']:.1f} % of the verdicts, kappa {kappa}")
    samples = found["samples"]
    told.append(
        f"{samples['scored']} of {samples['wanted']} answers of the judge have scores; {samples['asked_again']} were "
        f"asked for again, {samples['unparsable']} had none in the end, {samples['unanswered']} did not come"
    )
    if found["problem"]:
        told.append(f"the first that did not come: {found['problem']}")
    return "\n".join(told)
