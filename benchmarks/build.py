"""Rows and megabytes a second of building, importing and exporting, beside copying and `datasets`; memory over rows.

    python benchmarks/build.py [--megabytes 2000] [--rows 10000 100000 1000000] [--repeats 3] [--folder DIR]

Raw files are generated first: a JSONL of the released form with base64 photographs of about 500 KB, and the same
photographs as a raw folder of COCO. Every case is a program of its own with one worker, start included, and its
processor time counts with that of its children: what one core does. Beside them stand copying the same bytes, and
`datasets` reading the same JSONL and saving it (`load_dataset("json")`, `save_to_disk`). Of each case the best repeat
counts. Memory is the sum of the largest resident sizes of all its processes; it is looked at for imports of small rows
too, from few to many. Linux only.

Writes benchmarks/results/build.json. Takes about 15 minutes on two quiet cores and 8 times MEGABYTES of disk.
"""

import argparse
import base64
import contextlib
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import harness
import numpy as np
from PIL import Image

COLUMNS = (
    ("case", "case", ""),
    ("rows", "rows", ",.0f"),
    ("megabytes", "MB", ",.0f"),
    ("seconds", "seconds, best", ".1f"),
    ("core_seconds", "of processor, best", ".1f"),
    ("rows_per_core_s", "rows/s of one core", ",.0f"),
    ("megabytes_per_core_s", "MB/s of one core", ",.0f"),
    ("times", "times `datasets`", ".2f"),
    ("peak_megabytes", "MB resident, most", ",.0f"),
)

SIDES = (1000, 800)  # pixels; with the texture below a JPEG at quality 95 has about 500 KB
DIFFERENT = 32  # photographs drawn; each row's copy has a comment of its own, so that no two rows are alike

# What `datasets` needs to do the same reading and writing; its cache is a second copy, as for every user.
DATASETS = """
import sys, datasets
datasets.disable_progress_bars()
rows = datasets.load_dataset("json", data_files=sys.argv[1], split="train", cache_dir=sys.argv[2] + "/cache")
rows.save_to_disk(sys.argv[2] + "/saved")
"""
COPYING = """
import pathlib, shutil, sys
source, target = map(pathlib.Path, sys.argv[1:])
shutil.copytree(source, target, copy_function=shutil.copyfile) if source.is_dir() else shutil.copyfile(source, target)
"""


def photographs(number: int) -> Iterator[bytes]:
    """Yields JPEGs as a camera writes them: smooth, with a texture; each has a comment that tells its number."""
    rng, drawn = np.random.default_rng(0), []
    for each in range(number):
        if len(drawn) < DIFFERENT:
            coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8)).resize(SIDES, Image.Resampling.BICUBIC)
            texture = rng.normal(0.0, 16.0, (SIDES[1], SIDES[0], 1))
            buffer = io.BytesIO()
            picture = np.clip(np.asarray(coarse) + texture, 0, 255).astype(np.uint8)
            Image.fromarray(picture).save(buffer, "JPEG", quality=95)
            drawn.append(buffer.getvalue())
        data, comment = drawn[each % DIFFERENT], f"{each:08d}".encode()
        yield data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + data[2:]


def write_jsonl(path: pathlib.Path, megabytes: float) -> int:
    """Writes rows of the released M3IT form until the file has its size; returns their number."""
    with open(path, "w", encoding="utf-8") as file:
        for number, data in enumerate(photographs(1 << 31)):
            if file.tell() >= megabytes * 1e6:
                return number
            row = {
                "image_str": base64.b64encode(data).decode(),
                "question": f"What does photograph {number} show?",
                "answer": "a texture",
                "paraphrased_answer": f"Photograph {number} shows a texture.",
            }
            file.write(json.dumps(row) + "\n")
    raise AssertionError("the photographs have no end")


def write_coco(folder: pathlib.Path, number: int) -> int:
    """Writes a raw folder of COCO with one caption for each of `number` photographs; returns the pictures' bytes."""
    (folder / "coco" / "train2014").mkdir(parents=True)
    (folder / "coco" / "val2014").mkdir()
    images, size = [], 0
    for each, data in enumerate(photographs(number)):
        name = f"COCO_train2014_{each:012d}.jpg"
        (folder / "coco" / "train2014" / name).write_bytes(data)
        size += len(data)
        sentence = {"raw": f"Photograph {each} of a texture.", "tokens": [], "imgid": each, "sentid": each}
        images.append(
            {"filepath": "train2014", "filename": name, "cocoid": each, "imgid": each, "split": "train"}
            | {"sentences": [sentence], "sentids": [each]}
        )
    (folder / "coco" / "dataset_coco.json").write_text(json.dumps({"dataset": "coco", "images": images}), "utf-8")
    return size


def write_small(path: pathlib.Path, number: int) -> None:
    """Writes `number` rows with a picture of four pixels, each row with an answer of its own."""
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2), (200, 30, 30)).save(buffer, "PNG")
    picture = base64.b64encode(buffer.getvalue()).decode()
    with open(path, "w", encoding="utf-8") as file:
        for each in range(number):
            row = {"image_str": picture, "question": f"What is in place {each}?", "paraphrased_answer": f"Dot {each}."}
            file.write(json.dumps(row) + "\n")


def run(command: Sequence[object]) -> dict[str, float]:
    """Runs a program to its end and returns its seconds, those of its processors, and the largest resident size.

    Raises:
      CalledProcessError: the program failed.
    """
    begin = time.perf_counter()
    environment = os.environ | {"PYTHONPATH": str(harness.ROOT)}
    peaks, done = dict[int, float](), threading.Event()
    with subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, env=environment) as process:
        watcher = threading.Thread(target=watch, args=(process.pid, peaks, done))
        watcher.start()
        _, status, used = os.wait4(process.pid, 0)
        done.set()
        watcher.join()
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return {
        "seconds": time.perf_counter() - begin,
        "core_seconds": used.ru_utime + used.ru_stime,
        "peak_megabytes": sum(peaks.values()) or used.ru_maxrss * 1024 / 1e6,  # the latter where it ended at once
    }


def watch(pid: int, peaks: dict[int, float], done: threading.Event) -> None:
    """Notes the largest resident size so far, in MB, of a process and of each that it started, until `done`."""
    while not done.wait(0.1):
        family = [pid]
        for each in family:  # grows while it is walked over
            with contextlib.suppress(OSError, ValueError):  # it has ended
                family += map(int, pathlib.Path(f"/proc/{each}/task/{each}/children").read_text().split())
                lines = pathlib.Path(f"/proc/{each}/status").read_text().splitlines()
                (size,) = [line.split()[1] for line in lines if line.startswith("VmHWM")]
                peaks[each] = max(peaks.get(each, 0.0), int(size) * 1024 / 1e6)


def measured(commands: dict[str, list[object]], out: pathlib.Path, repeats: int) -> dict[str, dict[str, float]]:
    """Returns the best of each case: all in turn, every second round backwards; `out` is emptied before each."""
    best: dict[str, dict[str, float]] = {}
    for number in range(repeats):
        for name in list(commands)[:: -1 if number % 2 else 1]:
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            found = run(commands[name])
            print(f"{name}: {found['core_seconds']:.1f} s of processor, {found['seconds']:.1f} s", file=sys.stderr)
            if name not in best or found["core_seconds"] < best[name]["core_seconds"]:
                best[name] = found
    return best


def m3it(*words: object) -> list[object]:
    """Returns the command of a verb."""
    return [sys.executable, "-m", "m3it_jax", *words]


def rates(folder: pathlib.Path, megabytes: float, repeats: int) -> list[dict[str, Any]]:
    """Returns a row of the table for each case."""
    jsonl, raw, data, out = (folder / name for name in ("train.jsonl", "raw", "data", "out"))
    rows = write_jsonl(jsonl, megabytes)
    size, pictures = jsonl.stat().st_size / 1e6, write_coco(raw, rows) / 1e6
    source = ("--source", "okvqa", "--split", "train")
    run(m3it("import", "m3it", jsonl, "--out", data, "--jobs", 1, *source))
    (shard,) = (data / "okvqa").iterdir()
    stored = sum(path.stat().st_size for path in shard.iterdir()) / 1e6
    commands = {
        ("copying the JSONL", size): [sys.executable, "-c", COPYING, jsonl, out / "copy"],
        ("`datasets`: JSONL to its own folder", size): [sys.executable, "-c", DATASETS, jsonl, out],
        ("import of the JSONL", size): m3it("import", "m3it", jsonl, "--out", out / "data", "--jobs", 1, *source),
        ("copying the pictures", pictures): [sys.executable, "-c", COPYING, raw / "coco", out / "copy"],
        ("build of the pictures (coco)", pictures): m3it(
            "build", "coco", "--raw", raw, "--out", out / "data", "--jobs", 1
        ),
        ("copying the data folder", stored): [sys.executable, "-c", COPYING, data, out / "copy"],
        **{
            (f"export to {form}", stored): m3it("export", form, data, "--out", out / "export")
            for form in ("parquet", "jsonl", "webdataset")
        },
    }
    best = measured({name: command for (name, _), command in commands.items()}, out, repeats)
    reference = size / best["`datasets`: JSONL to its own folder"]["core_seconds"]
    table = []
    for name, megabytes in commands:
        rate = megabytes / best[name]["core_seconds"]
        row = {"case": name, "rows": rows, "megabytes": megabytes, "megabytes_per_core_s": rate}
        row |= {"rows_per_core_s": rows / best[name]["core_seconds"], "times": rate / reference, **best[name]}
        table.append(row)
    return table


def memory(folder: pathlib.Path, numbers: Sequence[int]) -> dict[str, float]:
    """Returns what an import of so many small rows takes, in words for the document."""
    told, first = {}, 0.0
    for number in numbers:
        path, out = folder / "train.jsonl", folder / "small"
        write_small(path, number)
        shutil.rmtree(out, ignore_errors=True)
        found = run(m3it("import", "m3it", path, "--out", out, "--jobs", 1, "--source", "okvqa"))
        print(f"{number} small rows: {found}", file=sys.stderr)
        first = first or found["peak_megabytes"]
        told[f"import of {number:,} small rows, MB resident, most"] = found["peak_megabytes"]
        told[f"import of {number:,} small rows, rows/s of one core"] = number / found["core_seconds"]
    if len(numbers) > 1:
        told[f"most memory at {numbers[-1]:,} rows to that at {numbers[0]:,}"] = found["peak_megabytes"] / first
    return told


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--megabytes", type=float, default=2000, help="size of the JSONL (default: 2000; 0 keeps the last result)"
    )
    parser.add_argument(
        "--rows",
        type=int,
        nargs="*",
        default=[10**4, 10**5, 10**6],
        help="small rows for the memory (none: keeps the last result)",
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=pathlib.Path, help="where to work (default: a temporary folder)")
    args = parser.parse_args()
    machine = harness.machine()
    earlier = {"rows": [], "references": {}}
    if (harness.RESULTS / "build.json").exists():
        earlier = json.loads((harness.RESULTS / "build.json").read_text("utf-8"))
    with tempfile.TemporaryDirectory(dir=args.folder) as temporary:
        folder = pathlib.Path(temporary)
        table = rates(folder, args.megabytes, args.repeats) if args.megabytes else earlier["rows"]
        references = memory(folder, args.rows) if args.rows else earlier["references"]
    harness.finish("build", machine=machine, references=references, columns=COLUMNS, rows=table)


if __name__ == "__main__":
    main()
