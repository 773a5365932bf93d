"""A text model's score for a translation, without a reference: 0 (wrong) to 100 (says the same, as people say it)."""

import dataclasses
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from m3it_jax import languages, llm_client, schema

PROMPT_VERSION = 1
SAMPLING: Mapping[str, Any] = {"temperature": 0, "max_tokens": 16}

_PROMPT = (
    "Score a translation from {source} into {target}. 100: it says exactly the same in natural {target}. 50: the "
    "meaning is there, with mistakes. 0: wrong, unfinished or in another language. Option letters, numbers and names "
    "must be the same. Write one whole number from 0 to 100 and nothing else.\n\n{source}:\n{old}\n\n{target}:\n{new}"
    "\n\nScore:"
)
_NUMBER = re.compile(r"(?<![\d.])(\d{1,3})(?![\d.]*\d)")


@dataclasses.dataclass(frozen=True)
class Judge:
    """Scores records by a model's answers in a cache; picklable.

    Attributes:
      model: Name of the model at the endpoint.
      source: Language of the originals.
      target: Language of the translations.
      cache: Folder of the answers.
    """

    model: str
    source: languages.Language
    target: languages.Language
    cache: pathlib.Path

    def settings(self) -> dict[str, Any]:
        """Returns what decides the scores, as JSON."""
        return {"model": self.model, "sampling": dict(SAMPLING), "prompt": PROMPT_VERSION}

    def request(self, old: schema.Instance, new: schema.Instance) -> llm_client.Request:
        """Returns what is asked about a record and its translation."""
        prompt = _PROMPT.format(source=self.source.name, target=self.target.name, old=_text(old), new=_text(new))
        return llm_client.Request(self.model, (("user", prompt),), SAMPLING)

    def score(self, old: schema.Instance, new: schema.Instance) -> dict[str, Any]:
        """Returns `{"judged": 0..100}`, or nothing where the model gave no number."""
        answer = llm_client.Cache(self.cache).get(self.request(old, new))
        number = _NUMBER.search(answer.text) if answer is not None else None
        if number is None or int(number[1]) > 100:
            return {}
        return {"judged": float(number[1])}


def _text(instance: schema.Instance) -> str:
    return "\n".join(filter(None, (instance.instruction, instance.inputs, instance.outputs)))
