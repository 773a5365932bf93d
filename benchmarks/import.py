"""Gigabytes a second and peak memory of `m3it weights import` and `export`, beside a plain copy of the same files.

    python benchmarks/import.py [--repeats 5] [--layers 4] [--place DIR]

A checkpoint of Ying-VLM's widths and few layers is drawn at random and written in Hugging Face layout, float16, in two
shards: 3.3 GB with the default of four language-model layers. The cases run in turn, each in a process of its own that
times its work alone (not the start of Python and JAX), waits until the bytes are on the disk, and tells its own peak
memory. `beyond what stays` is the peak less what the process held before the work; the goal is the two largest
tensors. Writes benchmarks/results/import.json; about 14 GB of disk and five minutes on two quiet cores.
"""

import argparse
import dataclasses
import json
import math
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence

import harness
import numpy as np

SHARDS = 2
COLUMNS = (
    ("case", "case", ""),
    ("gb_per_s.max", "GB/s, best", ".2f"),
    ("gb_per_s.median", "median", ".2f"),
    ("gb_per_s.min", "least", ".2f"),
    ("of_copy.median", "of the copy, median", ".2f"),
    ("of_copy.min", "least", ".2f"),
    ("processor_s.min", "s of processor, best", ".2f"),
    ("peak_mb", "peak memory, MB", ",.0f"),
    ("beyond_mb", "beyond what stays, MB", ",.0f"),
)


def memory(field: str) -> int:
    """Returns a field of this process' status in bytes: VmRSS, or VmHWM, its peak since it began."""
    lines = pathlib.Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def write_checkpoint(folder: pathlib.Path, num_layers: int) -> dict[str, int]:
    """Writes a random checkpoint and returns {key: bytes}."""
    from safetensors.numpy import save_file

    from m3it_jax.checkpoint_conversion.configs import hf_export
    from m3it_jax.checkpoint_conversion.names import families
    from m3it_jax.models import variants

    full = variants.VARIANTS["ying_vlm_13b"]
    variant = dataclasses.replace(
        full,
        vit=dataclasses.replace(full.vit, num_layers=2),
        qformer=dataclasses.replace(full.qformer, num_layers=2),
        decoder=dataclasses.replace(full.decoder, num_layers=num_layers, vocab_size=32_000),
    )
    entries = families.entries(variant)
    sizes = {entry.key: 2 * math.prod(entry.shape) for entry in entries}
    folder.mkdir()
    ids = hf_export.TokenIds(bos=1, eos=(2,), pad=0, image=full.decoder.vocab_size - 1)
    for name, values in hf_export.export_files(variant, ids, dtype="float16").items():
        (folder / name).write_text(json.dumps(values), "utf-8")
    noise = np.random.default_rng(0).normal(scale=0.02, size=1 << 20).astype(np.float16)
    weight_map, done = {}, 0
    groups: list[dict[str, np.ndarray]] = [{} for _ in range(SHARDS)]
    for entry in entries:
        number = min(done * SHARDS // sum(sizes.values()), SHARDS - 1)
        groups[number][entry.key] = np.resize(noise, entry.shape)
        done += sizes[entry.key]
    for number, tensors in enumerate(groups, 1):
        name = f"model-{number:05d}-of-{SHARDS:05d}.safetensors"
        save_file(tensors, folder / name, {"format": "pt"})
        weight_map |= dict.fromkeys(tensors, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}), "utf-8")
    return sizes


def copy(source: pathlib.Path, out: pathlib.Path) -> None:
    """Copies the files of a folder and waits until they are on the disk."""
    out.mkdir()
    for path in source.glob("*.safetensors"):
        shutil.copyfile(path, out / path.name)
        with open(out / path.name, "rb") as file:
            os.fsync(file.fileno())


def take_in(source: pathlib.Path, out: pathlib.Path) -> None:
    """Imports a folder."""
    from m3it_jax.checkpoint_conversion.folders import importing

    importing.convert(source, out)


def give_out(source: pathlib.Path, out: pathlib.Path) -> None:
    """Exports an imported folder."""
    from m3it_jax.checkpoint_conversion.folders import exporting

    exporting.convert(exporting.plan(source, shard_bytes=1_200_000_000), out)


WORK = {"copy": copy, "import": take_in, "export": give_out}


def work(name: str, source: pathlib.Path, out: pathlib.Path) -> None:
    """In the child: does the work and prints seconds, and bytes held before it and at most."""
    import time

    from m3it_jax.checkpoint_conversion.folders import exporting, importing  # noqa: F401  (loaded before the clock starts)

    before = memory("VmRSS")
    begin, used = time.perf_counter(), time.process_time()
    WORK[name](source, out)
    told = {"seconds": time.perf_counter() - begin, "processor": time.process_time() - used}
    print(json.dumps({**told, "before": before, "peak": memory("VmHWM")}))


class Child:
    """A case that runs in a process of its own and remembers what each told."""

    def __init__(self, name: str, source: pathlib.Path, out: pathlib.Path):
        """Takes the name in `WORK`, what is read and what is made."""
        self._arguments, self._out, self.told = (name, str(source), str(out)), out, list[dict[str, float]]()

    def __call__(self) -> None:
        """Runs the case on a quiet disk, and removes what it made."""
        os.sync()
        command = [sys.executable, __file__, "--work", *self._arguments]
        environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
        done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
        self.told.append(json.loads(done.stdout.splitlines()[-1]))
        shutil.rmtree(self._out)


def rows(cases: dict[str, Child], num_bytes: int) -> list[dict[str, object]]:
    """Returns the lines of the table; the first run of each case warmed the machine up and does not count."""
    copies = [told["seconds"] for told in cases["copy"].told[1:]]
    table: list[dict[str, object]] = []
    for name, case in cases.items():
        told = case.told[1:]
        table.append(
            {
                "case": name,
                "gb_per_s": harness.spread([num_bytes / 1e9 / one["seconds"] for one in told]),
                "of_copy": harness.spread([first / one["seconds"] for first, one in zip(copies, told, strict=True)]),
                "processor_s": harness.spread([one["processor"] for one in told]),
                "peak_mb": max(one["peak"] for one in told) / 1e6,
                "beyond_mb": max(one["peak"] - one["before"] for one in told) / 1e6,
            }
        )
    return table


def measure(place: pathlib.Path, repeats: int, num_layers: int) -> tuple[list[dict[str, object]], dict[str, float]]:
    """Returns the table and what was measured beside it."""
    sizes = write_checkpoint(place / "hf", num_layers)
    take_in(place / "hf", place / "ours")
    cases = {
        "copy": Child("copy", place / "hf", place / "copied"),
        "import": Child("import", place / "hf", place / "imported"),
        "export": Child("export", place / "ours", place / "exported"),
    }
    runs: dict[str, Callable[[], None]] = dict(cases)
    harness.interleave(runs, repeats)
    largest = sorted(sizes.values())[-2:]
    copies = [told["seconds"] for told in cases["copy"].told[1:]]
    references: dict[str, float] = {
        "checkpoint, GB": sum(sizes.values()) / 1e9,
        "two largest tensors, MB": sum(largest) / 1e6,
        "plain copy, seconds, median": statistics.median(copies),
    }
    return rows(cases, sum(sizes.values())), references


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--layers", type=int, default=4, help="layers of the language model, 0.63 GB each")
    parser.add_argument("--place", type=pathlib.Path, help="folder on the disk to measure (default: the system's)")
    parser.add_argument("--work", nargs=3, metavar=("CASE", "SOURCE", "OUT"), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.work:
        work(args.work[0], pathlib.Path(args.work[1]), pathlib.Path(args.work[2]))
        return
    machine = harness.machine()
    with tempfile.TemporaryDirectory(dir=args.place) as temporary:
        table, references = measure(pathlib.Path(temporary), args.repeats, args.layers)
    harness.finish("import", machine=machine, references=references, columns=COLUMNS, rows=table)


if __name__ == "__main__":
    main()
