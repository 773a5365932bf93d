"""The quick start's frame: phases, arguments, refusals, a second run. The verbs are fakes that note their calls."""

import json
import re
import shlex
import subprocess
import time

import pytest


@pytest.fixture
def ready(house):
    house.make_environment()
    house.program(house.tools / "npm", "#!/bin/sh\n")
    return house


def _calls(house):
    return [json.loads(line) for line in house.calls.read_text().splitlines()] if house.calls.exists() else []


def test_phases_run_in_order_with_time_passed_and_left(ready, tmp_path):
    run = tmp_path / "a folder"
    result = ready.run("quickstart.sh", "--run-dir", str(run))
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == f"{run}/report.html"
    calls = _calls(ready)
    assert [call[0] for call in calls] == [
        "mini",
        "train",
        "train",
        "eval",
        "generate",
        "generate",
        "generate",
        "report",
    ]
    assert calls[0][1:] == [f"{run}/data", "--edition", "full"]
    assert calls[1][1:] == ["configs/stage1_align.py:mini", "--run-dir", f"{run}/stage1", f"--data.path={run}/data"]
    assert calls[2][1] == "configs/stage2_instruct.py:mini" and f"--init_from.all={run}/stage1" in calls[2]
    assert calls[3][1:] == [str(run), "--data", f"{run}/data", "--out", f"{run}/stage2/eval/100", "--controls"]
    assert [call.count("--image") for call in calls[4:7]] == [1, 1, 8], "English, Chinese, video"
    assert "--instruction=What is it?\nSay" in calls[4], "texts arrive as they are"
    assert "answered   a 5" in result.stdout and "reference  a 3" in result.stdout
    lines = [line for line in result.stderr.splitlines() if line.startswith("[quick start ")]
    assert [int(re.search(r"\d", line).group()) for line in lines[:7]] == list(range(1, 8))
    assert all(re.search(r"\d+:\d\d passed, about \d+:\d\d left", line) for line in lines[:7])


def test_it_ends_with_commands_that_work_in_a_fresh_shell_from_any_folder(ready, tmp_path):
    run = tmp_path / "a folder"
    told = ready.run("quickstart.sh", "--run-dir", str(run)).stderr
    lines = told[told.index("Try next:") :].splitlines()
    words = shlex.split(lines[1])
    assert words[0] == str(ready.venv / "bin" / "m3it") and words[1] == "generate"
    picture = run / "stage2" / "eval" / "100" / "examples" / "a digit.png"
    assert words[2:5] == [str(run), "--image", str(picture)]
    assert words[-2:] == ["--inputs", "which digit is it?"]
    environment = ready.environment | {"PATH": "/usr/bin:/bin", "JSON": str(tmp_path / "answer.json")}
    command = f'{lines[1]} --json "$JSON"'
    assert subprocess.run(["bash", "-c", command], cwd="/", env=environment).returncode == 0
    assert shlex.split(lines[2])[1:] == ["chat", str(run), "--image", str(picture)]
    assert "which digit is this?" in told and "A photo is none of them" in told


def test_programs_keep_their_bytecode_whatever_the_shell_says(ready, tmp_path):
    assert ready.run("quickstart.sh", f"--run-dir={tmp_path / 'run'}", PYTHONDONTWRITEBYTECODE="1").returncode == 0
    seen = json.loads(ready.calls.with_suffix(".environment").read_text())
    assert "PYTHONDONTWRITEBYTECODE" not in seen, "each verb would compile JAX and TensorFlow from their sources"


def test_second_run_answers_nothing_again_and_ends_well(ready, tmp_path):
    run = tmp_path / "run"
    assert ready.run("quickstart.sh", f"--run-dir={run}").returncode == 0
    first = len(_calls(ready))
    result = ready.run("quickstart.sh", f"--run-dir={run}")
    assert result.returncode == 0, result.stderr
    assert [call[0] for call in _calls(ready)[first:]] == ["mini", "train", "train", "eval", "report"]
    assert result.stdout.count("answered   a 5") == 3
    left = re.search(r"about (\d+):\d\d left", result.stderr).group(1)
    assert int(left) <= 1, "the estimate knows that the phases are done"


@pytest.mark.parametrize("verb", ["mini", "train", "eval", "generate", "report"])
def test_failure_stops_with_its_code_and_says_where(ready, tmp_path, verb):
    result = ready.run("quickstart.sh", "--run-dir", str(tmp_path / "run"), FAIL=verb)
    assert result.returncode != 0
    assert "the same command resumes from here" in result.stderr.splitlines()[-1]
    assert "report.html" not in result.stdout
    assert ready.run("quickstart.sh", "--run-dir", str(tmp_path / "run")).returncode == 0


def test_without_npm_the_base_edition_is_built_and_that_is_said(ready, tmp_path):
    (ready.tools / "npm").unlink()
    for tool in ("bash", "sed", "dirname", "df", "awk", "cat", "cksum", "mkdir", "ls", "grep", "sort", "tail", "sleep"):
        ready.program(ready.tools / tool, f'#!/bin/sh\nexec /usr/bin/env PATH=/usr/bin:/bin {tool} "$@"\n')
    for tool in ("rm", "mv", "xargs", "flock", "sh", "env"):
        ready.program(ready.tools / tool, f'#!/bin/sh\nPATH="$PATH:/usr/bin:/bin" exec {tool} "$@"\n')
        (ready.tools / tool).unlink()
        (ready.tools / tool).symlink_to(next(p for p in (f"/usr/bin/{tool}", f"/bin/{tool}")))
    ready.environment["PATH"] = str(ready.tools)
    bash = "/bin/bash"
    result = subprocess.run(
        [bash, str(ready.root / "launch" / "quickstart.sh"), "--run-dir", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        env=ready.environment,
    )
    assert result.returncode == 0, result.stderr
    assert _calls(ready)[0][-1] == "base"
    assert "npm was not found" in result.stderr


def test_edition_of_a_folder_stays(ready, tmp_path):
    run = tmp_path / "run"
    assert ready.run("quickstart.sh", "--run-dir", str(run), M3IT_EDITION="base").returncode == 0
    assert ready.run("quickstart.sh", "--run-dir", str(run)).returncode == 0
    editions = [call[-1] for call in _calls(ready) if call[0] == "mini"]
    assert editions == ["base", "base"], "a larger edition under a half-trained run would be refused by train"


def test_folder_of_something_else_is_refused(ready, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "thesis.txt").write_text("precious")
    result = ready.run("quickstart.sh", "--run-dir", str(run))
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1 and "--run-dir" in result.stderr
    assert [path.name for path in run.iterdir()] == ["thesis.txt"]


def test_folder_in_use_is_refused(ready, tmp_path):
    run = tmp_path / "run"
    (run / ".phases").mkdir(parents=True)
    holder = subprocess.Popen(["flock", str(run / ".lock"), "sleep", "30"])
    try:
        for _ in range(100):
            if (run / ".lock").exists():
                break
            time.sleep(0.05)
        time.sleep(0.2)
        result = ready.run("quickstart.sh", "--run-dir", str(run))
    finally:
        holder.kill()
    assert result.returncode == 1
    assert "in use by another quick start" in result.stderr


@pytest.mark.parametrize("words", [["--run-dir"], ["--run-dir="], ["--rundir", "x"], ["somewhere"]])
def test_wrong_usage_is_told(ready, words):
    result = ready.run("quickstart.sh", *words)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
