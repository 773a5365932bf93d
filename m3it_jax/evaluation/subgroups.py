"""Parts of an evaluation that cut across tasks: by language, by length of the reference, by wording met in training.

    {"language": {"en": {"metric": "exact_match", "value", "n", "low", "high"}, ...},
     "length": {"1": {...}, "2 to 3": {...}, ...},              words of the first reference
     "wording": {"seen": {...}, "unseen": {...}}}               if the training run says with what it asked

Exact match, since parts hold rows of several tasks. Only kinds with two parts or more are there.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from m3it_jax import metrics, prompts, schema
from m3it_jax.evaluation import scores, tasks

Row = Mapping[str, Any]
Label = Callable[[Row], str]

METRIC = "exact_match"

# Texts of rows of several tasks are compared as they are.
ANY = tasks.EvalTask("any", schema.TASKS[0], "mul")

# Words of the first reference: label -> most words.
_LENGTHS = (("1", 1), ("2 to 3", 3), ("4 to 7", 7), ("8 and more", float("inf")))


def language(row: Row) -> str:
    """Returns the language of a line of predictions.jsonl."""
    return str(row["language"])


def length(row: Row) -> str:
    """Returns how many words its first reference has, as one of a few labels."""
    words = len(metrics.words(row["references"][0]))
    return next(label for label, most in _LENGTHS if words <= most)


def wording(pools: Iterable[Sequence[str]]) -> Label:
    """Returns the label `seen` or `unseen`: whether a row's instruction is one of some pools, slots filled or not.

    Args:
      pools: Instructions of the sources that were trained on.
    """
    every = {text for pool in pools for text in pool}
    slotted = [text for text in every if prompts.SLOT.search(text)]
    # A slot stands for any text; what is around it must be there word for word.
    patterns = [re.compile(".+?".join(map(re.escape, prompts.SLOT.split(text)[::2])), re.DOTALL) for text in slotted]

    def label(row: Row) -> str:
        text = row["instruction"]
        return "seen" if text in every or any(pattern.fullmatch(text) for pattern in patterns) else "unseen"

    return label


def score(rows: Sequence[Row], protocol: tasks.Protocol, *, is_seen: Label | None = None) -> dict[str, Any]:
    """Returns the parts as above.

    Args:
      rows: The model's own answers.
      protocol: Its seed, resamples and confidence are used.
      is_seen: As `wording` gives it; None if nothing says what the model was asked in training.
    """
    labels: dict[str, Label] = {"language": language, "length": length}
    if is_seen is not None:
        labels["wording"] = is_seen
    found: dict[str, Any] = {}
    for kind, label in labels.items():
        parts: dict[str, list[Row]] = {}
        for row in rows:
            parts.setdefault(label(row), []).append(row)
        if len(parts) > 1:
            found[kind] = {name: _scored(parts[name], protocol) for name in sorted(parts)}
    return found


def _scored(rows: Sequence[Row], protocol: tasks.Protocol) -> dict[str, Any]:
    drawn = protocol.resampled([row["group"] for row in rows])
    name, value, (low, high) = scores.variant_score(METRIC, ANY, rows, resamples=drawn)
    return {"metric": name, "value": value, "n": len(rows), "low": low, "high": high}


def table(found: Mapping[str, Any]) -> list[str]:
    """Returns the parts as lines of text."""
    lines = []
    for kind, parts in found.items():
        told = (f"{name} {p['value']:.1f} [{p['low']:.1f}, {p['high']:.1f}] of {p['n']:,}" for name, p in parts.items())
        lines.append(f"{METRIC} by {kind}: {'; '.join(told)}")
    return lines
