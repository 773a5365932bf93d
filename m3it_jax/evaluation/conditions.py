"""The conditions under which a question is asked again: other words of the instruction, pictures made worse.

A condition has a name that stands as `variant` in predictions.jsonl, beside `own` and the controls:

    own                     the stored instruction, the pictures as they are
    reworded                an instruction of the same meaning that stands in no training pool
    corrupted-3             the pictures made worse, strength 3 of 5 (`corruptions.py`)
    reworded-corrupted-3    both
"""

import dataclasses
import importlib.resources
import json
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from m3it_jax import errors, prompts, rng
from m3it_jax.evaluation import controls

_NAME = re.compile(r"(reworded)?-?(?:corrupted-([1-5]))?")


@dataclasses.dataclass(frozen=True)
class Condition:
    """One condition: whether the instruction has other words, and how much worse pictures are (0: not at all)."""

    is_reworded: bool = False
    strength: int = 0

    @property
    def variant(self) -> str:
        """The name, as above."""
        words = ["reworded"] * self.is_reworded + [f"corrupted-{self.strength}"] * (self.strength > 0)
        return "-".join(words) or controls.OWN


def of(variant: str) -> Condition | None:
    """Returns the condition of a name; None for a control, which is none."""
    if variant == controls.OWN:
        return Condition()
    found = _NAME.fullmatch(variant)
    condition = Condition(bool(found[1]), int(found[2] or 0)) if found else None
    return condition if condition and condition.variant == variant else None


@dataclasses.dataclass(frozen=True)
class Wordings:
    """Instructions in other words: source -> those that stand in for its own. `path` is where they were read."""

    path: str
    pools: Mapping[str, tuple[str, ...]]

    def reworded(self, source: str, name: str, *, slots: Mapping[str, str], seed: int) -> str | None:
        """Returns the instruction that a record is asked with instead of its own, slots filled; None if there is none.

        Args:
          source: Of the record.
          name: Its id, which draws one of the pool.
          slots: Its texts for the slots of an instruction (`meta.slots`).
          seed: Of the draw.

        Raises:
          UserError: the instruction has a slot for which the record has no text.
        """
        pool = self.pools.get(source)
        if not pool:
            return None
        text = pool[int(rng.generator(seed, "wording", name).integers(len(pool)))]
        for slot in prompts.SLOT.findall(text):
            if slot not in slots:
                raise errors.UserError(f"{self.path}: {source}: {text!r} has a slot [{slot}] that record {name} lacks")
        return prompts.fill_slots(text, slots)


def read_wordings(path: pathlib.Path | None = None) -> Wordings:
    """Returns the wordings of a JSON file `{source: [instruction, ...]}`; by default those that ship, for every source.

    Raises:
      UserError: the file cannot be read or holds something else.
    """
    name = str(path or "the package's wordings")
    try:
        text = path.read_text("utf-8") if path else _shipped()
        found = json.loads(text)
    except OSError as error:
        raise errors.UserError(f"{name}: cannot be read ({error.strerror}); give --wordings a file") from error
    except ValueError as error:
        raise errors.UserError(f"{name}: is not JSON in UTF-8 ({error})") from error
    if not isinstance(found, dict) or not found:
        raise errors.UserError(f'{name}: must be an object such as {{"coco": ["Describe it."]}}')
    for source, pool in found.items():
        if not isinstance(pool, list) or not pool or not all(isinstance(each, str) and each.strip() for each in pool):
            raise errors.UserError(f"{name}: {source}={_short(pool)}: must be a list of at least one instruction")
    return Wordings(name, {source: tuple(pool) for source, pool in found.items()})


def check_unseen(wordings: Wordings, pools: Mapping[str, Sequence[str]]) -> None:
    """Checks that no wording is one that a model was trained with.

    Args:
      wordings: What is to be asked.
      pools: Instructions of the sources trained on.

    Raises:
      UserError: one is; the message names it and the source.
    """
    trained = {text: source for source, pool in pools.items() for text in pool}
    for source, pool in wordings.pools.items():
        for text in pool:
            if text in trained:
                raise errors.UserError(
                    f"{wordings.path}: {source}: {text!r} was trained with (source {trained[text]}); name another one"
                )


def _shipped() -> str:
    return (importlib.resources.files("m3it_jax.evaluation") / "unseen_wordings.json").read_text("utf-8")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
