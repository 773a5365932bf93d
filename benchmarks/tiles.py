"""Does cutting pictures into tiles let a model read pages that are too small for its tower?

    python benchmarks/tiles.py RUN [--steps 150] [--records 3000] [--questions 400] [--seeds 1]

RUN is a finished quick start. Pages of 192 x 192 pixels are drawn by the code that draws the small edition: lines of
small print, and handwritten digits of 24 to 28 pixels on two of the lines. The tower reads 64 x 64 pixels, so that a
digit has 8 to 9 of them in the whole page; the towers never saw one below 24. Two questions are asked: which digit a
page with one has, and which one stands higher on a page with two.
The model of RUN is trained twice on the same pages for the same steps with configs/finetune.py, once on whole pages and
once with model.tiles=9 (9 tiles and the overview, 10 slots), and answers about pages of digits that no training page
has. Writes benchmarks/results/tiles.json, from which render.py makes the table of docs/evaluation.md. Some ten minutes
of one core with one seed.
"""

import argparse
import dataclasses
import json
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import harness

SIDE, LINES = 192, 6
ONE, TWO = "one-digit", "higher-of-two"
COLUMNS = (
    ("shown", "the model sees", ""),
    ("task", "question", ""),
    ("n", "n", ""),
    ("score", "exact match, 95 % interval", ""),
    ("blank", "with white pages", ""),
    ("slots", "pictures a record", ""),
    ("step_s", "seconds a step", ".2f"),
)


def page(digits: list[Any], generator: Any) -> tuple[Any, list[int]]:
    """Returns a page, uint8 [SIDE, SIDE, 3], and the line of each digit, from the top, rising."""
    from m3it_jax.dataset_building.mini import drawing

    ink, paper = drawing.colours(generator)
    picture = drawing.canvas(paper)[:1, :1].repeat(SIDE, axis=0).repeat(SIDE, axis=1)
    height = SIDE // LINES
    lines = sorted(generator.permutation(LINES)[: len(digits)].tolist())
    print_of = drawing.digits("train", 0)
    for line in range(LINES):
        for word in range(int(generator.integers(5, 9))):  # small print: digits of 5 pixels, that nobody can read
            left = word * 22 + int(generator.integers(0, 5))
            for letter in range(int(generator.integers(1, 4))):
                mark = print_of[int(generator.integers(len(print_of)))]
                drawing.put_digit(picture, mark, left=left + 5 * letter, top=line * height + 26, size=5, ink=ink)
    for line, digit in zip(lines, digits, strict=True):
        size = int(generator.integers(24, 29))
        left, top = int(generator.integers(0, SIDE - size)), line * height + int(generator.integers(0, 32 - size + 1))
        picture[top : top + size, left : left + size] = paper.round()
        drawing.put_digit(picture, digit, left=left, top=top, size=size, ink=ink)
    return picture, lines


def drafts(assets: Any, split: str, seed: int) -> Iterator[Any]:
    """Yields pages with one digit and with two, in turns."""
    from m3it_jax import rng
    from m3it_jax.dataset_building.mini import drawing
    from m3it_jax.dataset_building.specification import Draft

    generator = rng.generator(seed, "pages", split)
    found = drawing.digits(split, seed)
    number = 0
    while True:
        chosen = [found[i] for i in generator.choice(len(found), 1 + number % 2, replace=False)]
        picture, _ = page(chosen, generator)
        is_one = len(chosen) == 1
        yield Draft(
            skill=ONE if is_one else TWO,
            inputs="which digit is this?" if is_one else "which digit is higher?",
            outputs=str(chosen[0].value),
            images=(picture,),
            group="+".join(digit.group for digit in chosen),
            captions=("a page with the digits " + " and ".join(str(digit.value) for digit in chosen),),
        )
        number += 1


def build(out: pathlib.Path, records: int, questions: int) -> None:
    """Writes the data folder of pages."""
    from m3it_jax.dataset_building.specification import SourceSpec
    from m3it_jax.dataset_building.writing import edition
    from m3it_jax.dataset_building.writing.order import Order

    rows = {"train": records, "validation": 100, "test": questions}
    spec = SourceSpec("pages", "vqa", "en", "vqa/question", drafts, rows, licence="CC BY 4.0")
    order = Order(out, "pages", "base", (spec,), introduction="Drawn pages.")
    edition.carry_out(order, 1)


def m3it(*arguments: str) -> None:
    """Runs the program; its messages go to stderr."""
    command = [sys.executable, "-m", "m3it_jax", *arguments]
    subprocess.run(command, check=True, cwd=harness.ROOT, stdout=subprocess.DEVNULL)


@dataclasses.dataclass(frozen=True)
class Arm:
    """One way to show pages."""

    name: str
    tiles: int

    @property
    def slots(self) -> int:
        """Slots that a page takes."""
        return self.tiles + 1 if self.tiles > 1 else 1


ARMS = (Arm("the whole page", 1), Arm("9 tiles and the overview", 9))


def measure(arm: Arm, args: argparse.Namespace, *, seed: int, place: pathlib.Path) -> list[dict[str, Any]]:
    """Trains and evaluates one way; returns a line for each question."""
    run, batch = place / f"{arm.tiles}-{seed}", 12
    settings = {
        "data.path": place / "data",
        "init_from.all": args.run,
        "model.tiles": arm.tiles,
        "num_steps": args.steps,
        "seed": seed,
        "data.global_batch_size": batch,
        "data.max_images": batch * arm.slots,
        "data.max_text_len": 64,
        "data.max_response_len": 16,
        "validation.every": 0,
        "samples.every": 0,
        "checkpoint.every": args.steps,
    }
    begin = time.perf_counter()
    given = [f"--{name}={value}" for name, value in settings.items()]
    m3it("train", "configs/finetune.py", "--run-dir", str(run), *given)
    seconds = time.perf_counter() - begin
    rows, perf = (
        [json.loads(line) for line in (run / name).read_text("utf-8").splitlines()]
        for name in ("metrics.jsonl", "perf.jsonl")
    )
    steps = sorted(row["perf/step_s"] for row in perf)
    out = place / f"eval-{arm.tiles}-{seed}"
    m3it("eval", str(run), str(place / "data"), "--out", str(out), "--controls", "--max-new-tokens", "8")
    tasks = json.loads((out / "scores.json").read_text("utf-8"))["tasks"]
    print(f"{arm.name}, seed {seed}: {seconds:.0f} s", file=sys.stderr)
    found = []
    for task in (ONE, TWO):
        score = tasks[task]["exact_match"]
        found.append(
            {
                "shown": arm.name,
                "task": task,
                "seed": seed,
                "n": score["n"],
                "value": score["value"],
                "score": f"{score['value']:.1f} [{score['low']:.1f}, {score['high']:.1f}]",
                "blank": f"{score['controls']['blank']:.1f}",
                "slots": arm.slots,
                "step_s": steps[len(steps) // 2],
                "loss": rows[-1]["train/loss"],
            }
        )
    return found


def main() -> None:
    """Builds the pages, trains and evaluates both ways, and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=pathlib.Path, help="a finished quick start")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--records", type=int, default=3000)
    parser.add_argument("--questions", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--keep", type=pathlib.Path, help="a folder for pages and runs (default: one that is deleted)")
    args = parser.parse_args()
    args.run = args.run.absolute()
    machine = harness.machine()
    with tempfile.TemporaryDirectory() as folder:
        place = args.keep.absolute() if args.keep else pathlib.Path(folder)
        build(place / "data", args.records, args.questions)
        rows = [row for seed in range(args.seeds) for arm in ARMS for row in measure(arm, args, seed=seed, place=place)]
    references = {"steps of 12 pages": args.steps, "training pages": args.records}
    harness.finish("tiles", machine=machine, references=references, columns=COLUMNS, rows=rows)


if __name__ == "__main__":
    main()
