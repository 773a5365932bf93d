"""Rows a second of the input pipeline, beside Pillow decoding and resizing the same pictures in a plain loop.

    python benchmarks/input.py [--repeats 7]

Two folders are written first: 64-pixel PNGs at 64 pixels, and JPEGs of about 300 pixels a side at 224. The pipeline
reads records by offset, checks them, decodes, resizes, makes tokens and batches; the loop only decodes and resizes,
with one thread, from bytes in memory. Both are given in rows a second, and in rows a second of processor time: what
one core does. Writes benchmarks/results/input.json; under a minute on two quiet cores.
"""

import argparse
import io
import json
import pathlib
import tempfile
import time
from collections.abc import Callable, Sequence

import harness
import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw

from m3it_jax import prompts, records, schema, tokenizer
from m3it_jax.config import DataConfig
from m3it_jax.input_pipeline import pipeline, transforms

SOURCE = "pictures"
# name -> (pictures, size that the model takes, rows of a step, steps of one repeat)
CASES = {"64-pixel PNG to 64": (1024, 64, 64, 16), "300-pixel JPEG to 224": (256, 224, 32, 6)}

COLUMNS = (
    ("case", "pictures", ""),
    ("kilobytes", "kB of one", ".1f"),
    ("rows_per_s.max", "pipeline, rows/s, best", ",.0f"),
    ("rows_per_s.median", "median", ",.0f"),
    ("rows_per_s.min", "least", ",.0f"),
    ("rows_per_core_s.max", "of one core, best", ",.0f"),
    ("plain_per_s.max", "Pillow alone, rows/s, best", ",.0f"),
    ("plain_per_core_s.max", "of one core, best", ",.0f"),
    ("share", "pipeline to Pillow, of one core", ".2f"),
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


def make_cases(
    folder: records.DataFolder, pictures: Sequence[bytes], *, size: int, rows: int, steps: int
) -> tuple[Callable[[], None], Callable[[], None]]:
    """Returns (read `steps` batches of `rows` rows, decode and resize as many pictures in a plain loop)."""
    words = tokenizer.Tokenizer.load(folder.tokenizer_path)
    layout = transforms.Layout.of(words, prompts.YING_VLM, picture_len=8, max_text_len=64, max_response_len=32)
    source = pipeline.Pipeline(
        DataConfig(path=str(folder.path), global_batch_size=rows, max_images=rows),
        objective="response",
        layout=layout,
        image_size=size,
        seed=0,
        data_folder=folder,
        tokenizer=words,
    )
    start = 0

    def read() -> None:
        nonlocal start
        for _ in source.batches(start, steps):
            pass
        start += steps

    def decode() -> None:
        for number in range(rows * steps):
            with Image.open(io.BytesIO(pictures[number % len(pictures)])) as image:
                np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC))

    return read, decode


class Clocked:
    """A case that remembers the processor time of each of its runs, all threads together."""

    def __init__(self, case: Callable[[], None]):
        """Takes the case."""
        self._case, self.seconds = case, list[float]()

    def __call__(self) -> None:
        """Runs the case."""
        begin = time.process_time()
        self._case()
        self.seconds.append(time.process_time() - begin)


def rates(num_rows: int, seconds: Sequence[float]) -> dict[str, float]:
    """Returns the spread of rows a second over repeats of `num_rows` rows."""
    return harness.spread([num_rows / one for one in seconds])


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    machine = harness.machine()
    rng, draw = np.random.default_rng(0), dict(zip(CASES, (small_picture, photo), strict=True))
    cases: dict[str, Clocked] = {}
    sizes = {}
    with tempfile.TemporaryDirectory() as temporary:
        for number, (name, (count, size, rows, steps)) in enumerate(CASES.items()):
            pictures = [draw[name](rng) for _ in range(count)]
            sizes[name] = sum(map(len, pictures)) / count / 1e3
            folder = write_folder(pathlib.Path(temporary) / str(number), pictures)
            both = make_cases(folder, pictures, size=size, rows=rows, steps=steps)
            cases[f"{name} pipeline"], cases[f"{name} plain"] = map(Clocked, both)
        seconds = harness.interleave(cases, args.repeats)
    table = []
    for name, (_, _, rows, steps) in CASES.items():
        row = {"case": name, "kilobytes": sizes[name]}
        for kind, key in (("pipeline", "rows"), ("plain", "plain")):
            row[f"{key}_per_s"] = rates(rows * steps, seconds[f"{name} {kind}"])
            row[f"{key}_per_core_s"] = rates(rows * steps, cases[f"{name} {kind}"].seconds[1:])
        table.append({**row, "share": row["rows_per_core_s"]["max"] / row["plain_per_core_s"]["max"]})
    harness.finish("input", machine=machine, references={}, columns=COLUMNS, rows=table)


if __name__ == "__main__":
    main()
