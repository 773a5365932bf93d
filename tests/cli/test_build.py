import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from m3it_jax import errors, records
from m3it_jax.cli import main
from m3it_jax.dataset_building import sources

RAW = pathlib.Path(__file__).parents[1] / "fixtures" / "raw"
SOME = ("coco", "vqa-v2", "coco-cn")


def m3it(*words: object) -> int:
    return main.main([str(word) for word in words])


def test_a_source_that_does_not_exist_and_files_that_are_missing_are_told(tmp_path, capsys):
    assert m3it("build", "cocco", "--raw", RAW, "--out", tmp_path / "out") == 1
    assert "no source 'cocco'" in capsys.readouterr().err
    assert m3it("build", "coco", "--raw", tmp_path, "--out", tmp_path / "out") == 1
    told = capsys.readouterr().err
    assert "lacks coco/dataset_coco.json, coco/train2014/, coco/val2014/" in told and "m3it sources NAME" in told
    assert not (tmp_path / "out").exists()


def test_a_dry_run_writes_nothing(tmp_path, capsys):
    assert m3it("build", "coco", "--raw", RAW, "--out", tmp_path / "out", "--dry-run") == 0
    assert "coco: about 616767 records (captioning, en)" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("words", [("--max-bad", "2"), ("--frames", "some"), ("--allow", "all"), ("--x=1",)])
def test_wrong_options_are_refused(tmp_path, words):
    try:
        code = m3it("build", "coco", "--raw", RAW, "--out", tmp_path / "out", *words)
    except SystemExit as stop:
        code = stop.code
    assert code == 2 and not (tmp_path / "out").exists()


def test_what_the_licences_do_not_allow_is_left_out_and_told(tmp_path, capsys):
    assert m3it("build", "coco", "--raw", RAW, "--out", tmp_path / "out", "--allow", "commercial") == 1
    told = capsys.readouterr().err
    assert "captioning loses 616,767 of 616,767 records: coco (Custom" in told
    assert "no source that was named is under such a licence" in told


def files(folder: pathlib.Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}


@pytest.fixture(scope="module")
def every(tmp_path_factory) -> pathlib.Path:
    """All 40 sources, built from the fixtures in one go."""
    out = tmp_path_factory.mktemp("m3it") / "data"
    subprocess.run(
        [sys.executable, "-m", "m3it_jax", "build", "--raw", str(RAW), "--out", str(out), "--jobs", "2"], check=True
    )
    return out


@pytest.mark.slow
def test_all_forty_are_built_from_the_fixtures_and_sound(every, capsys):
    folder = records.DataFolder.open(every)
    assert set(folder.sources) == set(sources.NAMES)
    for name, info in folder.sources.items():
        counts = sources.load(name).published.counts
        assert set(info.splits) == {split for split, number in counts.items() if number}, name
        made = json.loads((folder.source_path(name) / "provenance.json").read_text())
        assert made["rejected"] == {} and made["raw"], name
        for split in info.splits:
            table = folder.table(name, split)
            for number in range(len(table)):
                meta = table.read(number).meta
                assert meta["licence"] and meta["version"] and meta["origin"], name
                assert meta.get("origin_split") or name == "iqa", name  # whose publisher has no splits
    assert m3it("check", every) == 0
    bill = json.loads((every / "bill_of_materials.json").read_text())
    assert [entry["source"] for entry in bill] == sorted(sources.NAMES)
    assert m3it("sources", "--check", every) == 1
    assert "-566743" in capsys.readouterr().out


@pytest.mark.slow
def test_tfds_opens_what_was_built(every):
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(str(every / "coco" / "1.0.0"))
    rows = list(builder.as_dataset(split="train").as_numpy_iterator())
    assert len(rows) == builder.info.splits["train"].num_examples == 4
    assert {row["source"] for row in rows} == {b"coco"}


@pytest.mark.slow
def test_kills_at_any_moment_change_nothing(every, tmp_path):
    out = tmp_path / "data"
    command = [sys.executable, "-m", "m3it_jax", "build", *SOME, "--raw", str(RAW), "--out", str(out), "--jobs", "1"]
    chance = random.Random(0)
    for _ in range(8 if "M3IT_LONG" in os.environ else 2):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(chance.uniform(0.2, 12))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert all((path / "provenance.json").exists() for path in out.glob("*/1.0.0"))
    subprocess.run(command, check=True, capture_output=True)
    for name in SOME:
        assert files(out / name) == files(every / name)


@pytest.mark.slow
def test_an_empty_split_is_told_with_its_reason(tmp_path, capsys):
    raw = tmp_path / "raw"
    for name in ("text-vqa", "st-vqa"):
        shutil.copytree(RAW / name, raw / name)
    file = raw / "text-vqa" / "TextVQA_0.5.1_test.json"
    content = json.loads(file.read_text())
    content["data"] = [{**row, "answers": []} for row in content["data"]]
    file.write_text(json.dumps(content))
    (raw / "st-vqa" / "test_task_3.json").unlink()
    assert m3it("build", "text-vqa", "st-vqa", "--raw", raw, "--out", tmp_path / "data", "--jobs", 1) == 0
    wanted = (
        "st-vqa: test is empty (the paper has 4,070): the raw files hold no row of it, or are not there; "
        "the publisher keeps the answers",
        "text-vqa: test is empty (the paper has 5,734): its rows were left out: answer-withheld 1; "
        "the publisher keeps the answers",
    )
    told = capsys.readouterr()
    assert told.err.splitlines()[-2:] == list(wanted) and "text-vqa (vqa, en): train 3\n" in told.out
    assert m3it("sources", "--check", tmp_path / "data") == 1
    assert set(wanted) <= set(capsys.readouterr().err.splitlines())
    (tmp_path / "data" / "text-vqa" / "1.0.0" / "rejected.jsonl").write_text("{")
    assert m3it("sources", "--check", tmp_path / "data") == 1
    assert "rejected.jsonl: cannot be read" in capsys.readouterr().err


@pytest.mark.slow
def test_more_sources_join_a_folder_and_other_settings_are_refused(every, tmp_path, capsys):
    assert m3it("build", "coco", "--raw", RAW, "--out", tmp_path / "data", "--jobs", 1) == 0
    before = files(tmp_path / "data" / "coco")
    assert m3it("build", "vqa-v2", "--raw", RAW, "--out", tmp_path / "data", "--jobs", 1) == 0
    assert set(records.DataFolder.open(tmp_path / "data").sources) == {"coco", "vqa-v2"}
    assert files(tmp_path / "data" / "coco") == before
    assert m3it("build", "coco", "--raw", RAW, "--out", tmp_path / "data", "--seed", 7) == 1
    assert "was built with seed 0, not 7" in capsys.readouterr().err


def test_nothing_of_a_source_is_wrong_in_the_ledger():
    for name in sources.NAMES:
        spec = sources.load(name)
        known = spec.published
        assert spec.name == name and known is not None
        assert spec.licence and spec.citation and spec.url and known.selection and known.known_from and known.raw
        assert (RAW / name).is_dir(), f"{name} has no fixture"
        assert (
            pathlib.Path(__file__).parents[1] / f"dataset_building/sources/test_{name.replace('-', '_')}.py"
        ).exists()
    with pytest.raises(errors.UserError):
        sources.load("nothing")


def test_allow_takes_the_words_joined_by_commas_or_apart(tmp_path, capsys):
    for words in (["--allow", "research,unknown"], ["--allow", "research", "unknown"]):
        assert m3it("build", *SOME, "--raw", RAW, "--out", tmp_path / "out", "--dry-run", *words) == 0
        assert "coco: about" in capsys.readouterr().out
    with pytest.raises(SystemExit) as left:
        m3it("build", "--raw", RAW, "--out", tmp_path / "out", "--allow", "research,free")
    assert left.value.code == 2
    assert "'free' must be one of commercial, research, unknown" in capsys.readouterr().err
