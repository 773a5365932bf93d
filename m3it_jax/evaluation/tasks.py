"""What is evaluated and how: one row for each skill, one for each family of the paper, and the settings that all share.

A record's skill is `meta.skill`, else the name of its source. A skill without a row here is scored with `METRICS`
under the record's own task as family, so an imported data folder can be evaluated as it is.
"""

import dataclasses
from collections.abc import Callable, Sequence

from m3it_jax import metrics, schema

Metric = Callable[[Sequence[Sequence[str]], Sequence[str]], dict[str, float]]

# The first metric of a row is its headline. Each must be a mean over rows (what `metrics` promises), since intervals
# are drawn from scores of single rows.
METRICS: tuple[Metric, ...] = (metrics.exact_match, metrics.rouge_l)
CHOICE: tuple[Metric, ...] = (metrics.multiple_choice, metrics.exact_match, metrics.rouge_l)


@dataclasses.dataclass(frozen=True)
class EvalTask:
    """One row of the table.

    Attributes:
      name: The skill, or the family itself.
      family: One of `schema.TASKS`.
      language: BCP-47 tag of the answers; `mul` if they are in several.
      metrics: What is computed over all its records; the first is the headline.
    """

    name: str
    family: str
    language: str
    metrics: tuple[Metric, ...] = METRICS


@dataclasses.dataclass(frozen=True)
class Protocol:
    """The settings of an evaluation; part of its identity.

    Attributes:
      split: Which records are answered.
      max_new_tokens: Longest answer in tokens; the paper's inference code allows 128, answers here are short.
      seed: Of the shuffled pictures, the resamples and the examples.
      resamples: Bootstrap resamples of an interval.
      confidence: Share of the resamples inside an interval.
    """

    split: str = "test"
    max_new_tokens: int = 32
    seed: int = 0
    resamples: int = 1000
    confidence: float = 0.95


SKILLS: tuple[EvalTask, ...] = (
    EvalTask("shapes-caption", "captioning", "en"),
    EvalTask("digit-caption", "captioning", "en"),
    EvalTask("pair-caption", "captioning", "en"),
    EvalTask("video-caption", "captioning", "en"),
    EvalTask("flag-caption", "captioning", "en"),
    EvalTask("emoji-name", "captioning", "en"),
    EvalTask("shapes-options", "classification", "en", CHOICE),
    EvalTask("digit-in-box", "classification", "en", CHOICE),
    EvalTask("emoji-group", "classification", "en", CHOICE),
    EvalTask("shapes-vqa", "vqa", "en"),
    EvalTask("digit", "vqa", "en"),
    EvalTask("digit-parity", "vqa", "en"),
    EvalTask("digit-month", "knowledge_vqa", "en"),
    EvalTask("flag-country", "knowledge_vqa", "en"),
    EvalTask("flag-continent", "knowledge_vqa", "en"),
    EvalTask("flag-capital", "knowledge_vqa", "en"),
    EvalTask("pair-left", "reasoning", "en"),
    EvalTask("pair-right", "reasoning", "en"),
    EvalTask("pair-sum", "reasoning", "en"),
    EvalTask("pair-larger", "reasoning", "en"),
    EvalTask("two-sum", "reasoning", "en"),
    EvalTask("two-larger", "reasoning", "en"),
    EvalTask("dialogue", "generation", "en"),
    EvalTask("emoji-languages", "generation", "mul"),
    EvalTask("shapes-caption-zh", "chinese", "zh"),
    EvalTask("shapes-facts-zh", "chinese", "zh"),
    EvalTask("digit-zh", "chinese", "zh"),
    EvalTask("emoji-group-zh", "chinese", "zh"),
    EvalTask("emoji-name-zh", "chinese", "zh"),
    EvalTask("video-direction", "video", "en"),
    EvalTask("video-digit", "video", "en"),
    EvalTask("video-direction-zh", "video", "zh"),
)

FAMILIES: tuple[EvalTask, ...] = (
    EvalTask("captioning", "captioning", "en"),
    EvalTask("classification", "classification", "en", CHOICE),
    EvalTask("vqa", "vqa", "en"),
    EvalTask("knowledge_vqa", "knowledge_vqa", "en"),
    EvalTask("reasoning", "reasoning", "en"),
    EvalTask("generation", "generation", "mul"),
    EvalTask("chinese", "chinese", "zh"),
    EvalTask("video", "video", "mul"),
)

_SKILLS = {task.name: task for task in SKILLS}


def skill_of(instance: schema.Instance) -> str:
    """Returns the skill that a record asks for."""
    return str(instance.meta.get("skill") or instance.source)


def skill_task(name: str, *, family: str, language: str) -> EvalTask:
    """Returns the row of a skill; one with `METRICS` and the given family and language if the table has none."""
    return _SKILLS.get(name) or EvalTask(name, family, language)
