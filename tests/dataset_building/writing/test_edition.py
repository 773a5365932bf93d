import json
import os
import signal
import subprocess
import sys
import time

import pytest

from m3it_jax import errors, file_safety, records, schema
from m3it_jax.dataset_building import mini
from m3it_jax.dataset_building.writing import edition


def files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


def test_the_folder_is_as_the_interface_promises(built):
    opened = records.DataFolder.open(built)
    assert set(opened.sources) == {spec.name for spec in mini.EDITIONS["base"]}
    assert {info.task for info in opened.sources.values()} == set(schema.TASKS)
    for name, info in opened.sources.items():
        assert len(info.instructions) >= 10
        for split in schema.SPLITS:
            assert len(opened.table(name, split)) == info.splits[split] == 4
    assert (built / "README.md").read_text().splitlines()[0].count("NOT the 2.4-million-instance M3IT") == 1
    assert not (built / ".building").exists()


def test_no_code_of_ours_is_needed_to_read_it(built):
    import tensorflow_datasets as tfds

    reader = tfds.builder_from_directory(built / "video-caption" / "1.0.0")
    rows = list(tfds.as_numpy(reader.as_dataset(split="test")))
    assert len(rows) == 4
    table = records.DataFolder.open(built).table("video-caption", "test")
    wanted = {table.read(number).id: table.read(number) for number in range(4)}
    for row in rows:
        record = wanted[row["id"].decode()]
        assert tuple(row["images"]) == record.images and len(record.images) == 8
        assert row["outputs"].decode() == record.outputs
        assert json.loads(row["meta"]) == record.meta


def test_every_record_is_described_and_labelled(built):
    opened, labelled = records.DataFolder.open(built), set()
    assert opened.sources.keys() == {spec.name for spec in mini.EDITIONS["base"]}
    for name, info in opened.sources.items():
        table = opened.table(name, "train")
        assert len(table) == 4
        for number in range(len(table)):
            record = table.read(number)
            assert len(record.meta["captions"]) == len(record.images)
            assert record.instruction in info.instructions
            assert record.outputs in record.meta["references"]
            for attribute, value in record.meta.get("attributes", {}).items():
                assert value in opened.attributes[attribute]
                labelled.add(attribute)
    assert labelled == opened.attributes.keys()


def test_provenance_tells_what_was_made_and_from_what(built):
    made = json.loads((built / "digits-vqa" / "1.0.0" / "provenance.json").read_text())
    assert made["splits"] == {"train": 4, "validation": 4, "test": 4}
    assert made["seed"] == 0 and made["licence"] and made["citation"] and made["rejected"] == {}


def test_a_finished_folder_is_left_as_it_is(built):
    before = {path: path.stat().st_mtime_ns for path in built.rglob("*") if path.is_file()}
    edition.build(mini.order(built, "base", limit=4), jobs=1)
    after = {path: path.stat().st_mtime_ns for path in built.rglob("*") if path.is_file()}
    assert {path.name for path in before if before[path] != after[path]} <= {".lock"}


@pytest.mark.parametrize(
    ("change", "words"), [({"seed": 1}, "built with seed 0"), ({"limit": 5}, "built with limit 4")]
)
def test_a_folder_of_another_seed_or_limit_is_refused(built, change, words):
    with pytest.raises(errors.UserError, match=words):
        edition.build(mini.order(built, "base", **{"limit": 4} | change), jobs=1)


def test_two_builds_into_one_folder_are_refused(tmp_path):
    with file_safety.held(tmp_path, doing="building", instead="folder"):
        with pytest.raises(errors.UserError, match="another process is building"):
            edition.build(mini.order(tmp_path, "base", limit=4), jobs=1)


def test_a_folder_without_manifest_is_not_taken_for_whole(folder):
    (folder / records.MANIFEST).unlink()
    with pytest.raises(errors.UserError, match="is missing"):
        records.DataFolder.open(folder)


@pytest.mark.slow
def test_a_killed_build_goes_on_and_ends_the_same(built, tmp_path):
    out = tmp_path / "data"
    command = [sys.executable, "-m", "m3it_jax", "mini", str(out), "--limit", "4", "--jobs", "1"]
    for wanted in (1, 6, 17):  # finished sources at the moment of the kill
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and len(list(out.glob("*/1.0.0"))) < wanted:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        finished = list(out.glob("*/1.0.0"))
        assert len(finished) >= wanted and all((path / "provenance.json").exists() for path in finished)
    assert subprocess.run(command, capture_output=True).returncode == 0
    assert files(out) == files(built)
