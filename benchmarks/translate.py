"""What `m3it translate` costs around the translator: rows a second and memory, first asked, then from the store.

usage: python benchmarks/translate.py [--rows 1000000] [--folder DIR]

A row is a record as M3IT has them: one of ten instructions, a question that no other row has, an answer of a few words.
The translator is a dictionary that costs almost nothing, so what is measured is all else: texts cut and masked, keys,
the store, marks looked for. `asked` writes every text into an empty store, `kept` is the same run again, `made` puts
records together from the store, with their scores. One process, whose processor time counts; no pictures are read.
"""

import argparse
import itertools
import pathlib
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

import harness

from m3it_jax import languages, schema
from m3it_jax.dataset_building.translation import asking, quality, step
from m3it_jax.dataset_building.translation.store import Store

_INSTRUCTIONS = [f"Look at the picture and answer the question in {word}." for word in "a b c d e f g h i j".split()]
_COLOURS = ("red", "green", "blue", "black", "white", "yellow", "brown", "grey")
_THINGS = ("dog", "house", "car", "boat", "child", "table", "bridge", "train")
_MADE = 10  # one row of so many is made in the last pass: it writes nothing, and takes as long for each
GOALS = {"asked": 20_000, "kept": 50_000}
COLUMNS = (
    ("pass", "pass", ""),
    ("rows", "rows", ",.0f"),
    ("rows_s", "rows/s of processor time", ",.0f"),
    ("mb_tenth", "MB after a tenth", ",.0f"),
    ("mb_end", "MB at the end", ",.0f"),
)

_TURNED = str.maketrans("aeiou", "eioua")


class Dictionary:
    """A translator that turns vowels: as cheap as one can be that gives another text for each."""

    def settings(self) -> dict[str, str]:
        """Returns its name."""
        return {"name": "dictionary"}

    def check(self, source: languages.Language, target: languages.Language) -> None:
        """Refuses nothing."""

    def translate(self, texts: Sequence[str], source: languages.Language, target: languages.Language) -> list:
        """Returns each text with other vowels."""
        return [text.translate(_TURNED) for text in texts]


def _word(number: int) -> str:
    """Returns a word of letters for a number; a digit would be masked, and the questions would be the same."""
    letters = ""
    while True:
        letters += "bcdfghjklmnpqrst"[number % 16] + "aeio"[number // 16 % 4]
        number //= 64
        if not number:
            return letters.capitalize()


def rows(number: int) -> Iterator[schema.Instance]:
    """Yields records of text."""
    for index in range(number):
        colour, thing = _COLOURS[index % 8], _THINGS[index // 8 % 8]
        yield schema.Instance(
            f"toy-{index}",
            "toy",
            "vqa",
            "en",
            _INSTRUCTIONS[index % 10],
            f"What stands beside the {thing} of {_word(index)} in part {index % 7} of the {colour} picture?",
            f"a {colour} {thing}",
            (),
            {"text_only": True},
        )


def memory_mb() -> float:
    """Returns the resident memory of this process in MB."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def measure(number: int, folder: pathlib.Path) -> list[dict[str, Any]]:
    """Returns rows a second of processor time of each pass, and the memory at a tenth of it and at its end."""
    target = languages.find("de")
    engine, bounds = Dictionary(), quality.bounds(target, {})
    each = step.Translation(languages.ENGLISH, target, "toy-de", engine.settings(), folder, bounds, identifies=False)
    store = Store(folder, writes=True)

    def asked() -> Iterator[int]:
        seen: list[int] = []
        given = rows(number)
        while portion := list(itertools.islice(given, 10 * asking.PORTION)):
            asking.ask(portion, [each], engine, store=store, counts={"de": asking.Counts()}, on_record=seen.append)
            yield sum(seen)

    def made() -> Iterator[int]:
        for done, row in enumerate(rows(number // _MADE), 1):
            assert isinstance(each.changed(row, store), schema.Instance)
            if not done % 1000:
                yield done

    begin = time.process_time()
    for _ in rows(min(number, 100_000)):
        pass
    own = (time.process_time() - begin) / min(number, 100_000)  # seconds for a row that the benchmark itself takes
    found = [
        _passed("asked", asked(), number=number, own=own),
        _passed("kept", asked(), number=number, own=own),
        _passed("made", made(), number=number // _MADE, own=own),
    ]
    store.close()
    return found


def _passed(name: str, steps: Iterator[int], *, number: int, own: float) -> dict[str, Any]:
    begin, early = time.process_time(), 0.0
    for done in steps:
        if not early and done >= number / 10:
            early = memory_mb()
    seconds = time.process_time() - begin - own * number
    return {"pass": name, "rows": number, "rows_s": number / seconds, "mb_tenth": early, "mb_end": memory_mb()}


def main() -> int:
    """Measures, prints the table and returns 0 if the goals hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=pathlib.Path)
    args = parser.parse_args()
    machine = harness.machine()
    folder = args.folder or pathlib.Path(tempfile.mkdtemp(prefix="translate"))
    try:
        found = measure(args.rows, folder)
        size = (folder / "translations.sqlite").stat().st_size / 1e6
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    harness.finish("translate", machine=machine, references={"MB of the store": size}, columns=COLUMNS, rows=found)
    return 0 if all(row["rows_s"] >= GOALS.get(row["pass"], 0) for row in found) else 1


if __name__ == "__main__":
    sys.exit(main())
