"""Asks a translator for everything that records need, in portions; what it says is in the store before the next one.

A portion's texts are asked in one batch, then those pieces whose marks got lost, then the back-translations; a note
says that it is done. Each batch is stored as a whole, and what is asked depends on what is stored alone, so that a run
which was killed goes on with the very batches it would have asked.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from m3it_jax import llm_client, schema
from m3it_jax.dataset_building.specification import Rejected
from m3it_jax.dataset_building.translation import answers, engines, masking, step, texts
from m3it_jax.dataset_building.translation.store import Key, Store

# CHOICE: records whose texts are asked together. Enough that texts of like length meet in a batch, and few enough that
# a kill loses less than a minute of a slow translator.
PORTION = 256


@dataclasses.dataclass
class Counts:
    """What was asked.

    Attributes:
      texts: Different texts that were needed, each counted once a portion.
      from_store: How many of these the store had.
      asked: How many the translator was asked.
      unanswered: How many it gave nothing for.
      problem: What happened to the last of these; empty if there is none.
    """

    texts: int = 0
    from_store: int = 0
    asked: int = 0
    unanswered: int = 0
    problem: str = ""

    def summary(self) -> dict[str, Any]:
        """Returns the numbers as JSON."""
        return dataclasses.asdict(self)


def ask(
    rows: Iterable[schema.Instance],
    steps: Sequence[step.Translation],
    engine: engines.Engine,
    *,
    store: Store,
    counts: Mapping[str, Counts],
    judge: llm_client.Client | None = None,
    on_record: Callable[[int], object] = lambda number: None,
    portion: int = PORTION,
) -> None:
    """Asks for records, for each of the steps; `counts` are those of each language's code.

    Raises:
      UserError: the translator cannot work at all.
      OSError: the store cannot be written.
    """
    waiting = iter(rows)
    while part := list(itertools.islice(waiting, portion)):
        part = [dataclasses.replace(row, images=()) if row.images else row for row in part]
        for each in steps:
            mine = [row for row in part if step.is_in(row, each.source)]
            if mine:
                _ask_part(mine, each, engine=engine, store=store, counts=counts[each.target.code])
            if judge is not None and each.judge is not None:
                _ask_judge(mine, each, judge=judge, store=store)
        on_record(len(part) * len(steps))


def _ask_part(
    rows: Sequence[schema.Instance],
    each: step.Translation,
    *,
    engine: engines.Engine,
    store: Store,
    counts: Counts,
) -> None:
    """Asks for one portion, unless the store has a note that all of it was answered before.

    The note is the number of its texts, under a hash of them all: a run that goes on finds whole portions by one key.
    """
    given = [text for row in rows for text in texts.of(row)]
    told = "".join([f"{len(text)}:{text}" for text in given])
    note = each.key()(f"portion {step.VERSION} {each.is_back_translated} {told}")
    known = store.get([note]).get(note)
    if known is not None:
        counts.texts += int(known)
        counts.from_store += int(known)
        return
    before = counts.texts, counts.unanswered
    different = dict.fromkeys(given)
    said = ask_texts(different, each, engine, store=store, counts=counts)
    if each.is_back_translated:
        _ask_back(different, said, each, engine=engine, store=store, counts=counts)
    if counts.unanswered == before[1]:
        store.put({note: str(counts.texts - before[0])})


def ask_texts(
    given: Iterable[str], each: step.Translation, engine: engines.Engine, *, store: Store, counts: Counts
) -> dict[str, str]:
    """Asks for the translation of texts and returns what was said to their segments and pieces."""

    def look(asked: Iterable[str]) -> dict[str, str]:
        translate = functools.partial(engine.translate, source=each.source, target=each.target)
        return _batch(asked, each.key(), translate, store=store, counts=counts)

    return step.heard(given, look)


def _ask_back(
    given: Iterable[str],
    said: Mapping[str, str],
    each: step.Translation,
    *,
    engine: engines.Engine,
    store: Store,
    counts: Counts,
) -> None:
    """Asks for the way back of every segment that has a translation."""

    def look(asked: Iterable[str]) -> dict[str, str]:
        translate = functools.partial(engine.translate, source=each.target, target=each.source)
        return _batch(asked, each.back_key(), translate, store=store, counts=counts)

    segments = dict.fromkeys(segment for text in given for segment in masking.cut(text).segments)
    found = (answers.of_segment(segment, said).text for segment in segments)
    step.heard(dict.fromkeys(filter(None, found)), look)


def _ask_judge(
    rows: Sequence[schema.Instance], each: step.Translation, *, judge: llm_client.Client, store: Store
) -> None:
    """Asks for the score of each record that has a translation; the client keeps the answers."""
    assert each.judge is not None  # the caller looked
    alone = dataclasses.replace(each, judge=None, is_back_translated=False, identifies=False)
    requests = []
    for row in rows:
        made = alone.changed(row, store)
        new = made.instance if isinstance(made, Rejected) else made
        if new is not None:
            requests.append((None, each.judge.request(row, new)))
    for _ in judge.answers(requests):
        pass


def _batch(
    asked: Iterable[str],
    key: Key,
    translate: Callable[[Sequence[str]], list[str | engines.Failure]],
    *,
    store: Store,
    counts: Counts,
) -> dict[str, str]:
    """Returns the translations of texts, after the translator was asked for those that the store lacks."""
    keys = {text: key(text) for text in asked}
    found = store.get(list(keys.values()))
    missing = [text for text, digest in keys.items() if digest not in found]
    counts.texts += len(keys)
    counts.from_store += len(keys) - len(missing)
    if missing:
        counts.asked += len(missing)
        fresh = {}
        for text, answer in zip(missing, translate(missing), strict=True):
            if isinstance(answer, engines.Failure):
                counts.unanswered += 1
                counts.problem = answer.text
            else:
                # A translator may say what is no UTF-8, and what no record may hold.
                fresh[keys[text]] = answer.encode("utf-8", "replace").decode("utf-8")
        store.put(fresh)
        found |= fresh
    return {text: found[digest] for text, digest in keys.items() if digest in found}
