"""R10: mutated rows of the released JSONL. None stops the import, and kept + left out = rows in."""

import base64
import json
import os
import pathlib
import time

import built_folder
import numpy as np
import pytest

from m3it_jax.dataset_building import interchange
from m3it_jax.dataset_building.interchange import Request
from m3it_jax.dataset_building.steps import pipeline

NUM_ROWS = 100_000 if "M3IT_LONG" in os.environ else 10_000
PICTURE = base64.b64encode(built_folder.picture(1)).decode()


def row(number: int) -> bytes:
    """A row as the released OK-VQA files have it, each with a question of its own."""
    fields = {
        "instruction": "Answer.",
        "question": f"what is number {number}?",
        "answer": str(number),
        "paraphrased_answer": f"The answer is {number}.",
        "image_str": PICTURE,
    }
    return json.dumps(fields).encode()


def cut(line: bytes, chance: np.random.Generator) -> bytes:
    return line[: int(chance.integers(1, len(line)))]


def flip(line: bytes, chance: np.random.Generator) -> bytes:
    broken = bytearray(line)
    for place in chance.integers(0, len(line), 3):
        broken[place] = int(chance.integers(256))
    return bytes(broken).replace(b"\n", b" ").replace(b"\r", b" ") or b" x"


def retyped(line: bytes, chance: np.random.Generator) -> bytes:
    fields = json.loads(line)
    odd = [None, 3, -1e308, 10**400, True, [], {}, [1], {"a": 1}, "", " ", "\ud800", "a\0b", ["x", None], "x" * 10_000]
    fields[str(chance.choice(list(fields)))] = odd[int(chance.integers(len(odd)))]
    return json.dumps(fields).encode()


def dropped(line: bytes, chance: np.random.Generator) -> bytes:
    fields = json.loads(line)
    del fields[str(chance.choice(list(fields)))]
    return json.dumps(fields).encode()


def twice(line: bytes, chance: np.random.Generator) -> bytes:
    return b'{"answer": "other", ' + line[1:]


def deep(line: bytes, chance: np.random.Generator) -> bytes:
    return b'{"question": ' + b"[" * 5000


def number(line: bytes, chance: np.random.Generator) -> bytes:
    words = (b"NaN", b"Infinity", b"1" * 5000, b"1e999")
    return line.replace(b'"Answer."', words[int(chance.integers(len(words)))])


def picture(line: bytes, chance: np.random.Generator) -> bytes:
    broken = (
        b"!!!!",
        PICTURE[: len(PICTURE) // 2].encode(),
        b"data:text/html,hi",
        b"http://127.0.0.1:9/a.png",
        b"/etc/passwd",
    )
    return line.replace(PICTURE.encode(), broken[int(chance.integers(len(broken)))])


def same(line: bytes, chance: np.random.Generator) -> bytes:
    return line


MUTATIONS = (cut, flip, retyped, dropped, twice, deep, number, picture, same)


@pytest.fixture(scope="module")
def mutants(tmp_path_factory) -> pathlib.Path:
    file = tmp_path_factory.mktemp("fuzz") / "okvqa" / "train.jsonl"
    file.parent.mkdir()
    chance = np.random.default_rng(0)
    with open(file, "wb") as out:
        out.write(b"\xef\xbb\xbf")
        for line in range(NUM_ROWS):
            change = MUTATIONS[int(chance.integers(len(MUTATIONS)))]
            out.write(change(row(line), chance) + (b"\r\n" if line % 3 else b"\n"))
    return file


def test_no_mutant_stops_the_import_and_each_row_is_accounted_for(mutants, tmp_path):
    order = interchange.order("m3it", Request((mutants,), source="okvqa"), tmp_path / "out")
    (spec,) = order.specs
    left_out = []
    stream = pipeline.Stream(spec, order.folders, 0, on_rejected=lambda split, row: left_out.append(row))
    kept, slowest, begin = 0, 0.0, time.perf_counter()
    for _ in stream.instances("train"):
        kept += 1
        slowest, begin = max(slowest, time.perf_counter() - begin), time.perf_counter()
    assert kept + len(left_out) == NUM_ROWS
    assert kept > NUM_ROWS / len(MUTATIONS) * 0.9 and len(left_out) > NUM_ROWS / 3
    assert all(each.place and each.reason and each.text for each in left_out)
    assert len({each.reason for each in left_out}) >= 6
    lines = [each.place for each in left_out if "train.jsonl:" in each.place]
    assert len(lines) > 0.9 * len(left_out)
    assert slowest < 5  # no row hangs; a busy machine may pause
