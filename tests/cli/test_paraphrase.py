import json
import os
import signal
import subprocess
import sys
import threading
import time
import types

import pytest
from built_folder import row
from fake_endpoint import completion
from in_process import Workers, count

from m3it_jax import llm_client, records
from m3it_jax.cli import main
from m3it_jax.dataset_building import sources, workers
from m3it_jax.dataset_building.inspection import verification
from m3it_jax.dataset_building.specification import Published
from m3it_jax.llm_client import client as client_lib

KEY = "sk-a-key-of-this-test"


def run(*arguments):
    return main.main([str(argument) for argument in arguments])


@pytest.fixture(autouse=True)
def published(monkeypatch):
    facts = {"held_out": False, "counts": {}, "raw": (), "selection": "", "known_from": ()}
    known = {"okvqa": Published(**facts, paraphrase="question"), "coco": Published(**facts)}
    monkeypatch.setattr(sources, "load", lambda name: types.SimpleNamespace(published=known[name]))
    monkeypatch.setattr(client_lib, "_FIRST_WAIT_S", 0.01)
    monkeypatch.setenv(llm_client.KEY_VARIABLE, KEY)


@pytest.fixture(scope="module")
def data(build_folder, tmp_path_factory):
    rows = [row("okvqa", f"What colour is dog {number}?", "brown") for number in range(5)]
    captions = [row("coco", "", "A dog.", task="captioning")]
    return build_folder(
        tmp_path_factory.mktemp("paraphrase") / "data",
        {"okvqa": {"train": rows, "test": [row("okvqa", "Is it raining?", "no")]}, "coco": {"train": captions}},
    )


def reply(body, number):
    question = body["messages"][0]["content"].splitlines()[-3]
    if "dog 1" in question:
        return "Sorry, I cannot say."
    return "The dog is brown." if "dog" in question else "It is not raining."


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def outputs(folder, source):
    opened = records.DataFolder.open(folder)
    tables = [opened.table(source, split) for split in opened.sources[source].splits]
    return sorted(table.read(number).outputs for table in tables for number in range(len(table)))


@pytest.fixture
def arguments(data, tmp_path):
    def of(fake, *more):
        place = ("--endpoint", fake.url, "--model", "toy", "--out", tmp_path / "out", "--jobs", 1)
        return ("paraphrase", data, *place, *more)

    return of


@pytest.fixture
def in_process(monkeypatch):
    """Sources are written in this process: the tests of `copying` start real workers."""
    monkeypatch.setattr(workers, "Workers", Workers)
    monkeypatch.setattr(workers, "count", count)


def test_short_answers_become_sentences_and_all_else_stays(arguments, endpoint, data, tmp_path, in_process, capfd):
    fake = endpoint(reply)
    assert run(*arguments(fake, "--json", tmp_path / "told.json", "--prices", 1, 2)) == 0
    out = tmp_path / "out"
    wanted = ["It is not raining.", "The answer is brown.", *["The dog is brown."] * 4]
    assert outputs(out, "okvqa") == sorted(wanted)
    assert files(out / "coco") == files(data / "coco")
    assert verification.check_folder(out, on_record=lambda: None) == []

    told = json.loads((tmp_path / "told.json").read_text())
    assert told["sources"]["okvqa"]["paraphrased"] == 5
    assert told["sources"]["okvqa"]["fallback"] == {"paper-phrase": 1}
    assert told["requests"] == 6 and told["tokens"] == {"prompt": 60, "answer": 30}
    assert told["cost"] == pytest.approx((60 * 1 + 30 * 2) / 1e6)
    (rejected,) = map(json.loads, (out / "paraphrase_rejected.jsonl").read_text().splitlines())
    assert (rejected["text"], rejected["reason"], rejected["split"]) == (
        "Sorry, I cannot say.",
        "paper-phrase",
        "train",
    )
    step = json.loads((out / "okvqa" / "1.0.0" / "provenance.json").read_text())["made_from"][-1]
    assert (step["step"], step["model"], step["sampling"]) == (
        "paraphrase",
        "toy",
        {"temperature": 0, "max_tokens": 200},
    )

    printed = capfd.readouterr()
    assert "okvqa: 5 paraphrased, 1 by template (paper-phrase 1)" in printed.out
    assert set(fake.keys) == {f"Bearer {KEY}"}
    assert not [name for name, data in files(tmp_path).items() if KEY.encode() in data]
    assert KEY not in printed.out + printed.err

    before = files(out)
    assert run(*arguments(fake)) == 0  # once more: nothing is asked, nothing changes
    assert len(fake.bodies) == 6 and files(out) == before


def test_a_run_that_was_stopped_goes_on_and_ends_with_the_same_bytes(arguments, endpoint, tmp_path, in_process, capfd):
    whole = arguments(endpoint(reply), "--out", tmp_path / "whole")
    assert run(*whole) == 0
    bad = threading.Event()
    fake = endpoint(lambda body, number: (500, {}, b"down") if bad.is_set() else reply(body, number))
    cache = ("--cache", tmp_path / "kept", "--concurrency", 1)
    assert run(*arguments(fake, *cache, "--limit", 2)) == 0
    asked = len(fake.bodies)
    bad.set()
    other = tmp_path / "other"
    assert run(*arguments(fake, *cache, "--out", other)) == 1
    assert "got no answer" in capfd.readouterr().err and not other.exists()
    bad.clear()
    assert run(*arguments(fake, *cache, "--out", other)) == 0
    good = [body for body in fake.bodies[:asked]]
    assert not [body for body in fake.bodies[asked:] if body in good]
    assert files(other) == files(tmp_path / "whole")


def test_a_spent_budget_stops_before_anything_is_written(arguments, endpoint, tmp_path, in_process, capfd):
    fake = endpoint(lambda body, number: completion("The dog is brown.", prompt_tokens=500, answer_tokens=100))
    budget = ("--concurrency", 1, "--max-tokens-total")  # a prompt of 820 bytes is taken for as many tokens
    assert run(*arguments(fake, *budget, 2500, "--json", tmp_path / "told.json")) == 1
    told = capfd.readouterr().err
    assert "3 were beyond the budget" in told and "--unanswered fallback" in told and not (tmp_path / "out").exists()
    assert json.loads((tmp_path / "told.json").read_text())["sources"]["okvqa"]["unanswered"] == {"budget": 3}
    assert run(*arguments(fake, *budget, 20, "--unanswered", "fallback")) == 0
    assert len(fake.bodies) == 3  # the answers that were paid for are used
    assert sum(text.startswith("The answer is") for text in outputs(tmp_path / "out", "okvqa")) >= 3


def test_dry_run_asks_nothing_and_writes_nothing(arguments, endpoint, tmp_path, capsys):
    fake = endpoint(reply)
    assert run(*arguments(fake, "--dry-run")) == 0
    told = capsys.readouterr()
    assert "okvqa: 6 records (question)" in told.out and "  | Transformed Answer:" in told.out
    assert "coco" not in told.out and "nothing was asked" in told.err
    assert not fake.bodies and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (("--sources", "nothing"), 1, "has no source 'nothing'"),
        (("--max-cost", 3), 2, "needs --prices"),
        (("--max-cost", -3), 2, "must be a number above 0"),
        (("--sampling", "[]"), 2, "must be a JSON object"),
        (("--sampling", '{"stream": true}'), 2, "'stream' is set by m3it"),
        (("--sampling", "{}", "--max-tokens-total", 9), 2, "must hold max_tokens"),
        (("--endpoint", "ftp://host"), 2, "must be http"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments, endpoint, capsys, tmp_path, more, code, words):
    try:
        found = run(*arguments(endpoint(reply), *more))
    except SystemExit as error:
        found = error.code
    told = capsys.readouterr().err
    assert found == code and words in told and told.count("\n") == 1 and not list(tmp_path.iterdir())


def test_data_of_ones_own_needs_the_names_of_the_sources(build_folder, endpoint, tmp_path, capsys):
    data = build_folder(tmp_path / "data", {"mine": {"train": [row("mine", "What is it?", "dog")]}})
    place = ("--endpoint", "http://127.0.0.1:9", "--model", "toy", "--out", tmp_path / "out")
    assert run("paraphrase", data, *place) == 2
    assert "--sources: the paper paraphrased none" in capsys.readouterr().err
    assert run("paraphrase", data, *place, "--sources", "mine", "--dry-run") == 0
    assert "mine: 1 records" in capsys.readouterr().out


def test_an_endpoint_that_is_not_there_is_one_line(data, tmp_path, capsys):
    place = ("--endpoint", "http://127.0.0.1:9/v1", "--model", "toy", "--out", tmp_path / "out")
    assert run("paraphrase", data, *place) == 1
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith("m3it: http://127.0.0.1:9/v1/chat/completions") and "cannot be reached" in told


@pytest.mark.slow
def test_kill_9_at_any_moment_costs_no_answer_and_changes_no_byte(build_folder, endpoint, tmp_path, in_process):
    rows = [row("mine", f"What colour is dog {number}?", "brown") for number in range(120)]
    data = build_folder(tmp_path / "data", {"mine": {"train": rows}})
    fake = endpoint(lambda body, number: time.sleep(0.02) or "The dog is brown.")

    def words(out):
        place = ["--endpoint", fake.url, "--model", "toy", "--out", str(out), "--sources", "mine"]
        return ["paraphrase", str(data), *place, "--jobs", "1", "--concurrency", "2"]

    assert run(*words(tmp_path / "whole")) == 0 and len(fake.bodies) == 120
    out = tmp_path / "out"
    command = [sys.executable, "-m", "m3it_jax", *words(out)]
    moments = [lambda: len(fake.bodies) >= 180, (out / ".building" / "mine").exists]
    for reached in moments:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not reached():
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert not (out / "mine").exists()
    subprocess.run(command, check=True, capture_output=True)
    assert len(fake.bodies) <= 240 + 2  # of the two that were under way at the first kill nobody heard the answer
    assert files(out) == files(tmp_path / "whole")
