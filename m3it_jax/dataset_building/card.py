"""The card of a data folder, as Markdown."""

from collections.abc import Mapping
from typing import Any

_FIRST = "This is m3it-mini, a small stand-in: it is NOT the 2.4-million-instance M3IT (arXiv 2306.04387)."

_HOW = """
## How it was made

Every picture comes from a package that can be installed, or is drawn from such pictures; every question, answer and
instruction that a package does not hold was written by templates. Instructions are our own, at least ten for each
source. The text of the train split trained the vocabulary in `tokenizer.model`.

**Split by picture, never by question.** `meta.group` names the pictures a record is made of (several joined by `+`);
no part of a group is in two splits. easy-VQA's own test pictures are the test split. A pair, scene or video is of a
split only if all its digits are. Flags are split by drawing: train has flat ones, validation waved ones of our own,
test those of another artist; every country is in train.

`meta.captions` describes each picture for pre-training; `meta.attributes` labels the first one; the label tables in
`m3it.json` come from the train split alone. `meta.references` lists every right answer: countries that fly the same
flag stand together there.

Read it with `tfds.builder_from_directory("<this folder>/<source>/<version>")`; `m3it check` verifies every byte of it.
"""


def text(manifest: Mapping[str, Any], made: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns the card for a manifest and the provenance of its sources."""
    splits = ("train", "validation", "test")
    totals = [sum(source["splits"][split] for source in manifest["sources"].values()) for split in splits]
    lines = [_FIRST, "", f"# {manifest['name']}, edition {manifest['edition']}", ""]
    lines += [f"{totals[0]} records to train on, {totals[1]} to validate, {totals[2]} to test.", ""]
    lines += ["| source | version | task | language | train | validation | test |", "|---|---|---|---|---|---|---|"]
    for name, source in manifest["sources"].items():
        counts = " | ".join(str(source["splits"][split]) for split in splits)
        lines.append(f"| {name} | {source['version']} | {source['task']} | {source['language']} | {counts} |")
    lines += ["", "## Skills in the test split", ""]
    lines += ["| skill | source | records | different answers | commonest answer |", "|---|---|---|---|---|"]
    for name, source in sorted(made.items()):
        for skill, seen in source["statistics"]["test"]["skills"].items():
            share = f"{100 * seen['majority']:.1f} %"
            lines.append(f"| {skill} | {name} | {seen['records']} | {seen['answers']} | {share} |")
    lines += ["", "## Licences and sources", ""]
    lines += ["| source | licence | citation | where | known problems |", "|---|---|---|---|---|"]
    for name, source in sorted(made.items()):
        cells = (source[key] for key in ("licence", "citation", "url", "known_problems"))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n" + _HOW
