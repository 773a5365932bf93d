"""Pictures a second to batches of 224 pixels: the input pipeline beside other loaders, on one core and on two.

    python benchmarks/input.py [--repeats 5] [--rivals PYTHON] [--case NAME ...] [--reader NAME ...]

Three sets of files are written first. Each reader is a process of its own on as many cores as it may use; they take
turns, each reading all pictures once into uint8 batches of 32. PYTHON is an interpreter with whatever of torch,
transformers, datasets, webdataset, grain, spdl and litdata is to be compared, and this environment's Pillow (default:
this one); what is missing is told with its reason. The input pipeline does more than the others: it reads records by
offset, checks their checksums and makes tokens. Rates by time of the processor are those of a core that nobody else
uses. Writes benchmarks/results/input.json.
"""

import argparse
import io
import itertools
import json
import pathlib
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import harness
import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw

from m3it_jax import prompts, records, schema, tokenizer
from m3it_jax.config import DataConfig
from m3it_jax.input_pipeline import pipeline
from m3it_jax.input_pipeline.pixels import decoders, preprocessing
from m3it_jax.input_pipeline.rows import transforms

SOURCE = "pictures"
SERVER = harness.ROOT / "tests" / "reference" / "serve_pictures.py"  # the other readers, which need torch and more
SIDE, ROWS = 224, 32
COUNT = 96  # pictures of a case, each read once in a turn
OWN_EPOCHS = 8  # of a turn of the input pipeline, whose stream begins once in a run and not with each epoch
OURS, OURS_ALONE, PLAIN = "m3it_jax", "m3it_jax, decoding and resizing alone", "Pillow alone"
RIVALS = (PLAIN, "torch DataLoader", "transformers' processor", "datasets", "WebDataset", "grain", "SPDL", "LitData")

COLUMNS = (
    ("case", "pictures", ""),
    ("name", "read by", ""),
    ("one.pixels", "pixels of Pillow", ""),
    ("one.per_cpu_s.max", "pictures/s of processor time on one core, best", ",.0f"),
    ("one.per_cpu_s.median", "median", ",.0f"),
    ("one.to_loader", "to the DataLoader", ".2f"),
    ("one.to_plain", "to Pillow alone", ".2f"),
    ("one.per_s.max", "pictures/s on one core, best", ",.0f"),
    ("two.per_s.max", "on two cores, best", ",.0f"),
    ("two.per_s.median", "median", ",.0f"),
    ("two.per_cpu_s.max", "per second of processor time on two, best", ",.0f"),
)


def small_picture(rng: np.random.Generator) -> bytes:
    """Returns a PNG of 64 x 64 pixels with one shape, as the pictures of m3it-mini have."""
    colours = rng.integers(0, 256, (2, 3)).tolist()
    image = Image.new("RGB", (64, 64), tuple(colours[0]))
    left, top = rng.integers(0, 40, 2).tolist()
    ImageDraw.Draw(image).ellipse((left, top, left + 20, top + 24), fill=tuple(colours[1]))
    return encoded(image, "PNG")


def photo(rng: np.random.Generator) -> bytes:
    """Returns a JPEG with sides of 300 to 371 pixels: smooth, with a mild texture, as photographs are."""
    width, height = rng.integers(300, 372, 2).tolist()
    return textured(rng, width, height)


def large_photo(rng: np.random.Generator) -> bytes:
    """Returns a JPEG of 640 x 480 pixels, the size of COCO's."""
    return textured(rng, 640, 480)


def textured(rng: np.random.Generator, width: int, height: int) -> bytes:
    """Returns a smooth JPEG with a mild texture."""
    coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8)).resize((width, height), Image.BICUBIC)
    texture = rng.normal(0.0, 6.0, (height, width, 1))
    return encoded(Image.fromarray(np.clip(np.asarray(coarse) + texture, 0, 255).astype(np.uint8)), "JPEG")


def encoded(image: Image.Image, kind: str) -> bytes:
    """Returns a picture as a file's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, kind, quality=90)
    return buffer.getvalue()


def write_folder(path: pathlib.Path, pictures: Sequence[bytes]) -> records.DataFolder:
    """Returns a data folder with one record for each picture."""
    (path / SOURCE / "1.0.0").mkdir(parents=True)
    shard = path / SOURCE / "1.0.0" / f"{SOURCE}-train.tfrecord-00000-of-00001"
    with tf.io.TFRecordWriter(str(shard)) as writer:
        for number, picture in enumerate(pictures):
            instance = schema.Instance(
                id=f"{SOURCE}-{number}",
                source=SOURCE,
                task="captioning",
                language="en",
                instruction="Describe the picture in a few words.",
                inputs="",
                outputs=f"a picture with the number {number}",
                images=(picture,),
                meta={},
            )
            writer.write(serialized(instance))
    records.write_index(shard)
    texts = [
        prompts.YING_VLM.prompt("Describe the picture in a few words.", "") + "a picture with the number 0123456789"
    ]
    tokenizer.train(
        [*texts, prompts.YING_VLM.picture_open, prompts.YING_VLM.picture_close] * 20, path / "tokenizer.model", 320
    )
    source = {"version": "1.0.0", "task": "captioning", "language": "en", "splits": {"train": len(pictures)}}
    manifest = {
        "schema_version": schema.SCHEMA_VERSION,
        "sources": {SOURCE: {**source, "fingerprint": SOURCE, "instructions": []}},
        "tokenizer": {"file": "tokenizer.model", "sha256": ""},
    }
    (path / records.MANIFEST).write_text(json.dumps(manifest), "utf-8")
    return records.DataFolder.open(path)


def serialized(instance: schema.Instance) -> bytes:
    """Returns a record in the form of TFDS."""
    values = {
        name: value if isinstance(value, list) else [value.encode()]
        for name, value in records.to_features(instance).items()
    }
    features = {name: tf.train.Feature(bytes_list=tf.train.BytesList(value=value)) for name, value in values.items()}
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


DRAW = {
    "300-pixel JPEG": (photo, "jpg"),
    "640 x 480 JPEG": (large_photo, "jpg"),
    "64-pixel PNG": (small_picture, "png"),
}


def own(folder: pathlib.Path) -> Callable[[], Iterator[np.ndarray]]:
    """Returns one pass over a data folder by the input pipeline: records, checksums, tokens and pixels."""
    data = records.DataFolder.open(folder / "data")
    words = tokenizer.Tokenizer.load(data.tokenizer_path)
    layout = transforms.Layout.of(words, prompts.YING_VLM, picture_len=8, max_text_len=64, max_response_len=32)
    made = pipeline.Pipeline(
        DataConfig(path=str(data.path), global_batch_size=ROWS, max_images=ROWS),
        objective="response",
        layout=layout,
        image_size=SIDE,
        seed=0,
        data_folder=data,
        tokenizer=words,
    )
    steps = OWN_EPOCHS * COUNT // ROWS
    starts = itertools.count(0, steps)
    return lambda: (batch["images"] for batch in made.batches(next(starts), steps))


def alone(folder: pathlib.Path) -> Callable[[], Iterator[np.ndarray]]:
    """Returns one pass of decoding and resizing alone, in a plain loop, as the pipeline does it."""
    held = [path.read_bytes() for path in sorted((folder / "files").iterdir())]
    by = decoders.fastest()

    def batches() -> Iterator[np.ndarray]:
        for first in range(0, COUNT, ROWS):
            yield np.stack([preprocessing.decode_image(data, SIDE, by=by) for data in held[first : first + ROWS]])

    return batches


class Reader:
    """A process that reads all pictures once whenever it is asked."""

    def __init__(self, command: Sequence[str]):
        """Starts it and waits until it has read its first batch."""
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
        told = self._told("ready", "skipped")
        self.skipped = told.get("skipped", "")

    def _told(self, *keys: str) -> dict[str, Any]:
        for line in self._process.stdout:
            if line.startswith("{") and any(f'"{key}"' in line for key in keys):
                return json.loads(line)
        return {"skipped": "it ended without a word"}

    def read(self, *, check: bool = False) -> dict[str, Any]:
        """Returns what a pass took, and with `check` the sum of the pictures' checksums."""
        self._process.stdin.write("check\n" if check else "read\n")
        self._process.stdin.flush()
        return self._told("seconds", "skipped")

    def close(self) -> None:
        """Ends it."""
        self._process.stdin.close()
        self._process.terminate()
        self._process.wait()


def write_case(folder: pathlib.Path, name: str) -> None:
    """Writes the pictures of a case as files, as a tar and as a data folder."""
    draw, ending = DRAW[name]
    chance = np.random.default_rng(0)
    pictures = [draw(chance) for _ in range(COUNT)]
    (folder / "files").mkdir(parents=True)
    with tarfile.open(folder / "shard.tar", "w") as tar:
        for number, data in enumerate(pictures):
            (folder / "files" / f"{number:05d}.{ending}").write_bytes(data)
            info = tarfile.TarInfo(f"{number:05d}.{ending}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    write_folder(folder / "data", pictures)


def measure(
    folder: pathlib.Path, case: str, *, cores: int, repeats: int, python: str, names: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Returns each reader's rates by wall clock and by the processor's time, and whether its pixels are Pillow's."""
    here = pathlib.Path(__file__).resolve()
    readers = {}
    for name in names:
        mine = name in (OURS, OURS_ALONE)
        program = [sys.executable, str(here), "--serve"] if mine else [python, str(SERVER)]
        readers[name] = Reader([*program, name, str(folder), str(cores)])
        if readers[name].skipped:
            print(f"{case}, {cores} cores: {name} skipped: {readers[name].skipped}", file=sys.stderr)
    able = {name: reader for name, reader in readers.items() if not reader.skipped}
    checks = {name: (told := reader.read(check=True))["check"] / told["count"] for name, reader in able.items()}
    passes: dict[str, list[dict[str, Any]]] = {name: [] for name in able}
    for number in range(repeats):
        for name in list(able)[:: -1 if number % 2 else 1]:
            passes[name].append(able[name].read())
    for reader in readers.values():
        reader.close()
    found = {}
    for name, told in passes.items():
        found[name] = {
            "per_s": harness.spread([one["count"] / one["seconds"] for one in told]),
            "per_cpu_s": harness.spread([one["count"] / max(one["cpu"], 0.01) for one in told]),
            "pixels": "equal" if checks[name] == checks[PLAIN] else "others",
        }
    for seen in found.values():
        for key, other in (("to_loader", "torch DataLoader"), ("to_plain", PLAIN)):
            seen[key] = seen["per_cpu_s"]["max"] / found[other]["per_cpu_s"]["max"] if other in found else float("nan")
    return found


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rivals", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--case", action="append", choices=DRAW, help="one of the sets of files (default: all)")
    every = (OURS, OURS_ALONE, *RIVALS)
    parser.add_argument(
        "--reader", action="append", choices=every, help="one of the readers beside Pillow (default: all)"
    )
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        sys.path.append(str(SERVER.parent))
        import serve_pictures

        name, folder, cores = args.serve
        serve_pictures.keep_to(int(cores))
        serve_pictures.serve({OURS: own, OURS_ALONE: alone}[name](pathlib.Path(folder)))
        return
    machine = harness.machine()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for number, case in enumerate(args.case or DRAW):
            folder = pathlib.Path(temporary) / str(number)
            write_case(folder, case)
            names = [name for name in every if not args.reader or name in (*args.reader, PLAIN)]
            measured = {"repeats": args.repeats, "python": args.rivals, "names": names}
            one, two = (measure(folder, case, cores=cores, **measured) for cores in (1, 2))
            rows += [{"case": case, "name": name, "one": one[name], "two": two[name]} for name in one if name in two]
    shares = {
        f"{row['case']}: pictures/s on two cores to one, median": row["two"]["per_s"]["median"]
        / row["one"]["per_s"]["median"]
        for row in rows
        if row["name"] == OURS
    }
    harness.finish("input", machine=machine, references=shares, columns=COLUMNS, rows=rows)


if __name__ == "__main__":
    main()
