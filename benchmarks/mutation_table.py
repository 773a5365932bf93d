"""results/mutation.json -> the tables of docs/testing.md: how many mutants each folder's and module's tests caught."""

import json
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

import mutation_plan as plan

DOCUMENT = plan.ROOT / "docs" / "testing.md"
RESULTS = plan.ROOT / "benchmarks" / "results" / "mutation.json"
BEGIN, END = "<!-- begin mutation -->", "<!-- end mutation -->"

# What was found before: faults put in by hand, then the first part of this run before anybody had looked at survivors.
BEFORE = (
    ("faults put in by hand, before most of today's tests (3 of 11 in `training`)", 57, 45),
    ("the first mutants, by the file of their module's name alone", 249, 177),
)

_LONGEST = 90  # letters of a survivor that are shown


def rendered(text: str, known: Mapping[str, Mapping[str, Any]], equivalent: Mapping[str, str]) -> str:
    """Returns the document with the tables between its marks."""
    before, rest = text.split(BEGIN)
    return "\n".join([before + BEGIN, "", *_tables(known, equivalent), "", END]) + rest.split(END)[1]


def _tables(known: Mapping[str, Mapping[str, Any]], equivalent: Mapping[str, str]) -> list[str]:
    asked = {key: found for key, found in known.items() if key not in equivalent}
    caught = sum(row["caught"] for row in asked.values())
    lines = ["| | faults | caught | share |", "|---|---:|---:|---:|"]
    for name, count, found in (*BEFORE, ("now", len(asked), caught)):
        lines.append(f"| {name} | {count} | {found} | {100 * found / max(count, 1):.0f} % |")
    lines += ["", "| folder | mutants | caught | share | wanted |", "|---|---:|---:|---:|---:|"]
    for folder in plan.FOLDERS:
        rows = [row for row in asked.values() if row["folder"] == folder.path]
        if rows:
            number = sum(row["caught"] for row in rows)
            share = 100 * number / len(rows)
            lines.append(f"| `{folder.path}` | {len(rows)} | {number} | {share:.0f} % | {folder.least} % |")
    lines.append(f"| all | {len(asked)} | {caught} | {100 * caught / max(len(asked), 1):.0f} % | |")
    lines += ["", "| module | mutants | caught | survivors |", "|---|---:|---:|---|"]
    for module in sorted({row["module"] for row in asked.values()}):
        rows = {key: row for key, row in asked.items() if row["module"] == module}
        left = "<br>".join(_shown(key) for key, row in rows.items() if not row["caught"])
        caught = sum(row["caught"] for row in rows.values())
        lines.append(f"| `{module.removeprefix('m3it_jax/')}` | {len(rows)} | {caught} | {left} |")
    lines += ["", f"Left out because no test can tell them from the original: {len(equivalent)}.", ""]
    lines += ["| mutant | why it is the same |", "|---|---|"]
    lines += [f"| {_shown(key, with_module=True)} | {reason} |" for key, reason in sorted(equivalent.items())]
    return lines


def _shown(key: str, *, with_module: bool = False) -> str:
    """Returns a mutant as code that does not end a cell."""
    module, rest = key.split(" ", 1)
    name = f"{pathlib.PurePath(module).name} {rest}" if with_module else rest
    before, after = name.split(" -> ", 1)
    sides = [side if len(side) <= _LONGEST else side[: _LONGEST - 3] + "..." for side in (before, after)]
    return "`" + " -> ".join(sides).replace("|", "¦").replace("`", "'") + "`"


def main() -> None:
    """Rewrites the document."""
    text = rendered(DOCUMENT.read_text("utf-8"), json.loads(RESULTS.read_text("utf-8")), plan.equivalent())
    DOCUMENT.write_text(text, "utf-8")
    print(f"{DOCUMENT.relative_to(plan.ROOT)} is up to date", file=sys.stderr)


if __name__ == "__main__":
    main()
