"""What is evaluated and how: one row for each skill, one for each family of the paper, and the settings that all share.

The skills of M3IT's sources stand in `m3it_tasks.py`. A record's skill is `meta.skill`, else the name of its source. A
skill without a row is scored with exact match and ROUGE-L under the record's own task as family, so an imported data
folder can be evaluated as it is.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from m3it_jax import errors, schema
from m3it_jax.evaluation import controls, m3it_tasks
from m3it_jax.evaluation.task_row import CHOICE, EvalTask


@dataclasses.dataclass(frozen=True)
class Protocol:
    """The settings of an evaluation; part of its identity.

    Attributes:
      split: Which records are answered.
      max_new_tokens: Longest answer in tokens; the paper's inference code allows 128, answers here are short.
      seed: Of the shuffled pictures, the resamples and the examples.
      resamples: Bootstrap resamples of an interval.
      confidence: Share of the resamples inside an interval.
      suite: Source -> the row that stands in place of its own; if there are any, these sources alone are asked, each in
        the split of its row.
    """

    split: str = "test"
    max_new_tokens: int = 32
    seed: int = 0
    resamples: int = 1000
    confidence: float = 0.95
    suite: Mapping[str, EvalTask] = dataclasses.field(default_factory=dict)

    def split_of(self, source: str) -> str:
        """Returns the split of a source that is asked; empty if the suite leaves the source out."""
        if not self.suite:
            return self.split
        return self.suite[source].split if source in self.suite else ""

    def resampled(self, groups: Sequence[str]) -> controls.Resamples:
        """Returns the resamples of the pictures (`group` of each line) from which intervals are drawn."""
        return controls.Resamples(groups, seed=self.seed, resamples=self.resamples, confidence=self.confidence)

    def task(self, name: str, *, family: str, language: str) -> EvalTask:
        """Returns the row of a skill: that of the suite, else `skill_task`."""
        return self.suite.get(name) or skill_task(name, family=family, language=language)


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

_SKILLS = m3it_tasks.BY_NAME | {task.name: task for task in SKILLS}


def skill_of(instance: schema.Instance) -> str:
    """Returns the skill that a record asks for."""
    return str(instance.meta.get("skill") or instance.source)


def skill_task(name: str, *, family: str, language: str) -> EvalTask:
    """Returns the row of a skill; if the tables have none, one of this family and language with the usual metrics."""
    return _SKILLS.get(name) or EvalTask(name, family, language)


def suite_entries(suite: Mapping[str, EvalTask]) -> list[dict[str, Any]]:
    """Returns the rows of a suite as JSON values, as the lock of an evaluation holds them."""
    return [dataclasses.asdict(task) | {"metrics": list(task.metrics)} for task in suite.values()]


def suite_of(lock: Mapping[str, Any]) -> dict[str, EvalTask]:
    """Returns the suite that an evaluation was made with, by its lock; empty if it was made without.

    Raises:
      UserError: the lock does not hold rows of a suite where they should be.
    """
    try:
        rows = [EvalTask(**entry | {"metrics": tuple(entry["metrics"])}) for entry in lock.get("suite", ())]
    except (TypeError, KeyError, errors.ConfigError) as error:
        raise errors.UserError(f"lock.json: suite is damaged ({error}); move the folder away") from error
    return {task.name: task for task in rows}
