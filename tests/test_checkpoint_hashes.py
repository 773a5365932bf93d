import json
import os

import numpy as np
import pytest

from m3it_jax import checkpoint_hashes


@pytest.fixture
def folder(tmp_path):
    draw = np.random.default_rng(0)
    for name, size in {"params/d/0": 700, "params/manifest": 60, "opt_state/d/1": 900, "position/metadata": 40}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(draw.bytes(size))
    checkpoint_hashes.write(tmp_path)
    return tmp_path


def test_what_was_written_holds(folder):
    assert checkpoint_hashes.problem(folder) == ""
    assert sorted(json.loads((folder / "hashes.json").read_text())["files"]) == [
        "opt_state/d/1",
        "params/d/0",
        "params/manifest",
        "position/metadata",
    ]


def test_any_flipped_bit_is_named(folder):
    draw = np.random.default_rng(1)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sizes = np.array([path.stat().st_size for path in files])
    for _ in range(500):
        path = files[draw.choice(len(files), p=sizes / sizes.sum())]
        whole = path.read_bytes()
        bits = bytearray(whole)
        bits[draw.integers(len(bits))] ^= 1 << int(draw.integers(8))
        path.write_bytes(bits)
        found = checkpoint_hashes.problem(folder)
        # In the list itself a flip may turn one blank into another: then what it says is still true.
        if path.name != "hashes.json" or not _says_the_same(bits, whole):
            assert path.name in found or path.name == "hashes.json", found
            assert found
        path.write_bytes(whole)
    assert checkpoint_hashes.problem(folder) == ""


def _says_the_same(bits: bytes, whole: bytes) -> bool:
    try:
        return json.loads(bytes(bits)) == json.loads(whole)
    except ValueError:
        return False


def test_a_missing_cut_or_swapped_file_is_named(folder):
    first, second = folder / "params" / "d" / "0", folder / "opt_state" / "d" / "1"
    whole = first.read_bytes()
    first.write_bytes(whole[:-1])
    assert checkpoint_hashes.problem(folder).startswith("params/d/0 is damaged")
    assert checkpoint_hashes.problem(folder, "opt_state/") == ""
    first.write_bytes(second.read_bytes())
    assert checkpoint_hashes.problem(folder, "params/").startswith("params/d/0 is damaged")
    os.unlink(first)
    assert checkpoint_hashes.problem(folder) == "params/d/0 is missing"
    first.write_bytes(whole)
    assert checkpoint_hashes.problem(folder) == ""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "was cut off"),
        ("", "damaged"),
        ("[]", "damaged"),
        ('{"files": {}}', "damaged"),
        ('{"files": 3, "sha256": "0"}', "damaged"),
        ('{"files": {}, "sha256": "0"}', "damaged"),
    ],
)
def test_a_list_that_is_no_list_is_no_proof(folder, text, told):
    (folder / "hashes.json").unlink() if text is None else (folder / "hashes.json").write_text(text)
    assert told in checkpoint_hashes.problem(folder)
