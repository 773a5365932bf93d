"""Counts, lengths, languages and pictures of written records."""

import collections
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from m3it_jax import licences, schema
from m3it_jax.dataset_building.inspection import instruction_report
from m3it_jax.dataset_building.steps import hashed


class Collector:
    """Adds up records one by one; `summary` is plain JSON, and summaries of parts can be merged.

    Attributes:
      count: Number of records so far.
    """

    def __init__(self, folder: pathlib.Path | None = None):
        """Takes a folder for what is too much for memory; None leaves it to the system."""
        self.count = 0
        self._folder = folder
        self._images = 0
        self._image_bytes = 0
        self._text_only = 0
        self._characters: collections.Counter[str] = collections.Counter()
        self._longest: collections.Counter[str] = collections.Counter()
        self._languages: collections.Counter[str] = collections.Counter()
        self._skills: collections.Counter[str] = collections.Counter()
        self._outputs: dict[str, hashed.Tally] = {}
        self._num_turns = 0
        self._conversations: collections.Counter[int] = collections.Counter()  # by their number of turns, above 1

    def add(self, instance: schema.Instance) -> None:
        """Counts one record."""
        self.count += 1
        self._images += len(instance.images)
        self._image_bytes += sum(map(len, instance.images))
        self._text_only += not instance.images
        self._languages[instance.language] += 1
        skill = str(instance.meta.get("skill", instance.source))
        self._skills[skill] += 1
        if skill not in self._outputs:
            self._outputs[skill] = hashed.Tally(self._folder)
        self._outputs[skill].add(instance.outputs)
        turns = schema.turns_of(instance)
        self._num_turns += len(turns)
        self._conversations.update([len(turns)] if len(turns) > 1 else [])
        for turn in turns:
            for name in ("instruction", "inputs", "outputs"):
                length = len(getattr(turn, name))
                self._characters[name] += length
                self._longest[name] = max(self._longest[name], length)

    def summary(self) -> dict[str, Any]:
        """Returns the numbers; `majority` is the share (0..1) of a skill's commonest answer.

        Lengths are in characters of a turn. `answers` and `majority` are of the records' own answers, the last ones of
        conversations. `text_only` is there if a record has no picture: how many have none. `conversations` is there if
        a record has several turns: how many do, and their turns.
        """
        skills = {}
        for skill, number in sorted(self._skills.items()):
            answers, most = self._outputs[skill].counts()
            skills[skill] = {"records": number, "answers": answers, "majority": round(most / number, 4)}
        texts = {
            name: {"mean": round(total / self._num_turns, 2), "max": self._longest[name]}
            for name, total in self._characters.items()
        }
        told = self._conversations
        conversations = {
            "records": told.total(),
            "turns": sum(turns * number for turns, number in told.items()),
            "most": max(told, default=1),
        }
        return {
            "records": self.count,
            "images": self._images,
            **({"text_only": self._text_only} if self._text_only else {}),
            "image_bytes": self._image_bytes,
            "languages": dict(sorted(self._languages.items())),
            "skills": skills,
            "characters": texts,
            **({"conversations": conversations} if told else {}),
        }


def report(manifest: Mapping[str, Any], sources: Mapping[str, Mapping[str, dict[str, Any]]]) -> dict[str, Any]:
    """Returns what `m3it stats` tells: the folder's name, its sources with the summary of each split, and totals."""
    totals: dict[str, collections.Counter[str]] = {"task": collections.Counter(), "language": collections.Counter()}
    for name, splits in sources.items():
        for summary in splits.values():
            totals["task"][manifest["sources"][name]["task"]] += summary["records"]
            totals["language"].update(summary["languages"])
    return {
        "name": manifest["name"],
        "edition": manifest.get("edition", ""),
        "sources": {
            name: {key: manifest["sources"][name].get(key, "") for key in ("task", "language", "licence", "url")}
            | {"splits": splits}
            for name, splits in sources.items()
        },
        "totals": {name: dict(sorted(counts.items())) for name, counts in totals.items()},
        "instructions": instruction_report.report(
            {name: manifest["sources"][name].get("instructions", []) for name in sources}
        ),
    }


def table(told: Mapping[str, Any]) -> str:
    """Returns a report as aligned text: one line for each source and split, then the totals."""
    head = ("source", "split", "task", "records", "pictures", "kB", "inputs", "outputs", "longest")
    rows = [head]
    for name, source in told["sources"].items():
        for split, seen in source["splits"].items():
            lengths = [seen["characters"].get(field, {"mean": 0, "max": 0}) for field in ("inputs", "outputs")]
            sizes = f"{lengths[0]['mean']:.1f}", f"{lengths[1]['mean']:.1f}", str(lengths[1]["max"])
            counts = str(seen["records"]), str(seen["images"]), str(seen["image_bytes"] // 1000)
            rows.append((name, split, source["task"], *counts, *sizes))
    lines = [aligned(rows)]
    bank = told["instructions"]
    columns = ("instructions of", "number", "tokens", "edits", "openings", "verbs", "slots", "nearly alike", "forms")
    pools: list[tuple[str, ...]] = [columns]
    for name, pool in bank["pools"].items():
        forms = ", ".join(f"{form} {number}" for form, number in pool["forms"].items())
        length = f"{pool['length']['mean']} +- {pool['length']['std']}"
        numbers = (pool["instructions"], length, pool["distance"], pool["openings"], pool["verbs"])
        pools.append((name, *map(str, numbers), " ".join(pool["slots"]) or "-", str(len(pool["nearly_alike"])), forms))
    if bank["pools"]:
        mean, std = bank["length"]["paper"]
        lines += ["", aligned(pools)]
        lines.append(
            f"{bank['different']} different instructions of {bank['length']['mean']} +- {bank['length']['std']} tokens "
            f"(the paper's 400: {mean} +- {std})"
        )
    for name, source in told["sources"].items():
        for split, seen in source["splits"].items():
            if texts := seen.get("text_only"):
                lines.append(f"text alone in {name}, {split}: {share(texts, seen['records'])}")
            if talks := seen.get("conversations"):
                number, turns = f"{talks['records']} of {seen['records']} records", f"{talks['turns']} turns"
                lines.append(f"conversations in {name}, {split}: {number}, {turns}, at most {talks['most']} in one")
    for name, counts in told["totals"].items():
        lines.append(f"records by {name}: " + ", ".join(f"{key} {number}" for key, number in counts.items()))
    return "\n".join(lines)


def share(part: int, records: int) -> str:
    """Returns how many of some records are meant, with their share of them."""
    return f"{part:,} of {records:,} records ({part / records:.1%})"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Returns rows of texts, all of one length, as columns of equal width; the last column is as long as it is."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return "\n".join(
        "  ".join((*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1])).rstrip()
        for row in rows
    )


def licence_report(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the licence and records of each source, and how many records of each task stand under which terms."""
    found: dict[str, Any] = {"sources": {}, "tasks": {}}
    for name, source in manifest["sources"].items():
        terms = licences.terms(source.get("licence", ""))
        number = sum(source["splits"].values())
        found["sources"][name] = {
            "task": source["task"],
            "licence": source.get("licence", "") or "unknown",
            "terms": terms,
            "records": number,
        }
        counts = found["tasks"].setdefault(source["task"], dict.fromkeys(licences.TERMS, 0))
        counts[terms] += number
    return found


def licence_table(told: Mapping[str, Any]) -> str:
    """Returns a licence report as aligned text: the sources, then the tasks."""
    rows = [("source", "task", "records", "allows", "licence")]
    rows += [
        (name, each["task"], f"{each['records']:,}", each["terms"], each["licence"])
        for name, each in told["sources"].items()
    ]
    tasks: list[tuple[str, ...]] = [("task", *licences.TERMS)]
    tasks += [(task, *(f"{counts[terms]:,}" for terms in licences.TERMS)) for task, counts in told["tasks"].items()]
    return f"{aligned(rows)}\n\n{aligned(tasks)}"
