"""The step itself: a record and what translators said -> the record in another language, or why it is quarantined.

    Translation(...)(instance)     the changed record, from the store alone: a `copying.Change`

Nothing is asked here (`asking` does that), so a record does not depend on when its texts were translated.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from m3it_jax import languages, schema
from m3it_jax.dataset_building.specification import Rejected
from m3it_jax.dataset_building.translation import answers, masking, quality, texts
from m3it_jax.dataset_building.translation.judging import Judge
from m3it_jax.dataset_building.translation.store import Key, Store

# Raised when masking, sentences or scores change: two versions do not go into one folder.
VERSION = 1

_FIELDS = tuple(field.name for field in dataclasses.fields(schema.Instance) if field.name != "meta")


@dataclasses.dataclass(frozen=True)
class Translation:
    """Translates the records of one source into one language; picklable.

    Attributes:
      source: The language of the records.
      target: The language they get.
      name: The name of the source that they become.
      engine: `Engine.settings()` of the translator.
      cache: Folder of the store.
      bounds: What the scores may be.
      identifies: Whether the language of the answer is identified.
      is_back_translated: Whether the store holds back-translations, which are scored.
      judge: The model that scores translations; None asks none.
    """

    source: languages.Language
    target: languages.Language
    name: str
    engine: Mapping[str, Any]
    cache: pathlib.Path
    bounds: quality.Bounds
    identifies: bool = True
    is_back_translated: bool = False
    judge: Judge | None = None

    def __call__(self, instance: schema.Instance) -> schema.Instance | Rejected:
        """Returns the record in the other language, or why there is none."""
        if not is_in(instance, self.source):
            said = f"is in {instance.language}, not in {self.source.code}"
            return Rejected(_place(instance), "other-source-language", said)
        return self.changed(instance, _reader(self.cache))

    def key(self) -> Key:
        """Returns what makes the keys of translations."""
        return Key(self.engine, self.source.nllb, self.target.nllb)

    def back_key(self) -> Key:
        """Returns what makes the keys of back-translations."""
        return Key(self.engine, self.target.nllb, self.source.nllb)

    def settings(self) -> dict[str, Any]:
        """Returns what decides the step, for the provenance."""
        return {
            "translation_version": VERSION,
            "engine": dict(self.engine),
            "from": self.source.code,
            "to": self.target.code,
            "bounds": dataclasses.asdict(self.bounds),
            "identifies": self.identifies,
            "back_translated": self.is_back_translated,
            "judge": self.judge.settings() if self.judge else None,
        }

    def changed(self, instance: schema.Instance, store: Store) -> schema.Instance | Rejected:
        """Returns a record of the source's language as it becomes."""
        given = list(dict.fromkeys(texts.of(instance)))
        said = heard(given, lambda asked: look_up(store, self.key(), asked))
        found: dict[str, answers.Said] = {}
        for text in given:
            for segment in masking.cut(text).segments:
                found[segment] = found.get(segment) or answers.of_segment(segment, said)
        failed = next(((segment, one) for segment, one in found.items() if one.reason), None)
        if failed is not None:
            return Rejected(_place(instance), failed[1].reason, f"no translation into {self.target.code}: {failed[0]}")
        fields = texts.replaced(instance, functools.partial(whole, said=found))
        new = schema.Instance(
            id=f"{instance.id}-{self.target.code.lower()}",
            source=self.name,
            task=instance.task,
            language=self.target.code,
            images=instance.images,
            **fields,
        )
        return self._judged(instance, new, self._pair(found, store), marks={one.marks for one in found.values()})

    def _pair(self, found: Mapping[str, answers.Said], store: Store) -> quality.Pair:
        target = tuple(one.text for one in found.values())
        back: tuple[str, ...] = ()
        if self.is_back_translated:
            said = heard(target, lambda asked: look_up(store, self.back_key(), asked))
            back = tuple(
                " ".join(answers.of_segment(segment, said).text for segment in masking.cut(text).segments)
                for text in target
            )
        return quality.Pair(tuple(found), target, back)

    def _judged(
        self, old: schema.Instance, new: schema.Instance, pair: quality.Pair, *, marks: set[str]
    ) -> schema.Instance | Rejected:
        """Returns the new record with its scores, or that it is quarantined for one of them."""
        scores: dict[str, Any] = {
            "marks": next((one for one in (answers.PIECES, answers.KEPT) if one in marks), "none"),
            **quality.scores(pair, self.target, identifies=self.identifies),
        }
        if self.judge is not None and pair.source:
            scores |= self.judge.score(old, new)
        reason = quality.reason(scores, self.bounds, pair)
        if not reason and quality.merged(old.meta.get("options", ()), new.meta.get("options", ())):
            reason = "options-merged"
        about = {
            "engine": self.engine["name"],
            "from": self.source.code,
            "of": old.id,
            **scores,
            "weight": quality.weight(scores, self.bounds),
            "original": {name: getattr(old, name) for name in ("instruction", "inputs", "outputs")},
        }
        said = f"translated from {self.source.code} to {self.target.code} by {self.engine['name']}"
        changes = [*old.meta.get("changes", ()), said]
        made = _with_meta(new, {"translation": about, "changes": changes})
        if not reason:
            return made
        shown = {name: value for name, value in scores.items() if name not in ("marks", "judge_said")}
        text = ", ".join(f"{name} {value}" for name, value in shown.items())
        return Rejected(_place(old), reason, f"{text}: {' | '.join(pair.target)}"[:2000], made)


def _with_meta(instance: schema.Instance, more: Mapping[str, Any]) -> schema.Instance:
    fields: dict[str, Any] = {name: getattr(instance, name) for name in _FIELDS}
    fields["meta"] = {**instance.meta, **more}
    return schema.Instance(**fields)  # `dataclasses.replace` takes thrice as long


def is_in(instance: schema.Instance, language: languages.Language) -> bool:
    """Returns whether a record is in a language, whatever its region."""
    return instance.language == language.code or instance.language.split("-")[0] == language.code


def heard(given: Iterable[str], look: Callable[[Iterable[str]], dict[str, str]]) -> dict[str, str]:
    """Returns what is known of texts: of their masked segments and, where marks were lost, of their pieces."""
    given = list(given)
    said = look(answers.wanted(given))
    pieces = list(answers.wanted_pieces(given, said))
    return said | look(pieces) if pieces else said


def look_up(store: Store, key: Key, asked: Iterable[str]) -> dict[str, str]:
    """Returns what the store has of texts."""
    keys = {text: key(text) for text in asked}
    found = store.get(list(keys.values()))
    return {text: found[digest] for text, digest in keys.items() if digest in found}


def whole(text: str, said: Mapping[str, answers.Said]) -> str:
    """Returns a text put together from its translated segments."""
    cut = masking.cut(text)
    return cut.joined([said[segment].text for segment in cut.segments])


@functools.lru_cache(maxsize=4)
def _reader(cache: pathlib.Path) -> Store:
    return Store(cache, writes=False)


def _place(instance: schema.Instance) -> str:
    return str(instance.meta.get("origin") or instance.id)
