import io

import pytest
import tiny_assistant

from m3it_jax.cli import main


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
