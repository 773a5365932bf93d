"""Where stdout and stderr lead: to a full disk, to a reader that leaves, to nothing; and JSON on stdout alone."""

import json
import pathlib
import subprocess
import sys

import pytest

from m3it_jax.cli import main

M3IT = f"{sys.executable} -m m3it_jax"
needs_full = pytest.mark.skipif(not pathlib.Path("/dev/full").is_char_device(), reason="there is no /dev/full")


def shell(command: str, **environment: str) -> subprocess.CompletedProcess:
    """Runs a line in which M3IT is the program, with stdout held back as it is in a pipe or a file."""
    script = command.replace("M3IT", M3IT)
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment, timeout=60)


@needs_full
@pytest.mark.parametrize("words", ["--help", "stats --help", "sources", "sources --json -"])
def test_a_full_disk_behind_stdout_is_one_line_and_1(words):
    done = shell(f"M3IT {words} > /dev/full")
    assert (done.returncode, done.stdout) == (1, "")
    told = done.stderr.splitlines(keepends=True)
    assert told[-1].startswith("m3it: the disk is full") and ("--json" in words or len(told) == 1)


@needs_full
def test_a_full_device_named_with_json_is_told_and_stays_a_device():
    done = shell("M3IT sources --json /dev/full > /dev/null")
    assert done.returncode == 1 and done.stderr.startswith("m3it: the disk is full at /dev/full: free some space")
    assert pathlib.Path("/dev/full").is_char_device()


@needs_full
def test_the_exit_code_tells_where_stderr_cannot():
    assert shell("M3IT stats --no-such-option 2> /dev/full").returncode == 2


def test_a_reader_that_leaves_is_told_nothing():
    done = shell("M3IT sources --json - 2>/dev/null | head -c 1; exit ${PIPESTATUS[0]}", PYTHONUNBUFFERED="1")
    assert done.stdout == "[" and done.stderr == ""
    done = shell("(M3IT sources; echo $? >&2) | true")
    assert done.stderr == "1\n" and done.stdout == ""


def test_closed_files_are_not_taken_for_others(tmp_path):
    done = shell(f"M3IT stats {tmp_path} --json - 2>&-")
    assert (done.returncode, done.stdout) == (1, ""), "a message is no JSON"
    done = shell("M3IT sources --json - >&-")
    assert (done.returncode, done.stderr) == (1, "m3it: --json -: stdout is closed; name a file\n")
    assert shell("M3IT sources coco >&- 2>&- <&-").returncode == 0


def test_json_is_utf_8_whatever_the_terminal_speaks():
    done = shell("M3IT sources --json - 2>/dev/null", PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and len(json.loads(done.stdout)) == 40


def test_stdout_holds_nothing_but_json(folder, tmp_path, capfd):
    for words in (
        ["sources"],
        ["sources", "coco"],
        ["check", str(folder.path)],
        ["stats", str(folder.path)],
        ["stats", str(folder.path), "--licences"],
        ["quality", str(folder.path)],
        ["repair", str(folder.path), "--out", str(tmp_path / "repaired")],
        ["export", "jsonl", str(folder.path), "--out", str(tmp_path / "rows")],
    ):
        assert main.main([*words, "--json", "-"]) in (0, 1), words
        assert json.loads(capfd.readouterr().out) is not None, words
