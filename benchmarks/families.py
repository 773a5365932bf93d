"""Every family in and out: import, certificate, two training steps, export, and what transformers makes of the export.

    M3IT_REFERENCE_PYTHON=... M3IT_REFERENCE_PYTHON_4=... python benchmarks/families.py [NAME ...]

The first interpreter has transformers 5, the second 4.57; a column whose interpreter is not named says so. Each family
is the small checkpoint with random weights of tests/golden/hf, which transformers wrote. Its import is verified against
it, and trained for two steps where its kind is trained here; the export of that run is certified and opened with
`from_pretrained`, asked about two pictures by its own processor, and its scores and greedy answers are compared with
ours. Figures are the largest difference of a score, as a share of the largest score where that is above 1. Writes
benchmarks/results/families.json, from which render.py makes the table of docs/weights.md; ten minutes on two cores.
With names (of tests/opened_folders.py), the other lines stay as they are.
"""

import argparse
import json
import os
import pathlib
import sys
import tempfile
from typing import Any

import harness

sys.path.insert(0, str(harness.ROOT / "tests"))

COLUMNS = (
    ("family", "family", ""),
    ("imported", "import", ""),
    ("verified", "verify", ""),
    ("trained", "train", ""),
    ("exported", "export", ""),
    ("opened_5", "opened by transformers 5.24", ""),
    ("opened_4", "opened by 4.57", ""),
    ("between", "two pictures differ by", ""),
)
INTERPRETERS = {"opened_5": "M3IT_REFERENCE_PYTHON", "opened_4": "M3IT_REFERENCE_PYTHON_4"}


def figure(told: dict[str, Any]) -> str:
    """Returns what a certificate says, in a cell."""
    if not told["ok"]:
        return told["problems"][0]
    logits = told["logits"]
    return f"{logits['max_abs_diff'] / max(1.0, logits['scale']):.0e}"


def row(name: str, place: pathlib.Path, data: pathlib.Path) -> dict[str, Any]:
    """Returns the line of one family."""
    import opened_folders

    from m3it_jax.checkpoint_conversion.certificate import certificate
    from m3it_jax.checkpoint_conversion.folders import exporting
    from m3it_jax.models import variants

    start = opened_folders.imported(name, place)
    line: dict[str, Any] = {"family": opened_folders.KINDS[name], "imported": "yes", "between": ""}
    whole = opened_folders.STORED / name
    is_whole = (whole / "config.json").is_file()
    line["verified"] = figure(certificate.verify(whole, start)) if is_whole else "no folder to compare with"
    checkpoint = start
    line["trained"] = "not here"
    if name in opened_folders.TRAINED:
        checkpoint = opened_folders.trained(start, place / "run", data=data)
        rows = (checkpoint / "metrics.jsonl").read_text("utf-8").splitlines()
        line["trained"] = "2 steps, loss " + ", ".join(f"{json.loads(one)['train/loss']:.2f}" for one in rows)
    folder = place / "exported"
    exporting.convert(exporting.plan(checkpoint), folder)
    line["exported"] = figure(certificate.verify(folder, checkpoint))
    asked = opened_folders.ask(folder, variants.read(checkpoint), opened_folders.pictures(place / "pictures"))
    for column, variable in INTERPRETERS.items():
        line[column] = f"{variable} is not set"
        if os.environ.get(variable):
            opened_folders.run(os.environ[variable], folder)
            found = opened_folders.compare(checkpoint, asked, *opened_folders.read(folder))
            line[column] = "; ".join(found.problems) or f"{found.difference:.0e}, answers equal"
            line["between"] = f"{found.between:.1f}"
    return line


def main() -> None:
    """Makes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", metavar="NAME", nargs="*", help="families to look at again (default: all)")
    import data_folder
    import opened_folders

    names = parser.parse_args().names or list(opened_folders.KINDS)

    machine = harness.machine()
    with tempfile.TemporaryDirectory() as scratch:
        place = pathlib.Path(scratch)
        data_folder.write_folder(place / "data", {"ones": [data_folder.instance("ones", one) for one in range(40)]})
        made = {opened_folders.KINDS[name]: row(name, place / name, place / "data") for name in names}
    file = harness.RESULTS / "families.json"
    before = json.loads(file.read_text("utf-8"))["rows"] if file.exists() else []
    made = {one["family"]: one for one in before} | made
    rows = [made[family] for family in opened_folders.KINDS.values() if family in made]
    harness.finish("families", machine=machine, references={}, columns=COLUMNS, rows=rows)


if __name__ == "__main__":
    main()
