import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import nllb_model
import pytest
from built_folder import row
from in_process import Workers, count
from toy_translator import backwards

from m3it_jax import records
from m3it_jax.cli import main
from m3it_jax.dataset_building import workers
from m3it_jax.dataset_building.inspection import verification
from m3it_jax.llm_client import client as client_lib


def run(*arguments):
    return main.main([str(argument) for argument in arguments])


@pytest.fixture(autouse=True)
def in_process(monkeypatch):
    """Sources are written in this process: the tests of `copying` start real workers."""
    monkeypatch.setattr(workers, "Workers", Workers)
    monkeypatch.setattr(workers, "count", count)
    monkeypatch.setattr(client_lib, "_FIRST_WAIT_S", 0.01)


@pytest.fixture(scope="module")
def data(build_folder, tmp_path_factory):
    rows = [row("okvqa", f"What colour is dog {number} in {{place}}?", "(A) light brown") for number in range(6)]
    chinese = [row("own", "它是什么？", "狗", language="zh")]
    return build_folder(
        tmp_path_factory.mktemp("translate") / "data",
        {"okvqa": {"train": rows, "test": [row("okvqa", "Is it raining?", "no")]}, "own": {"train": chinese}},
    )


def text_of(body):
    return re.search(r"Text: (.*)\nTranslation:", body["messages"][0]["content"])[1]


def reply(body, number):
    if "Score:" in body["messages"][0]["content"]:
        return "80"
    return backwards(text_of(body))


@pytest.fixture
def arguments(data, tmp_path):
    def of(fake, *more, out=tmp_path / "out", codes=("de", "ig")):
        place = ("--translator", "endpoint", "--endpoint", fake.url, "--model", "toy", "--out", out, "--jobs", 1)
        return ("translate", data, "--languages", *codes, *place, "--language-id", "none", *more)

    return of


def rows_of(folder, source):
    opened = records.DataFolder.open(folder)
    tables = [opened.table(source, split) for split in opened.sources[source].splits]
    return sorted((table.read(number) for table in tables for number in range(len(table))), key=lambda row: row.inputs)


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_each_source_becomes_one_for_each_language(arguments, endpoint, tmp_path, capfd):
    fake = endpoint(reply)
    assert run(*arguments(fake, "--json", tmp_path / "told.json", "--keep-originals")) == 0
    out = tmp_path / "out"
    opened = records.DataFolder.open(out)
    assert list(opened.sources) == ["okvqa", "okvqa-de", "okvqa-ig", "own"]  # the paper's, not the user's own
    assert opened.sources["okvqa-de"].language == "de"
    assert opened.sources["okvqa-de"].instructions == ("rewsnA eht noitseuq.", "yaS tahw si deksa.")
    found = rows_of(out, "okvqa-ig")
    assert len(found) == 7 and found[-1].inputs == "tahW ruoloc si god 5 ni {place}?"
    assert {one.outputs for one in found} == {"(A) thgil nworb", "on"}
    assert all("{place}" in one.inputs for one in found if "god" in one.inputs)
    assert all(one.meta["translation"]["weight"] > 0.9 for one in found)
    assert verification.check_folder(out, on_record=lambda: None) == []
    told = json.loads((tmp_path / "told.json").read_text())
    assert told["languages"]["de"]["records"] == {"okvqa-de": 7} and told["asked"]["de"]["unanswered"] == 0
    shares = json.loads((out / "translation/mixture.json").read_text())
    assert set(shares) == {"okvqa-de", "okvqa-ig"} and sum(shares.values()) == pytest.approx(1)
    step = json.loads((out / "okvqa-de/1.0.0/provenance.json").read_text())["made_from"][-1]
    assert (step["step"], step["to"], step["engine"]["name"], step["rows"]) == ("translate", "de", "endpoint", 500)
    assert "Igbo" in (out / "translation/ig.html").read_text() and (out / "translation/index.html").is_file()
    assert "de (German): 7 translated, 0 quarantined" in capfd.readouterr().out


def test_a_rerun_asks_nothing_and_changes_nothing(arguments, endpoint, tmp_path):
    fake = endpoint(reply)
    assert run(*arguments(fake)) == 0
    before, asked = files(tmp_path / "out"), len(fake.bodies)
    assert run(*arguments(fake)) == 0
    assert files(tmp_path / "out") == before and len(fake.bodies) == asked


def test_bad_rows_are_quarantined_with_their_scores(arguments, endpoint, tmp_path, capfd):
    fake = endpoint(lambda body, number: text_of(body) if "raining" in text_of(body) else reply(body, number))
    bounds = tmp_path / "bounds.json"
    bounds.write_text(json.dumps({"*": {"most_copied": 0.3}}))
    assert run(*arguments(fake, "--bounds", bounds, codes=("de",))) == 0
    (line,) = map(json.loads, (tmp_path / "out/okvqa-de/1.0.0/rejected.jsonl").read_text().splitlines())
    assert line["reason"] == "copied" and line["split"] == "test" and line["id"].endswith("-de")
    assert "1 quarantined (copied 1)" in capfd.readouterr().out


def test_what_has_no_translation_stops_or_is_quarantined(arguments, endpoint, tmp_path, capfd):
    fake = endpoint(lambda body, number: (400, {}, b"no") if "raining" in text_of(body) else reply(body, number))
    assert run(*arguments(fake, codes=("de",))) == 1
    told = capfd.readouterr().err
    assert "1 text got no translation (HTTP 400 no)" in told and not (tmp_path / "out/m3it.json").exists()
    assert run(*arguments(fake, "--unanswered", "quarantine", codes=("de",))) == 0
    (line,) = map(json.loads, (tmp_path / "out/okvqa-de/1.0.0/rejected.jsonl").read_text().splitlines())
    assert line["reason"] == "no-answer" and "Is it raining?" in line["text"]


def test_a_model_may_score_every_row(arguments, endpoint, tmp_path):
    fake = endpoint(reply)
    assert run(*arguments(fake, "--judge-endpoint", fake.url, "--judge-model", "judge", codes=("de",))) == 0
    assert {one.meta["translation"]["judged"] for one in rows_of(tmp_path / "out", "okvqa-de")} == {80.0}
    assert {one.meta["translation"]["weight"] for one in rows_of(tmp_path / "out", "okvqa-de")} == {0.8, 0.759}


def test_a_dry_run_shows_what_would_be_asked(arguments, endpoint, tmp_path, capfd):
    fake = endpoint(reply)
    assert run(*arguments(fake, "--dry-run", "--limit", 2)) == 0
    told = capfd.readouterr().out
    assert "okvqa: 3 records into de, ig" in told and "  | What colour is dog [1] in [2]?" in told
    assert fake.bodies == [] and not list(tmp_path.iterdir())


def test_rows_are_drawn_with_the_seed(arguments, endpoint, tmp_path):
    fake = endpoint(reply)
    drawn = []
    for seed in (0, 0, 1, 2):
        out = tmp_path / f"out{len(drawn)}"
        assert run(*arguments(fake, "--rows", 3, "--seed", seed, out=out, codes=("de",))) == 0
        drawn.append([one.inputs for one in rows_of(out, "okvqa-de") if "god" in one.inputs])
    assert drawn[0] == drawn[1] and len(drawn[0]) == 3 and len(set(map(tuple, drawn))) > 1


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (("--languages", "xx"), 1, "language 'xx'"),
        (("--languages", "en"), 2, "nothing is left to translate into"),
        (("--sources", "none"), 1, "has no source 'none'"),
        (("--from", "fr", "--sources"), 2, "--sources"),
        (("--judge-model", "x"), 2, "--judge-endpoint"),
        (("--translator", "nllb", "--model", "nowhere"), 1, "nowhere"),
        (("--bounds", "none.json"), 2, "--bounds none.json"),
        (("--bleu", "none.json"), 1, "make it with `m3it languages bleu`"),
    ],
)
def test_a_mistake_is_told_in_one_line(arguments, endpoint, more, code, message, capfd):
    fake = endpoint(reply)
    try:
        assert run(*arguments(fake, *more)) == code
    except SystemExit as left:  # argparse's own
        assert left.code == code
    told = capfd.readouterr().err
    assert message in told and "Traceback" not in told and fake.bodies == []


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(arguments, endpoint, tmp_path):
    fake = endpoint(reply)
    assert run(*arguments(fake, out=tmp_path / "whole")) == 0
    begun = threading.Event()

    def slow(body, number):
        if number >= 6:
            begun.set()
            time.sleep(0.2)
        return reply(body, number)

    slowly = endpoint(slow)
    command = [sys.executable, "-m", "m3it_jax", *map(str, arguments(slowly, "--concurrency", 1))]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    assert begun.wait(60)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out/m3it.json").exists()
    before = len(slowly.bodies)
    again = endpoint(reply)
    assert run(*arguments(again)) == 0
    assert len(again.bodies) <= len(fake.bodies) - before + 1
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_a_model_of_ctranslate2_goes_the_same_way(data, tmp_path):
    pytest.importorskip("ctranslate2", reason="CTranslate2 is not installed (extra translate)")
    model = nllb_model.write(tmp_path / "nllb")
    bounds = tmp_path / "bounds.json"
    bounds.write_text(json.dumps({"*": {"most_length": 1e6, "most_repeated": 1.0, "most_copied": 1.0}}))
    place = ("--translator", "nllb", "--model", model, "--out", tmp_path / "out", "--bounds", bounds, "--jobs", 1)
    more = ("--unanswered", "quarantine", "--language-id", "none", "--back-translate")
    changed = json.loads(bounds.read_text())["*"] | {"least_back_chrf": 0, "least_length": 0}
    bounds.write_text(json.dumps({"*": changed}))
    assert run("translate", data, "--languages", "es", *place, *more) == 0
    found = rows_of(tmp_path / "out", "okvqa-es")
    rejected = (tmp_path / "out/okvqa-es/1.0.0/rejected.jsonl").read_text().splitlines()
    assert len(found) + len(rejected) == 7 and found
    for one in found:
        assert "back_chrf" in one.meta["translation"]
        assert set(re.findall(r"\d|{place}", one.meta["translation"]["original"]["inputs"])) <= set(
            re.findall(r"\d|{place}", one.inputs)
        )
