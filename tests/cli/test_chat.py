import dataclasses
import io
import json
import sys

import pytest
import tiny_assistant

from m3it_jax import prompts
from m3it_jax.cli import chat as verb
from m3it_jax.cli import main, options


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return tiny_assistant.write_run(tmp_path_factory.mktemp("runs") / "run")


def chat(monkeypatch, run_folder, text, *options):
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    return main.main(["chat", str(run_folder), "--max-new-tokens", "3", *options])


def test_a_pipe_gets_one_line_for_each_instruction(run_folder, tmp_path, monkeypatch, capsys):
    path = tmp_path / "picture.png"
    tiny_assistant.picture(1).save(path)
    assert chat(monkeypatch, run_folder, "What colour?\nleft or right\n/quit\nblue\n", "--image", str(path)) == 0
    printed = capsys.readouterr()
    assert printed.out.count("\n") == 2
    assert printed.err == ""


def test_a_line_that_cannot_be_done_sets_the_exit_code_and_stops_nothing(run_folder, monkeypatch, capsys):
    assert chat(monkeypatch, run_folder, "/image gone.png\nWhat colour?\n") == 1
    printed = capsys.readouterr()
    assert printed.out.count("\n") == 1
    assert "gone.png" in printed.err


def test_a_negative_history_is_refused(run_folder, monkeypatch, capsys):
    assert chat(monkeypatch, run_folder, "", "--history", "-1") == 2
    assert "--history -1" in capsys.readouterr().err


def test_a_piped_line_that_is_no_utf8_is_told_and_the_talk_goes_on(run_folder, monkeypatch, capsys):
    piped = io.TextIOWrapper(io.BytesIO(b"caf\xe9 what?\nWhat colour?\n"), encoding="utf-8")
    monkeypatch.setattr("sys.stdin", piped)
    assert main.main(["chat", str(run_folder), "--max-new-tokens", "3"]) == 1
    printed = capsys.readouterr()
    assert printed.out.count("\n") == 1
    assert "no UTF-8" in printed.err and printed.err.count("\n") == 1


ASKED = {"source": "mine", "task": "vqa", "num_images": 1, "instruction": "What is it?", "inputs": ""}


@pytest.mark.parametrize(
    ("turns", "history"),
    [({}, 0), ({"num_turns": 1}, 0), ({"num_turns": 3}, sys.maxsize), ({"num_turns": "many"}, 0)],
)
def test_a_model_sees_earlier_turns_if_it_was_trained_on_conversations(turns, history, tmp_path) -> None:
    run = tiny_assistant.write_run(tmp_path / "run")
    (run / "asked.json").write_text(json.dumps([ASKED, ASKED | turns]))
    assert verb._history(tiny_assistant.make(), options.asked_in_training(run)) == history


@pytest.mark.parametrize(("family", "history"), [("llava", sys.maxsize), ("minigpt4", sys.maxsize), ("blip2", 0)])
def test_a_family_made_for_talking_sees_earlier_turns(family, history, monkeypatch) -> None:
    answering = tiny_assistant.make()
    monkeypatch.setattr(
        answering.sampler, "layout", dataclasses.replace(answering.sampler.layout, format=prompts.FORMATS[family])
    )
    assert verb._history(answering, []) == history


def test_what_is_said_of_history_wins_over_the_default(run_folder, monkeypatch, capsys) -> None:
    seen = []
    monkeypatch.setattr("m3it_jax.serving.conversation.Conversation", lambda *_, history, **__: seen.append(history))
    for given in ("0", "2"):
        with pytest.raises(AttributeError):  # nothing is shown to a conversation that is none
            chat(monkeypatch, run_folder, "", "--history", given)
    assert seen == [0, 2]
    assert "last turn too" in verb._what_it_sees(1) and "last 2 turns" in verb._what_it_sees(2)
