"""Writes the tables of the documents from the JSON files of the benchmarks, so that no figure is typed.

    python benchmarks/render.py

A document has a place for each benchmark, between `<!-- begin NAME -->` and `<!-- end NAME -->`; the rest of it is
left alone. A benchmark without a result gets a line that says how to make one.
"""

import json
import pathlib
import re

import harness

DOCUMENTS = [harness.ROOT / "docs" / name for name in ("performance.md", "evaluation.md", "weights.md", "serve.md")]
_PLACE = re.compile(r"(<!-- begin (\w+) -->\n).*?(<!-- end \2 -->)", re.DOTALL)


def rendered(text: str, results: pathlib.Path) -> str:
    """Returns the document with every place filled from the results."""

    def fill(match: re.Match[str]) -> str:
        name = match[2]
        file = results / f"{name}.json"
        if not file.exists():
            return f"{match[1]}Not measured yet: `python benchmarks/{name}.py`.\n{match[3]}"
        return f"{match[1]}{harness.describe(json.loads(file.read_text('utf-8')))}\n{match[3]}"

    return _PLACE.sub(fill, text)


if __name__ == "__main__":
    for document in DOCUMENTS:
        document.write_text(rendered(document.read_text("utf-8"), harness.RESULTS), "utf-8")
        print(document)
