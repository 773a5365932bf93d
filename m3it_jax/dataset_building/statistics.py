"""Counts, lengths, languages and pictures of written records."""

import collections
from typing import Any

from m3it_jax import schema


class Collector:
    """Adds up records one by one; `summary` is plain JSON, and summaries of parts can be merged.

    Attributes:
      count: Number of records so far.
    """

    def __init__(self) -> None:
        """Begins with nothing."""
        self.count = 0
        self._images = 0
        self._image_bytes = 0
        self._characters: collections.Counter[str] = collections.Counter()
        self._longest: collections.Counter[str] = collections.Counter()
        self._languages: collections.Counter[str] = collections.Counter()
        self._skills: collections.Counter[str] = collections.Counter()
        self._outputs: dict[str, collections.Counter[str]] = {}

    def add(self, instance: schema.Instance) -> None:
        """Counts one record."""
        self.count += 1
        self._images += len(instance.images)
        self._image_bytes += sum(map(len, instance.images))
        self._languages[instance.language] += 1
        skill = str(instance.meta.get("skill", instance.source))
        self._skills[skill] += 1
        self._outputs.setdefault(skill, collections.Counter())[instance.outputs] += 1
        for name in ("instruction", "inputs", "outputs"):
            length = len(getattr(instance, name))
            self._characters[name] += length
            self._longest[name] = max(self._longest[name], length)

    def summary(self) -> dict[str, Any]:
        """Returns the numbers; lengths in characters, `majority` is the share (0..1) of a skill's commonest answer."""
        skills = {
            skill: {
                "records": number,
                "answers": len(self._outputs[skill]),
                "majority": round(self._outputs[skill].most_common(1)[0][1] / number, 4),
            }
            for skill, number in sorted(self._skills.items())
        }
        texts = {
            name: {"mean": round(total / self.count, 2), "max": self._longest[name]}
            for name, total in self._characters.items()
        }
        return {
            "records": self.count,
            "images": self._images,
            "image_bytes": self._image_bytes,
            "languages": dict(sorted(self._languages.items())),
            "skills": skills,
            "characters": texts,
        }
