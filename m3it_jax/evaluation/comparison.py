"""Two evaluations of the same questions -> is one better? A paired test over pictures, and what it could have found.

    {"a": folder, "b": folder, "left_out": {"a": questions that only A has, "b": ...},
     "tasks": {TASK: {"metric", "n", "groups", "a", "b", "difference", "low", "high", "p", "p_adjusted",
                      "standard_error", "detectable"}},
     "subgroups": {"language": {"en": {...}}, "length": {"1": {...}, ...}}}

`difference` is A less B. TASK is a skill or a family. Rows that show the same picture are right or wrong together, so
pictures (`group`) are drawn and exchanged, never single rows.
"""

import dataclasses
import operator
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from m3it_jax import errors, metrics, rng
from m3it_jax.evaluation import controls, output, subgroups, tasks
from m3it_jax.metrics import sums

Row = Mapping[str, Any]

# What tells one model from another; every other field of the lock must be equal for scores to be comparable.
MODEL_FIELDS = ("checkpoint", "tokenizer")

PERMUTATIONS = 10_000
_POWER = 0.8  # share of repetitions in which a difference of `detectable` would be found at the level of the interval

# Exchanges are drawn in pieces of about this many numbers, 64 MB.
_PIECE = 1 << 23


@dataclasses.dataclass(frozen=True)
class Pairs:
    """The same questions answered twice: `a[i]` and `b[i]` are rows of predictions.jsonl about one question."""

    a: Sequence[Row]
    b: Sequence[Row]

    def of(self, label: Callable[[Row], str], name: str) -> "Pairs":
        """Returns the pairs whose question has the label `name`."""
        kept = [place for place, row in enumerate(self.a) if label(row) == name]
        return Pairs([self.a[place] for place in kept], [self.b[place] for place in kept])


def compare(
    a: output.EvalFolder,
    b: output.EvalFolder,
    *,
    protocol: tasks.Protocol,
    allow: Sequence[str] = (),
    metric: str | None = None,
) -> dict[str, Any]:
    """Returns the comparison of two evaluation folders, as above.

    Args:
      a: One evaluation.
      b: The other one, of the same questions.
      protocol: Its seed, resamples and confidence are used.
      allow: Fields of the lock that may differ beside those of the model.
      metric: A name of `metrics.METRICS` for every task; by default each task's headline, and exact match in subgroups.

    Raises:
      UserError: a folder has no answers or no lock, the locks differ, or no question is answered in both.
    """
    if metric is not None and metric not in metrics.METRICS:
        raise errors.ConfigError(f"--metric {metric}: unknown; use one of {', '.join(sorted(metrics.METRICS))}")
    pairs, left_out = paired(a, b, allow=allow)
    found: dict[str, Any] = {"a": str(a.path), "b": str(b.path), "left_out": left_out, "tasks": {}, "subgroups": {}}
    suite = tasks.suite_of(a.lock())
    for task, its_pairs in _tables(pairs, dataclasses.replace(protocol, suite=suite)):
        name = metric or task.computable([*its_pairs.a, *its_pairs.b])[0][0]
        found["tasks"][task.name] = _compared(its_pairs, name, protocol=protocol, task=task)
    _adjust(found["tasks"])
    for kind, label in (("language", subgroups.language), ("length", subgroups.length)):
        labels = sorted({label(row) for row in pairs.a})
        found["subgroups"][kind] = {
            name: _compared(
                pairs.of(label, name),
                metric or subgroups.METRIC,
                protocol=protocol,
                task=subgroups.ANY,
            )
            for name in labels
        }
    return found


def paired(a: output.EvalFolder, b: output.EvalFolder, *, allow: Sequence[str] = ()) -> tuple[Pairs, dict[str, int]]:
    """Returns the questions that two evaluations both answer, in the order of A, and how many only one does.

    Raises:
      UserError: as `compare`.
    """
    _check_locks(a, b, allow)
    return _pairs(a, b)


def table(comparison: Mapping[str, Any]) -> str:
    """Returns the comparison as text, one line a task and a subgroup."""
    lines = [f"A: {comparison['a']}", f"B: {comparison['b']}"]
    for name, number in comparison["left_out"].items():
        if number:
            lines.append(f"left out, for want of an answer in the other one: {number} of {name.upper()}")
    header = (
        f"{'task':<22} {'metric':<16} {'n':>6} {'A':>7} {'B':>7} {'A - B [low, high]':>25} {'p':>8} {'detectable':>10}"
    )
    lines += ["", header, *(_line(name, entry) for name, entry in comparison["tasks"].items())]
    for kind, entries in comparison["subgroups"].items():
        lines += ["", f"by {kind}", *(_line(name, entry) for name, entry in entries.items())]
    clear = [name for name, entry in comparison["tasks"].items() if entry["p_adjusted"] < 0.05]
    lines += ["", f"different after Holm's correction (p < 0.05): {', '.join(clear) or 'no task'}"]
    return "\n".join(lines)


def _line(name: str, entry: Mapping[str, Any]) -> str:
    interval = f"{entry['difference']:+.2f} [{entry['low']:+.2f}, {entry['high']:+.2f}]"
    detectable = "-" if entry["detectable"] is None else f"{entry['detectable']:.2f}"
    scores = f"{entry['a']:7.2f} {entry['b']:7.2f}"
    return (
        f"{name:<22} {entry['metric']:<16} {entry['n']:6d} {scores} {interval:>25} {entry['p']:8.4f} {detectable:>10}"
    )


def _check_locks(a: output.EvalFolder, b: output.EvalFolder, allow: Sequence[str]) -> None:
    for store in (a, b):
        if not store.has_predictions():
            raise errors.UserError(
                f"{store.path}: holds no {output.PREDICTIONS}; name a folder that m3it eval has written"
            )
        if not store.lock():
            raise errors.UserError(
                f"{store.path}: holds no {output.LOCK}, so nothing says what was asked; evaluate again"
            )
    first, second = a.lock(), b.lock()
    names = {*first, *second}
    for name in allow:
        if name not in names:
            raise errors.ConfigError(f"--allow {name}: no field of the locks; they have {', '.join(sorted(names))}")
    for name in sorted(names - {*MODEL_FIELDS, *allow}):
        if first.get(name) != second.get(name):
            raise errors.UserError(
                f"{a.path} and {b.path} differ in {name} ({first.get(name)}, {second.get(name)}), so their scores are "
                f"not comparable; evaluate both alike, or give --allow {name} if it does not matter"
            )


def _pairs(a: output.EvalFolder, b: output.EvalFolder) -> tuple[Pairs, dict[str, int]]:
    """Returns the questions that both answer, in the order of A, and how many only one does."""
    by_key = [
        {(row["source"], row["id"]): row for row in store.predictions() if row["variant"] == controls.OWN}
        for store in (a, b)
    ]
    shared = [key for key in by_key[0] if key in by_key[1]]
    if not shared:
        raise errors.UserError(f"{a.path} and {b.path} have no question in common; evaluate both on the same data")
    for key in shared:
        for name in ("references", "group", "skill"):
            if by_key[0][key][name] != by_key[1][key][name]:
                raise errors.UserError(
                    f"{b.path}: {key[1]} of {key[0]} has another {name} than in {a.path}; evaluate both on one folder"
                )
    pairs = Pairs([by_key[0][key] for key in shared], [by_key[1][key] for key in shared])
    return pairs, {name: len(rows) - len(shared) for name, rows in zip("ab", by_key, strict=True)}


def _tables(pairs: Pairs, protocol: tasks.Protocol) -> list[tuple[tasks.EvalTask, Pairs]]:
    """Returns each skill and then each family with its pairs."""
    skills: dict[str, Row] = {}
    for row in pairs.a:
        skills.setdefault(row["skill"], row)
    tables = []
    for name, row in skills.items():
        task = protocol.task(name, family=row["family"], language=row["language"])
        tables.append((task, pairs.of(operator.itemgetter("skill"), name)))
    for family in tasks.FAMILIES:
        its_pairs = pairs.of(operator.itemgetter("family"), family.name)
        if its_pairs.a:
            tables.append((family, its_pairs))
    return tables


def _compared(pairs: Pairs, name: str, *, protocol: tasks.Protocol, task: tasks.EvalTask) -> dict[str, Any]:
    metric = metrics.METRICS[name]
    groups, places = np.unique([row["group"] for row in pairs.a], return_inverse=True)
    added = []  # [group, K] of A and of B
    for rows in (pairs.a, pairs.b):
        targets, predictions = zip(*map(task.scored, rows), strict=True)
        single = metric.rows(targets, predictions)
        columns = [np.bincount(places, column, minlength=len(groups)) for column in single.T]
        added.append(np.stack(columns, axis=-1).astype(np.float64))
    first, second = added
    key = next(iter(metric.values(first.sum(0))))

    def value(total: sums.Floats) -> sums.Floats:
        return metric.values(total)[key]

    difference = float(value(first.sum(0)) - value(second.sum(0)))
    chance = rng.generator(protocol.seed, "compare", "bootstrap")
    drawn = chance.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), size=protocol.resamples)
    resampled = value(drawn @ first) - value(drawn @ second)
    tails = (50 * (1 - protocol.confidence), 50 * (1 + protocol.confidence))
    low, high = (float(bound) for bound in np.percentile(resampled, tails))
    error = float(resampled.std(ddof=1)) if len(resampled) > 1 else 0.0
    normal = statistics.NormalDist()
    needed = normal.inv_cdf((1 + protocol.confidence) / 2) + normal.inv_cdf(_POWER)
    return {
        "metric": key,
        "n": len(pairs.a),
        "groups": len(groups),
        "a": float(value(first.sum(0))),
        "b": float(value(second.sum(0))),
        "difference": difference,
        "low": low,
        "high": high,
        "p": _p_value(first, second, value, seed=protocol.seed),
        "standard_error": error,
        "detectable": needed * error if error else None,
    }


def _p_value(
    first: sums.Floats, second: sums.Floats, value: Callable[[sums.Floats], sums.Floats], *, seed: int
) -> float:
    """Returns the share of exchanges of A and B, picture by picture, that differ at least as much as A and B do."""
    unequal = (first != second).any(-1)  # exchanging equal answers changes nothing
    gain, total, base = (first - second)[unequal], first.sum(0), second.sum(0)
    if not len(gain):
        return 1.0
    observed = abs(float(value(total) - value(base)))
    chance = rng.generator(seed, "compare", "exchange")
    step = max(1, min(PERMUTATIONS, _PIECE // len(gain)))
    extreme = 0
    for done in range(0, PERMUTATIONS, step):
        kept = chance.integers(0, 2, size=(min(step, PERMUTATIONS - done), len(gain))).astype(np.float64)
        moved = kept @ gain
        exchanged = value(base + moved) - value(total - moved)
        extreme += int((np.abs(exchanged) >= observed - 1e-9 * max(1.0, observed)).sum())
    return (1 + extreme) / (1 + PERMUTATIONS)


def _adjust(entries: Mapping[str, dict[str, Any]]) -> None:
    """Adds `p_adjusted`, by Holm's step-down method over all tasks."""
    largest = 0.0
    ordered = sorted(entries.values(), key=lambda entry: entry["p"])
    for place, entry in enumerate(ordered):
        largest = max(largest, min(1.0, entry["p"] * (len(ordered) - place)))
        entry["p_adjusted"] = largest
