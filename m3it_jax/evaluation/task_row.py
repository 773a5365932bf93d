"""One row of the tables of tasks: which records are asked, how, what is right, and by what answers are scored."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from m3it_jax import errors, metrics, schema

# The first metric of a row is its headline.
METRICS: tuple[str, ...] = ("exact_match", "rouge_l")
CHOICE: tuple[str, ...] = ("multiple_choice", "exact_match", "rouge_l")

# The sentences that sources put around a short answer (`fallback` of their specification) and that models learn.
_WRAPPED = re.compile(r"(?:the answer is|答案是)[:：]?\s*(.*?)\s*[.。]?", re.IGNORECASE | re.DOTALL)


def _short(text: str) -> str:
    found = _WRAPPED.fullmatch(text.strip())
    return found[1] if found and found[1] else text


def _first_word(text: str) -> str:
    return re.split(r"[\s.,;:!。，；：！]", text.strip(), maxsplit=1)[0]


# What is done to an answer, and to what it is compared with, before they are scored; each leaves other texts alone.
POSTPROCESSES: dict[str, Callable[[str], str]] = {
    "line": lambda text: text,  # nothing more: answers stand on one line already
    "short": _short,  # "The answer is red." -> "red"
    "first_word": _first_word,  # "yes because ..." -> "yes"
}

# Which texts of a record are right: `outputs` alone; that and every one of `meta.references`; or `meta.references` as
# the answers of single people, repeated answers repeated, as VQA accuracy wants them.
REFERENCES = ("answer", "all", "people")

# How a record is asked: as it is stored, or behind the turn of the paper's zero-shot Chinese tests.
PROMPTS = ("stored", "chinese")

# arXiv 2306.04387, Table 10: a turn before the question and the begin of the answer, the same for all models compared.
CHINESE_TURN = {"instruction": "请根据我的指示，以及所给的图片，做出相应的回答。", "outputs": "好的。"}
CHINESE_BEGIN = "好的。"


@dataclasses.dataclass(frozen=True)
class EvalTask:
    """One row of a table.

    Attributes:
      name: The skill, which for the sources of M3IT is the source, or the family itself.
      family: One of `schema.TASKS`.
      language: BCP-47 tag of the answers; `mul` if they are in several.
      metrics: Names of `metrics.METRICS`, computed over all its records; the first is the headline.
      split: Which records a suite asks; `m3it eval` without a suite asks those of `--split`.
      prompt: One of `PROMPTS`.
      references: One of `REFERENCES`.
      postprocess: One of `POSTPROCESSES`.
    """

    name: str
    family: str
    language: str
    metrics: tuple[str, ...] = METRICS
    split: str = "test"
    prompt: str = "stored"
    references: str = "all"
    postprocess: str = "line"

    def __post_init__(self) -> None:
        """Refuses values that mean nothing.

        Raises:
          ConfigError: the message names the row, the field, its value and what is allowed.
        """
        if not self.metrics:
            raise errors.ConfigError(f"{self.name}: metrics is empty; name at least one of {_listed(metrics.METRICS)}")
        for field, values, allowed in (
            ("metrics", self.metrics, metrics.METRICS),
            ("family", (self.family,), schema.TASKS),
            ("split", (self.split,), schema.SPLITS),
            ("prompt", (self.prompt,), PROMPTS),
            ("references", (self.references,), REFERENCES),
            ("postprocess", (self.postprocess,), POSTPROCESSES),
        ):
            for value in values:
                if value not in allowed:
                    raise errors.ConfigError(f"{self.name}: {field}={value!r}: must be one of {_listed(allowed)}")

    def scored(self, row: Mapping[str, Any]) -> tuple[list[str], str]:
        """Returns (targets, prediction) of a line of predictions.jsonl, as this task compares them."""
        process = POSTPROCESSES[self.postprocess]
        targets = row["people"] if self.references == "people" and row.get("people") else row["references"]
        return [process(text) for text in targets], process(row["prediction"])

    def computable(self, rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], dict[str, str]]:
        """Returns (the metrics that these lines allow, {each other one: why it cannot be computed}).

        Where none is left, the usual ones stand in.
        """
        left_out = {}
        if "vqa_accuracy" in self.metrics and any(len(self.scored(row)[0]) < 2 for row in rows):
            left_out["vqa_accuracy"] = "needs the answers of several people as meta.references of every record"
        return [name for name in self.metrics if name not in left_out] or list(METRICS), left_out


def _listed(names: Any) -> str:
    return ", ".join(sorted(names))
