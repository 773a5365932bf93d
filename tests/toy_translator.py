"""A translator for tests: every word backwards, marks as they are; `spoil` may change what it says."""

import re
from collections.abc import Callable, Sequence

from m3it_jax import languages
from m3it_jax.dataset_building.translation import engines, quality, step


def backwards(text: str) -> str:
    """Marks stay, so do digits and signs; letters of each word turn round."""
    return re.sub(r"[^\W\d_]+", lambda found: found[0][::-1], text)


class Toy:
    def __init__(self, spoil: Callable[[str], object] = lambda text: backwards(text), name: str = "toy"):
        self.spoil, self.name = spoil, name
        self.batches: list[list[str]] = []

    def settings(self):
        return {"name": self.name}

    def check(self, source: languages.Language, target: languages.Language) -> None:
        pass

    def translate(self, texts: Sequence[str], source, target):
        self.batches.append(list(texts))
        return [self.spoil(text) for text in texts]

    @property
    def asked(self) -> list[str]:
        return [text for batch in self.batches for text in batch]


def step_for(engine: engines.Engine, cache, code: str = "de", **fields) -> step.Translation:
    target = languages.find(code)
    usual = {"name": f"toys-{code}", "bounds": quality.bounds(target, {}), "identifies": False}
    return step.Translation(languages.ENGLISH, target, engine=engine.settings(), cache=cache, **usual | fields)
