import json
import subprocess
import sys

import pytest
import tiny_assistant

from m3it_jax.cli import main


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return tiny_assistant.write_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    tiny_assistant.picture(1).save(path)
    return path


def test_the_answer_goes_to_stdout_and_json(run_folder, picture, tmp_path, capsys):
    words = ["generate", str(run_folder), "--image", str(picture), "--instruction", "What colour is the circle?"]
    assert main.main([*words, "--max-new-tokens", "5", "--json", str(tmp_path / "answer.json")]) == 0
    printed = capsys.readouterr().out
    result = json.loads((tmp_path / "answer.json").read_text())
    expected = tiny_assistant.make().generate("What colour is the circle?", images=[picture], max_new_tokens=5)
    assert printed == f"{expected}\n"
    assert result["answer"] == expected
    assert (result["step"], result["sampling"]["max_new_tokens"]) == (7, 5)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--image", "gone.png"], 1, "gone.png"),
        (["--temperature", "-1"], 2, "--temperature=-1.0"),
        (["--num-beams", "2", "--temperature", "1"], 2, "--num-beams=2"),
        (["--video", "gone.gif"], 1, "gone.gif"),
        (["--inputs", "caf\udce9"], 2, "no UTF-8"),
        (["--top-k", "1099511627776"], 2, "--top-k=1099511627776"),
        (["--top-p", "3"], 2, "m3it: --top-p=3.0: must be"),
        (["--min-new-tokens", "9", "--max-new-tokens", "3"], 2, "must not be above --max-new-tokens=3"),
        (["--json", "."], 1, "is a folder"),
        (["--json", "gone/answer.json"], 1, "does not exist"),
        ([], 1, "no-such-run: no checkpoint here"),
    ],
)
def test_mistakes_are_found_before_the_model_is_loaded(options, code, message, capsys):
    assert main.main(["generate", "no-such-run", "--instruction", "x", *options]) == code
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_no_checkpoint_is_told_in_one_line(tmp_path, capsys):
    assert main.main(["generate", str(tmp_path), "--instruction", "x"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_answering_needs_no_tensorflow():
    code = "import sys, m3it_jax.generation.assistant, m3it_jax.serving.chat; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_checkpoint_that_is_not_there_is_told_before_jax_is_imported():
    code = (
        "import sys; from m3it_jax.cli import main;"
        "codes = [main.main(['generate', 'gone', '--instruction', 'x']), main.main(['chat', 'gone'])];"
        "sys.exit(codes != [1, 1] or 'jax' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0 and result.stderr.count("no checkpoint here") == 2


def test_json_to_a_dash_is_all_of_stdout(run_folder, picture, capsys):
    words = ["generate", str(run_folder), "--image", str(picture), "--instruction", "What colour is the circle?"]
    assert main.main([*words, "--max-new-tokens", "5", "--json", "-"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["answer"] in printed.err
    assert "tiny, step 7, on cpu" in printed.err


def test_a_webp_picture_is_answered_about_as_its_png_is(run_folder, picture, tmp_path, capsys):
    webp = tmp_path / "picture.webp"
    tiny_assistant.picture(1).save(webp, lossless=True)
    answers = []
    for path in (picture, webp):
        words = ["generate", str(run_folder), "--image", str(path), "--instruction", "What colour is the circle?"]
        assert main.main([*words, "--max-new-tokens", "5"]) == 0
        answers.append(capsys.readouterr().out)
    assert answers[0] == answers[1]
