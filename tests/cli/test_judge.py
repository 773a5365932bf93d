"""`m3it judge` at the command line: a hostile endpoint, the cap on cost, going on."""

import json
import time

import predicted_lines
import pytest
from fake_endpoint import completion

from m3it_jax.cli import main
from m3it_jax.evaluation import output
from m3it_jax.llm_client import client

SCORES = "Fine.\nThe score of Assistant 1: 7\nThe score of Assistant 2: 5"


@pytest.fixture
def evaluations(tmp_path):
    """Two evaluations of six questions; A is right, B is not."""
    for name, text in (("a", "3"), ("b", "4")):
        store = output.EvalFolder(tmp_path / name)
        store.claim({"checkpoint": {"step": 1 if name == "a" else 2}, "data": "d"})
        store.append(predicted_lines.prediction(number, text) for number in range(6))
    return tmp_path / "a", tmp_path / "b"


@pytest.fixture
def judged(evaluations, endpoint, monkeypatch):
    """judged(reply, *options) -> exit code, the endpoint; waits between attempts are short."""
    monkeypatch.setattr(client, "_FIRST_WAIT_S", 0.01)

    def run(reply, *more):
        server = endpoint(reply)
        command = ["judge", *map(str, evaluations), "--endpoint", server.url, "--samples", "1", *more]
        return main.main(command), server

    return run


def found(evaluations) -> dict:
    return json.loads((evaluations[0] / "judge" / "judge.json").read_text())


def test_a_judging_is_written_and_a_second_one_costs_nothing(judged, evaluations, capsys):
    code, server = judged(lambda body, number: SCORES, "--model", "mine", "--prices", "30", "60")
    assert code == 0 and len(server.bodies) == 12
    result = found(evaluations)
    assert (result["judge"], result["judged"], result["tie"]) == ("mine", 6, 6)
    assert result["tokens"] == {"prompt": 120, "answer": 60} and result["cost"] == pytest.approx(0.0072)
    lines = (evaluations[0] / "judge" / "judgements.jsonl").read_text().splitlines()
    assert len(lines) == 6 and json.loads(lines[0])["verdict"] == "tie"
    assert "A tie      6" in capsys.readouterr().out
    code, server = judged(lambda body, number: SCORES, "--model", "mine", "--prices", "30", "60")
    assert code == 0 and not server.bodies and found(evaluations) == result


def test_an_endpoint_that_fails_in_every_way_is_asked_until_it_answers(judged, evaluations):
    def reply(body, number):
        bad = [
            (429, {"Retry-After": "0"}, b"slow down"),
            (500, {}, b"oops"),
            (200, {"Content-Length": 1000}, b'{"choices": [{"mess'),  # cut off
            (200, {}, b"<html>no JSON</html>"),
            (200, {}, json.dumps({"choices": []}).encode()),
            completion("I am a teapot."),
            completion(None),
            completion("\x00\u2028 The score of Assistant 1: 99"),
        ]
        return bad[number] if number < len(bad) else SCORES

    code, _ = judged(reply, "--concurrency", "1")
    assert code == 0 and found(evaluations)["judged"] == 6
    assert found(evaluations)["samples"]["asked_again"] == 3


def test_an_endpoint_that_hangs_is_given_up(judged, evaluations):
    def reply(body, number):
        if number < 2:
            time.sleep(1.0)
        return SCORES

    code, server = judged(reply, "--timeout", "0.3", "--concurrency", "2")
    assert code == 0 and found(evaluations)["judged"] == 6
    assert len(server.bodies) == 12 + 2


def test_the_cap_is_never_passed_not_even_over_several_runs_and_raising_it_goes_on(judged, evaluations, capsys):
    # At a price of 1 a token an answer costs 500, and may before it is there cost up to about 2,800.
    def reply(body, number):
        return completion(SCORES, prompt_tokens=400, answer_tokens=100)

    options = ("--prices", "1000000", "1000000", "--concurrency", "4")
    code, server = judged(reply, *options, "--max-cost", "4000")
    assert code == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert "did not come" in last and "goes on" in last
    first = found(evaluations)
    assert 500 <= first["cost"] <= 4000 and first["samples"]["unanswered"] > 0
    assert first["cost"] == 500 * len(server.bodies)
    code, again = judged(reply, *options, "--max-cost", "4000")
    assert code == 1 and found(evaluations)["cost"] <= 4000 and not again.bodies
    code, rest = judged(reply, *options, "--max-cost", "100000")
    assert len(server.bodies) + len(rest.bodies) == 12
    assert code == 0 and found(evaluations)["judged"] == 6


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (("--max-cost", "1"), 2, "--prices"),
        (("--tasks", "digits"), 2, "no such task"),
        (("--items", "0"), 2, "above 0"),
        (("--retries", "-1"), 2, "0 or more"),
        (("--allow", "colour"), 2, "no field of the locks"),
    ],
)
def test_mistakes_are_one_line_and_ask_nothing(judged, capsys, more, code, message):
    asked = []
    try:
        got, server = judged(lambda body, number: asked.append(1) or SCORES, *more)
    except SystemExit as error:
        got = error.code
    assert got == code and not asked
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_refused_key_is_one_line(judged, capsys):
    code, _ = judged(lambda body, number: (401, {}, b"no"))
    assert code == 1 and "M3IT_API_KEY" in capsys.readouterr().err.splitlines()[-1]


def test_a_dry_run_shows_the_prompt_and_asks_nothing(judged, evaluations, capsys):
    code, server = judged(lambda body, number: SCORES, "--dry-run")
    printed = capsys.readouterr().out
    assert code == 0 and not server.bodies and not (evaluations[0] / "judge").exists()
    assert "6 questions, 12 answers of gpt-4" in printed and "The score of Assistant 1" in printed


def test_evaluations_of_other_data_are_refused(judged, evaluations, capsys):
    lock = json.loads((evaluations[1] / "lock.json").read_text())
    (evaluations[1] / "lock.json").write_text(json.dumps(lock | {"data": "other"}))
    code, server = judged(lambda body, number: SCORES)
    assert code == 1 and not server.bodies
    assert "differ in data" in capsys.readouterr().err.splitlines()[-1]
