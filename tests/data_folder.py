"""A data folder of a few records, written without TFDS: two sources with one picture, one with two, one with eight."""

import collections
import io
import json
import types

import numpy as np
import pytest
from PIL import Image

from m3it_jax import prompts, records, schema, tokenizer
from m3it_jax.input_pipeline.rows import transforms
from m3it_jax.records import framing

SIZE = 16
NUM_PICTURES = {"ones": 1, "more-ones": 1, "pairs": 2, "films": 8}
COUNTS = {"ones": 40, "more-ones": 20, "pairs": 24, "films": 16}
POOL = ("What is this?", "Name the picture.", "Say what you see.")


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def instance(source: str, number: int, **changes) -> schema.Instance:
    num_images = NUM_PICTURES[source]
    fields = {
        "id": f"{source}-{number}",
        "source": source,
        "task": "captioning",
        "language": "en",
        "instruction": POOL[number % len(POOL)],
        "inputs": f"hint {number}",
        "outputs": f"a picture with number {number}",
        "images": tuple(picture(1000 * number + frame) for frame in range(num_images)),
        "meta": {
            "captions": [f"picture {number} frame {frame}" for frame in range(num_images)],
            "attributes": {"parity": "odd" if number % 2 else "even", "number": number % 5},
        },
    }
    return schema.Instance(**fields | changes)


def write_folder(path, sources) -> records.DataFolder:
    manifest = {"schema_version": schema.SCHEMA_VERSION, "name": "test", "edition": "base", "sources": {}}
    manifest["attributes"] = {"parity": ["even", "odd"], "number": [0, 1, 2, 3]}
    texts = []
    for name, instances in sources.items():
        (path / name / "1.0.0").mkdir(parents=True)
        for split in ("train", "validation"):
            shard = path / name / "1.0.0" / f"{name}-{split}.tfrecord-00000-of-00001"
            shard.write_bytes(b"".join(framing.frame(records.encode(record)) for record in instances))
            records.write_index(shard)
        for record in instances:
            texts.append(
                prompts.YING_VLM.prompt(record.instruction, record.inputs) + prompts.YING_VLM.response(record.outputs)
            )
            texts += record.meta.get("captions", [])
        facts = {"task": "captioning", "language": "en", "licence": "", "citation": "", "url": ""}
        splits = {"train": len(instances), "validation": len(instances)}
        most = max(1 + len(record.meta.get("turns", ())) for record in instances)
        languages = collections.Counter(record.language for record in instances)
        made = {
            "licence": "",
            "rejected": {},
            "known_problems": "",
            "statistics": {s: {"languages": languages, "conversations": {"most": most}} for s in splits},
        }
        (path / name / "1.0.0" / "provenance.json").write_text(json.dumps(made))
        manifest["sources"][name] = facts | {
            "version": "1.0.0",
            "splits": splits,
            "fingerprint": f"{name}-{len(instances)}",
            "instructions": list(POOL),
        }
    marks = [prompts.YING_VLM.picture_open, prompts.YING_VLM.picture_close] * 20
    tokenizer.train(texts + marks, path / "tokenizer.model", 400)
    manifest["tokenizer"] = {"file": "tokenizer.model", "sha256": ""}
    (path / "m3it.json").write_text(json.dumps(manifest))
    return records.DataFolder.open(path)


@pytest.fixture(scope="session")
def tiny() -> types.SimpleNamespace:
    """What tests need to make folders of their own, and to say what a record of the shared one holds."""
    names = {"SIZE": SIZE, "NUM_PICTURES": NUM_PICTURES, "COUNTS": COUNTS, "POOL": POOL}
    return types.SimpleNamespace(instance=instance, named=named, write_folder=write_folder, **names)


def named(record_id: str) -> schema.Instance:
    source, number = record_id.rsplit("-", 1)
    return instance(source, int(number))


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> records.DataFolder:
    sources = {name: [instance(name, number) for number in range(count)] for name, count in COUNTS.items()}
    return write_folder(tmp_path_factory.mktemp("data"), sources)


@pytest.fixture(scope="session")
def words(folder) -> tokenizer.Tokenizer:
    return tokenizer.Tokenizer.load(folder.tokenizer_path)


@pytest.fixture(scope="session")
def layout(words) -> transforms.Layout:
    return transforms.Layout.of(words, prompts.YING_VLM, picture_len=4, max_text_len=80, max_response_len=40)
