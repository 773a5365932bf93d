"""What is known of each of the 40 sources, as text, as Markdown pages and as JSON; and a built set beside the paper."""

import collections
import json
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from m3it_jax import errors, licences, records, schema
from m3it_jax.dataset_building import sources
from m3it_jax.dataset_building.inspection import statistics
from m3it_jax.dataset_building.specification import Published, SourceSpec
from m3it_jax.dataset_building.steps import instructions
from m3it_jax.dataset_building.writing import rejections

_SPLITS = schema.SPLITS

# What the authors gave the paraphraser, in words; keys as in `Published.paraphrase`.
_PARAPHRASE = {
    "none": "Answers stay as the publisher has them.",
    "question": "The authors had short answers paraphrased from question and answer: `m3it paraphrase` does so.",
    "caption": "The authors had short answers paraphrased with the picture's caption: `m3it paraphrase` does so.",
    "ocr": "The authors had short answers paraphrased with the text in the picture: `m3it paraphrase` does so.",
}


_WITHHELD = (
    "the publisher keeps the answers, and nobody has said which ones the paper's rows have. Rows without an answer are "
    "set aside as `answer-withheld`, so the split is empty unless your files hold answers"
)


def published(spec: SourceSpec) -> Published:
    """Returns what is known of one of the 40 sources from paper and publisher."""
    assert spec.published is not None, spec.name  # every one of the 40 has it; a test says so
    return spec.published


def entry(spec: SourceSpec) -> dict[str, Any]:
    """Returns a source as `m3it sources --json` lists it."""
    known = published(spec)
    return {
        "name": spec.name,
        "task": spec.task,
        "language": spec.language,
        "licence": spec.licence,
        "terms": licences.terms(spec.licence),
        "citation": spec.citation,
        "url": spec.url,
        "held_out": known.held_out,
        "withheld": list(known.withheld),
        "counts": {split: known.counts.get(split, 0) for split in _SPLITS},
        "num_instructions": len(instructions.pool(spec.pool)),
    }


def table(specs: Iterable[SourceSpec]) -> str:
    """Returns the sources as aligned text, one line each."""
    rows: list[tuple[str, ...]] = [
        ("source", "task", "language", "train", "validation", "test", "in stage 2", "licence")
    ]
    for spec in specs:
        told = entry(spec)
        counts = (f"{told['counts'][split]:,}" for split in _SPLITS)
        use = "held out" if told["held_out"] else "used"
        rows.append((spec.name, spec.task, spec.language, *counts, use, spec.licence))
    return statistics.aligned(rows)


def page(spec: SourceSpec) -> str:
    """Returns the Markdown page of a source: what it is, what to fetch, which rows become records, what is unsure."""
    known = published(spec)
    told = entry(spec)
    lines = [f"# {spec.name}", "", f"{spec.citation}. <{spec.url}>", ""]
    lines += [
        f"- task: {spec.task}; language: {spec.language}; in the paper's second stage: "
        + ("held out" if known.held_out else "used"),
        f"- licence: {spec.licence} (allows: {told['terms']})",
        "- records in the paper: " + ", ".join(f"{split} {told['counts'][split]:,}" for split in _SPLITS),
        *(f"- {split}: {_WITHHELD}" for split in known.withheld),
        f"- version of this converter: {spec.version}",
        "",
        "## Original files",
        "",
        f"Put them into `RAW/{spec.name}/`, unpacked"
        + (f"; pictures may lie in `RAW/{'/`, `RAW/'.join(known.borrows)}/` instead" if known.borrows else "")
        + ".",
        "",
        "| path | what | where |",
        "|---|---|---|",
    ]
    for file in known.raw:
        where = f"<{file.url}>" if file.url else "by hand, see the address above"
        path = " or ".join(f"`{each}`" for each in (file.path, *file.instead))
        path += " (may be missing)" if file.optional else f" ({file.split} only)" if file.split else ""
        lines.append(f"| {path} | {_cell(file.what)} | {where} |")
    lines += ["", "## Which rows become records", "", known.selection, "", _PARAPHRASE[known.paraphrase], ""]
    if spec.known_problems:
        lines += [f"Known problems: {spec.known_problems}", ""]
    lines += ["## How sure this is", "", "The layout is known from:", ""]
    lines += [f"- {text}" for text in known.known_from]
    if known.unverified:
        lines += ["", "Not verified against the publisher's files:", ""]
        lines += [f"- {text}" for text in known.unverified]
    lines += ["", "## Instructions", ""]
    lines += [f"- {text}" for text in instructions.pool(spec.pool)]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def index() -> str:
    """Returns the Markdown page that lists all 40 sources."""
    lines = [
        "# The 40 sources",
        "",
        "Made by `m3it sources --pages docs/sources`; counts are the paper's (Table 7).",
        "",
    ]
    lines += ["| source | task | language | train | validation | test | licence | allows |"]
    lines += ["|---|---|---|--:|--:|--:|---|---|"]
    for name in sources.NAMES:
        told = entry(sources.load(name))
        counts = " | ".join(f"{told['counts'][split]:,}" for split in _SPLITS)
        link = f"[{name}]({name}.md)"
        cells = (link, told["task"], told["language"], counts, _cell(told["licence"]), told["terms"])
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def empty_splits(folder: records.DataFolder) -> Iterator[str]:
    """Yields a line for each split that the paper has and a built source has not, with the reason.

    Raises:
      UserError: what lies beside a source's records is damaged.
    """
    for name, info in folder.sources.items():
        counts = published(sources.load(name)).counts if name in sources.NAMES else {}
        absent = [split for split in _SPLITS if counts.get(split) and not info.splits.get(split)]
        if not absent:
            continue
        reasons = _rejected(folder.source_path(name))
        for split in absent:
            told = ", ".join(f"{reason} {number:,}" for reason, number in reasons[split].most_common())
            why = f"its rows were left out: {told}" if told else "the raw files hold no row of it, or are not there"
            if split in published(sources.load(name)).withheld:
                why += "; the publisher keeps the answers"
            yield f"{name}: {split} is empty (the paper has {counts[split]:,}): {why}"


def _rejected(folder: pathlib.Path) -> dict[str, collections.Counter[str]]:
    """Returns how many rows were left out, by split and reason."""
    found: dict[str, collections.Counter[str]] = {split: collections.Counter() for split in _SPLITS}
    try:
        with open(folder / rejections.REJECTED, encoding="utf-8") as file:
            for text in file:
                line = json.loads(text)
                found[line["split"]][line["reason"]] += 1
    except FileNotFoundError:  # a folder that was written without it has no such row
        pass
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise errors.UserError(f"{folder / rejections.REJECTED}: cannot be read ({error}); build it again") from error
    return found


def differences(folder: records.DataFolder) -> Iterator[tuple[str, str, int, int]]:
    """Yields (source, split, records in the folder, records in the paper) for each split of the built sources."""
    for name, info in folder.sources.items():
        if name not in sources.NAMES:
            continue
        wanted: Mapping[str, int] = published(sources.load(name)).counts
        for split in _SPLITS:
            yield name, split, info.splits.get(split, 0), wanted.get(split, 0)
