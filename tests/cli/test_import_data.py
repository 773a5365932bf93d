import base64
import json
import pathlib
import subprocess
import sys

import built_folder
import pytest

from m3it_jax import file_safety, records
from m3it_jax.cli import import_data, main
from m3it_jax.dataset_building import interchange


def m3it(*words: object) -> int:
    return main.main([str(word) for word in words])


@pytest.fixture
def released(tmp_path) -> pathlib.Path:
    """A released file with three sound rows, one that stands twice, and one that is cut off."""
    rows = []
    for number in (0, 1, 2, 2):
        picture = base64.b64encode(built_folder.picture(number)).decode()
        rows.append(json.dumps({"question": f"what is {number}?", "answer": str(number), "image_str": picture}))
    path = tmp_path / "okvqa_train.jsonl"
    path.write_text("\n".join([*rows, rows[0][:90]]))
    return path


def test_the_verb_offers_every_format():
    assert tuple(interchange.FORMATS) == import_data.FORMATS


def test_a_dry_run_tells_the_files_and_writes_nothing(released, tmp_path, capsys):
    assert m3it("import", "m3it", released, "--out", tmp_path / "out", "--dry-run") == 0
    told = capsys.readouterr()
    size = released.stat().st_size
    assert told.out == f"okvqa (knowledge_vqa, en): train from okvqa_train.jsonl, {size:,} bytes\n"
    assert not (tmp_path / "out").exists()


def test_files_that_may_hold_rows_and_are_not_read_are_told(released, tmp_path, capsys):
    folder = tmp_path / "set" / "okvqa"
    folder.mkdir(parents=True)
    released.rename(folder / "train.jsonl")
    for name in ("test.jsonl.gz", "val.parquet", "instructions.json", "README.md", "._test.jsonl"):
        (folder / name).write_text("[]" if name == "instructions.json" else "")
    (folder / "instructions.json").write_text('["Answer."]')
    assert m3it("import", "m3it", tmp_path / "set", "--out", tmp_path / "out", "--dry-run") == 0
    told = "m3it: not read, since format m3it has other files: okvqa/test.jsonl.gz, okvqa/val.parquet\n"
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("csv", "rows"), 2, "invalid choice: 'csv'"),
        (("m3it", "nothing.jsonl"), 1, "there is no such file or folder"),
        (("m3it", "{released}", "--source", "A b"), 1, "--source 'A b': must be lower case"),
        (("m3it", "{released}", "--source", "../x"), 1, "--source '../x': must be lower case"),
        (("m3it", "{released}", "--task", "vqas"), 2, "invalid choice: 'vqas'"),
        (("m3it", "{released}", "--max-bad", "2"), 2, "must be a number from 0 to 1"),
        (("llava", "{released}"), 1, "give --images FOLDER"),
        (("parquet", "{released}"), 1, "is no whole Parquet file"),
        (("m3it", "{released}", "--out", "{released}"), 1, "is no folder"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(released, tmp_path, capsys, words, code, told):
    words = [word.format(released=released) for word in words]
    try:
        found = m3it("import", "--out", tmp_path / "out", *words)
    except SystemExit as stop:
        found = stop.code
    line = capsys.readouterr().err
    assert found == code and told in line and line.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_an_import_is_told_with_what_was_left_out_and_is_not_made_twice(released, tmp_path, capsys):
    out = tmp_path / "out"
    assert m3it("import", "m3it", released, "--out", out, "--jobs", 1, "--json", tmp_path / "m.json") == 0
    told = capsys.readouterr()
    assert told.out == "okvqa (knowledge_vqa, en): train 3\n"
    assert "okvqa: 2 rows skipped (duplicate-id 1, not-json 1)" in told.err and "rejected.jsonl names each" in told.err
    folder = records.DataFolder.open(out)
    assert json.loads((tmp_path / "m.json").read_text()) == folder.manifest
    table = folder.table("okvqa", "train")
    assert {table.read(n).outputs for n in range(3)} == {f"The answer is {n}." for n in range(3)}
    rows = [json.loads(line) for line in (out / "okvqa" / "1.0.0" / "rejected.jsonl").read_text().splitlines()]
    assert {(row["place"], row["reason"]) for row in rows} >= {("okvqa_train.jsonl:5", "not-json")}
    assert not (out / ".building").exists() and m3it("check", out) == 0

    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.tfrecord*")}
    assert m3it("import", "m3it", released, "--out", out) == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.tfrecord*")} == before
    assert "nothing has changed, so nothing was built; unchanged:" in capsys.readouterr().err
    released.write_text(released.read_text().replace("what is 1?", "what is one?"))
    assert m3it("import", "m3it", released, "--out", out, "--jobs", 1) == 0
    assert "okvqa: what it is imported from has changed, so it was imported again" in capsys.readouterr().err
    assert "what is one?" in {records.DataFolder.open(out).table("okvqa", "train").read(n).inputs for n in range(3)}
    other = released.rename(released.with_name("okvqa_other_train.jsonl"))
    assert m3it("import", "m3it", other, "--source", "okvqa", "--out", out) == 1
    assert "was built with imported" in capsys.readouterr().err
    released = other.rename(released)

    with file_safety.held(out, doing="building", instead="folder"):
        assert m3it("import", "m3it", released, "--out", out) == 1
    assert "another process is building in this folder" in capsys.readouterr().err
    with file_safety.held(tmp_path / "export", doing="exporting", instead="folder"):
        assert m3it("export", "jsonl", out, "--out", tmp_path / "export") == 1
    assert "another process is exporting in this folder" in capsys.readouterr().err


def conversations(tmp_path, *rows) -> pathlib.Path:
    """A LLaVA file with one row for each (picture, answer), and the pictures beside it."""
    (tmp_path / "pics").mkdir(exist_ok=True)
    made = []
    for number, (picture, answer) in enumerate(rows):
        (tmp_path / "pics" / f"{number}.jpg").write_bytes(picture)
        said = [{"from": "human", "value": f"what is {number}?"}, {"from": "gpt", "value": answer}]
        made.append({"image": f"{number}.jpg", "conversations": said})
    (tmp_path / "rows.json").write_text(json.dumps(made))
    return tmp_path / "rows.json"


@pytest.mark.slow
def test_a_rerun_after_mending_takes_what_was_mended(tmp_path, capsys):
    rows = [(built_folder.picture(n), str(n)) for n in range(4)]
    path, out = conversations(tmp_path, *rows), tmp_path / "out"

    def run(images: str = "pics") -> tuple[str, set[str]]:
        words = ("import", "llava", path, "--images", tmp_path / images, "--out", out, "--jobs", 1)
        assert m3it(*words) == 0
        table = records.DataFolder.open(out).table("rows", "train")
        return capsys.readouterr().err, {table.read(number).id for number in range(len(table))}

    _, first = run()
    told, found = run()
    assert "nothing was built" in told and found == first
    (tmp_path / "pics" / "1.jpg").write_bytes(built_folder.picture(9))
    told, mended = run()
    assert "imported again" in told and len(mended - first) == 1 == len(first - mended)
    (tmp_path / "pics" / "1.jpg").touch()
    told, found = run()
    assert "its records are as before" in told and "unchanged:" in told and found == mended
    path.write_text(path.read_text().replace('"2"', '"7"'))  # as many bytes as before
    told, answered = run()
    assert "imported again" in told and len(answered - mended) == 1
    (tmp_path / "pics").rename(tmp_path / "moved")
    (tmp_path / "moved" / "3.jpg").write_bytes(built_folder.picture(8))
    assert len(run("moved")[1] - answered) == 1


@pytest.mark.slow
def test_a_stopped_import_tells_its_first_rows_and_keeps_the_list(tmp_path, capsys):
    path, out = conversations(tmp_path, *[(built_folder.picture(n), "") for n in range(5)]), tmp_path / "out"
    words = ("import", "llava", path, "--images", tmp_path / "pics", "--out", out, "--jobs", 1)
    assert m3it(*words) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("records:")]
    assert "5 of the first 5 rows are bad (empty-output 5)" in lines[1]
    assert lines[2] == "  left out: empty-output 5"
    assert [line.split(":")[0] for line in lines[3:6]] == [f"  rows.json[{n}]/1" for n in range(3)]
    kept = out / "rows" / "rejected.jsonl"
    assert lines[6] == f"  {kept} lists all of them"
    assert len(kept.read_text().splitlines()) == 5

    conversations(tmp_path, *[(built_folder.picture(n), "x" * (n > 0)) for n in range(5)])
    assert m3it(*words, "--max-bad", 0) == 1 and "1 of the first 5 rows are bad" in capsys.readouterr().err
    assert m3it(*words, "--max-bad", 0.1) == 1  # a given share is exact
    assert m3it(*words) == 0 and not kept.exists()
    assert m3it("check", out) == 0


MEASURED = """
import pathlib, sys
from m3it_jax.dataset_building import interchange
from m3it_jax.dataset_building.steps import pipeline
(spec,) = interchange.order("m3it", interchange.Request((pathlib.Path(sys.argv[1]),)), pathlib.Path("out")).specs
left_out = []
stream = pipeline.Stream(spec, {}, 0, on_rejected=lambda split, row: left_out.append(row))
kept = len(list(stream.instances("train")))
(peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(kept, [(row.place, row.reason) for row in left_out], int(peak) // 1024)
"""


@pytest.mark.slow
def test_a_line_of_200_mb_is_one_bad_row_and_never_held(released):
    rows = released.read_text().splitlines()
    with open(released, "w") as file:
        file.write(rows[0] + '\n{"image_str": "')
        for _ in range(200):
            file.write("A" * 1_000_000)
        file.write('"}\n' + rows[1] + "\n")
    done = subprocess.run([sys.executable, "-c", MEASURED, released], capture_output=True, text=True, check=True)
    kept, rest = done.stdout.split(" ", 1)
    told, peak = rest.rsplit(" ", 1)
    assert (kept, told) == ("2", "[('okvqa_train.jsonl:2', 'line-too-long')]")
    assert int(peak) < 400, "MB: more than a line of the longest kind and its copies"
