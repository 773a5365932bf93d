"""What became of a translated folder, by language: counts, reasons, scores, examples. Read from the folder alone."""

import collections
import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from m3it_jax import errors, languages, records, schema

_EXAMPLES = 8  # of each kind
_SCORES = ("length_ratio", "script", "copied", "repeated", "back_chrf", "judged", "weight")
_BINS = 10  # of the weights, 0..1
_REJECTED = "rejected.jsonl"


@dataclasses.dataclass
class Seen:
    """What is known of one language.

    Attributes:
      records: Translated records by source.
      marks: How what must survive came through, by `meta.translation.marks`.
      identified: What the identifier said.
      reasons: Quarantined rows by reason.
      weights: Records by weight, in tenths.
      source_weights: Source -> sum of its records' weights.
      sums: Score -> (sum, number of records that have it).
      kept: The first translated records.
      quarantined: The first quarantined rows.
    """

    records: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    marks: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    identified: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    reasons: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    weights: list[int] = dataclasses.field(default_factory=lambda: [0] * _BINS)
    source_weights: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    sums: dict[str, tuple[float, int]] = dataclasses.field(default_factory=dict)
    kept: list[dict[str, str]] = dataclasses.field(default_factory=list)
    quarantined: list[dict[str, str]] = dataclasses.field(default_factory=list)

    def add(self, instance: schema.Instance, about: Mapping[str, Any]) -> None:
        """Counts a translated record."""
        self.records[instance.source] += 1
        self.marks[str(about.get("marks", "none"))] += 1
        if "language" in about:
            self.identified[str(about["language"])] += 1
        for name in _SCORES:
            if isinstance(value := about.get(name), int | float):
                total, number = self.sums.get(name, (0.0, 0))
                self.sums[name] = total + value, number + 1
        weight = about.get("weight", 0.0)
        self.source_weights[instance.source] += weight
        self.weights[min(int(weight * _BINS), _BINS - 1)] += 1
        if len(self.kept) < _EXAMPLES:
            original = about.get("original", {})
            old = (str(original.get(name, "")) for name in ("instruction", "inputs", "outputs"))
            new = (instance.instruction, instance.inputs, instance.outputs)
            self.kept.append({"old": _joined(*old), "new": _joined(*new), "weight": f"{weight:.2f}"})

    def reject(self, line: Mapping[str, Any]) -> None:
        """Counts a quarantined row, given its line of `rejected.jsonl`."""
        self.reasons[str(line.get("reason"))] += 1
        if len(self.quarantined) < _EXAMPLES:
            self.quarantined.append({name: str(line.get(name, "")) for name in ("place", "reason", "text")})

    def summary(self) -> dict[str, Any]:
        """Returns the numbers as JSON; `scores` are means."""
        return {
            "records": dict(self.records),
            "quarantined": dict(self.reasons.most_common()),
            "marks": dict(self.marks.most_common()),
            "identified": dict(self.identified.most_common()),
            "scores": {name: round(total / number, 3) for name, (total, number) in self.sums.items()},
            "weights": self.weights,
            "source_weights": {name: round(total, 3) for name, total in self.source_weights.items()},
            "examples": self.kept,
            "quarantined_examples": self.quarantined,
        }


def collect(folder: records.DataFolder) -> dict[str, dict[str, Any]]:
    """Returns language code -> `Seen.summary()` of every language that a folder was translated into.

    Raises:
      UserError: a record or a list of rejected rows is damaged.
    """
    seen: dict[str, Seen] = {}
    for name, info in folder.sources.items():
        steps = folder.provenance(name).get("made_from", [])
        code = next((str(step["to"]) for step in reversed(steps) if step.get("step") == "translate"), "")
        if not code:
            continue
        found = seen.setdefault(code, Seen())
        for split in info.splits:
            table = folder.table(name, split)
            for number in range(len(table)):
                row = table.read(number)
                about = row.meta.get("translation")
                if isinstance(about, Mapping):
                    found.add(row, about)
        file = folder.source_path(name) / _REJECTED
        if file.is_file():
            try:
                for line in file.read_text(encoding="utf-8").splitlines():
                    found.reject(json.loads(line))
            except ValueError as error:
                raise errors.UserError(f"{file}: cannot be read ({error}); build the source again") from error
    return {code: found.summary() for code, found in sorted(seen.items())}


def mixture(seen: Mapping[str, Mapping[str, Any]], temperature: float) -> dict[str, float]:
    """Returns weights of a training mixture: source -> its records' weights added up, flattened over languages.

    A language's share is in proportion to its sum of weights to the power of 1 / `temperature`, as mT5 samples
    (arXiv 2010.11934, section 3.1, alpha = 1 / temperature); 1 keeps the proportions, and a large one makes all
    languages equal. Inside a language, sources keep their proportions. All weights together are 1.
    """
    sums = {code: found["source_weights"] for code, found in seen.items()}
    totals = {code: sum(weights.values()) for code, weights in sums.items() if sum(weights.values()) > 0}
    flat = {code: total ** (1 / temperature) for code, total in totals.items()}
    whole = sum(flat.values())
    return {
        source: round(flat[code] / whole * weight / totals[code], 6)
        for code in totals
        for source, weight in sums[code].items()
        if weight
    }


def table(seen: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns one line a language for the screen: rows kept and quarantined, marks, mean weight, commonest reasons."""
    lines = []
    for code, found in seen.items():
        kept, lost = sum(found["records"].values()), sum(found["quarantined"].values())
        reasons = ", ".join(f"{reason} {number}" for reason, number in list(found["quarantined"].items())[:4])
        line = f"{code} ({languages.find(code).name}): {kept} translated, {lost} quarantined"
        line += f" ({reasons})" if reasons else ""
        pieces = found["marks"].get("pieces", 0)
        line += f"; marks kept in {found['marks'].get('kept', 0)}, put around pieces in {pieces}" if kept else ""
        line += f"; mean weight {found['scores'].get('weight', 0.0):.2f}" if kept else ""
        lines.append(line)
    return "\n".join(lines)


def _joined(*texts: str) -> str:
    return "\n".join(filter(None, texts))
