"""Translators behind one small interface.

An engine takes single lines in one language and returns, for each, the line in another or why there is none:

    engine.settings()                       JSON that decides what it says; part of the key under which it is kept
    engine.check(source, target)            refuses languages that it cannot do, before any work
    engine.translate(texts, source, target) -> [text | Failure, ...], as many as were asked, in order.

Answers are kept by who asks, never by an engine.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from m3it_jax import languages


@dataclasses.dataclass(frozen=True)
class Failure:
    """A text without a translation; `text` says what happened in one line."""

    text: str


class Engine(Protocol):
    """A translator."""

    def settings(self) -> Mapping[str, Any]:
        """Returns what decides its translations, as JSON; `name` is among it."""
        ...

    def check(self, source: languages.Language, target: languages.Language) -> None:
        """Refuses a pair of languages that it cannot do.

        Raises:
          UserError: it cannot.
        """
        ...

    def translate(
        self, texts: Sequence[str], source: languages.Language, target: languages.Language
    ) -> list[str | Failure]:
        """Returns the translation of each text, or why there is none.

        Raises:
          UserError: it cannot work at all, so that asking on is of no use.
        """
        ...
