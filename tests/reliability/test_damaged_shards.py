"""R9: shards damaged in every way. The check names file, record and offset; repair keeps every sound record."""

import json
import os
import pathlib
import shutil

import numpy as np
import pytest

from m3it_jax import records
from m3it_jax.cli import main
from m3it_jax.dataset_building.inspection import verification
from m3it_jax.dataset_building.rewriting import repair

KINDS = ("truncate", "length", "data", "page", "junk")
NUM_RECORDS = 100
SHARD = "toys/1.0.0/m3it-train.tfrecord-00000-of-00001"


@pytest.fixture(scope="module")
def sound_folder(build_folder, tmp_path_factory) -> pathlib.Path:
    import built_folder

    rows = [built_folder.row("toys", f"question {number}", f"answer {number}") for number in range(NUM_RECORDS)]
    return build_folder(tmp_path_factory.mktemp("sound") / "data", {"toys": {"train": rows}})


def damaged(data: bytes, index: records.ShardIndex, kind: str, chance: np.random.Generator) -> tuple[bytes, list[int]]:
    """Returns the shard's bytes after damage, and the numbers of the records that it hit."""
    broken = bytearray(data)
    record = int(chance.integers(NUM_RECORDS))
    offset, length = int(index.offsets[record]), int(index.lengths[record])
    begin = end = len(data)
    if kind == "truncate":
        begin = int(chance.integers(offset, offset + length + 16))
        return data[:begin], list(range(record, NUM_RECORDS))
    if kind == "length":
        begin = offset + int(chance.integers(8))
        end = begin + 1
        broken[begin] ^= 1 << int(chance.integers(8))
    elif kind == "data":
        begin = offset + 12 + int(chance.integers(length))
        end = begin + 1
        broken[begin] ^= 1 << int(chance.integers(8))
    elif kind == "page":
        begin = int(chance.integers(len(data) - 4096)) // 512 * 512
        end = begin + 4096
        broken[begin:end] = bytes(4096)
    else:
        broken += chance.bytes(int(chance.integers(1, 200)))
    ends = index.offsets + index.lengths + 16
    return bytes(broken), np.flatnonzero((index.offsets < end) & (ends > begin)).tolist()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("block", range(4 if "M3IT_LONG" in os.environ else 1))
def test_every_damage_is_found_where_it_is_and_nothing_else_is_lost(sound_folder, kind, block):
    """Fifty shards of each kind; with M3IT_LONG set, two hundred of each: a thousand."""
    index = records.load_index(sound_folder / SHARD)
    data = (sound_folder / SHARD).read_bytes()
    ids = index.ids.tolist()
    check = verification.shard_problems
    for seed in range(50):
        chance = np.random.default_rng([KINDS.index(kind), block, seed])
        broken, hit = damaged(data, index, kind, chance)
        try:
            (sound_folder / SHARD).write_bytes(broken)
            problems = check(sound_folder, "toys", "train")
            found = list(repair.sound(sound_folder, "toys", "train"))
        finally:
            (sound_folder / SHARD).write_bytes(data)
        assert {problem["file"] for problem in problems} == {SHARD}
        if kind == "junk":
            assert [problem["offset"] for problem in problems] == [index.end()]
        else:
            places = {(problem["record"], problem["offset"]) for problem in problems}
            assert places == {(number, int(index.offsets[number])) for number in hit}
        kept = [row.id for row in found if hasattr(row, "id")]
        assert kept == [name for number, name in enumerate(ids) if number not in hit]
        lost = [row.place for row in found if not hasattr(row, "id")]
        named = [f"{SHARD} record {number} at byte {index.offsets[number]}" for number in hit]
        assert lost == (named if kind != "junk" else [f"{SHARD} at byte {index.end()}"])


def test_repair_copies_what_is_sound_and_lists_what_is_lost(sound_folder, tmp_path, capsys):
    folder = tmp_path / "data"
    shutil.copytree(sound_folder, folder)
    shard = folder / SHARD
    data = bytearray(shard.read_bytes())
    offsets = records.load_index(shard).offsets
    data[int(offsets[7]) + 3] ^= 1  # the length of record 7
    shard.write_bytes(bytes(data[: int(offsets[90]) + 5]))
    (folder / "m3it.json").write_text("{")
    records.index_path(shard).unlink()
    out, told = tmp_path / "out", tmp_path / "lost.json"
    assert main.main(["repair", str(folder), "--out", str(out), "--json", str(told), "--jobs", "1"]) == 0
    lost = json.loads(told.read_text())["lost"]
    assert [row["place"] for row in lost] == [f"{SHARD} at byte {offsets[number]}" for number in (7, 90)]
    assert "lost: toys" in capsys.readouterr().out
    assert main.main(["check", str(out)]) == 0
    wanted = records.DataFolder.open(sound_folder).table("toys", "train")
    repaired = records.DataFolder.open(out).table("toys", "train")
    assert set(repaired.ids) == {wanted.ids[number] for number in range(90) if number != 7}
    made = json.loads((out / "toys/1.0.0/provenance.json").read_text())
    assert made["made_from"][-1]["step"] == "repair"


def test_a_folder_of_which_nothing_is_left_is_told(tmp_path, capsys):
    (tmp_path / "data").mkdir()
    assert main.main(["repair", str(tmp_path / "data"), "--out", str(tmp_path / "out")]) == 1
    assert main.main(["repair", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.count("\n") == 2
