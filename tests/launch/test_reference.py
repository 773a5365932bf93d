"""The environment with torch is made where it can be; where not, one line says so and everything else runs."""

import pytest

# A python that can make an environment of itself, and whose pip notes how it was called.
FAKE_PYTHON = """#!/bin/sh
case "$*" in
  *version_info*) echo 3.12 ;;
  *"-m venv"*) for last; do :; done; mkdir -p "$last/bin"; cp "$0" "$last/bin/python" ;;
  *"--dry-run"*) echo "Would install torch-{torch}" ;;
  *"-m pip install"*) echo "$@" >>"$CALLS"; case "$*" in *requirements-4*) exit {code_4} ;; esac; exit {code} ;;
  *importlib.metadata*) echo transformers 5.9 with torch 2.13 ;;
  *cpu_count*) echo 2 ;;
esac
"""


def _reference_line(result):
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("reference: ")]
    return line


def _run(house, *, torch="2.13.0+cpu", code=0, code_4=0, **environment):
    house.make_environment()
    for tool in ("ruff", "lint-imports", "mypy"):
        house.program(house.venv / "bin" / tool, "#!/bin/sh\n")
    house.program(house.tools / "snake", FAKE_PYTHON.format(torch=torch, code=code, code_4=code_4))
    house.program(house.venv / "bin" / "python", (house.tools / "snake").read_text())
    result = house.run("test.sh", M3IT_PYTHON="snake", **{"M3IT_NO_REFERENCE": "", **environment})
    assert result.returncode == 0, result.stderr
    return [line for line in result.stderr.splitlines() if "skipped" in line], result


def test_it_is_made_once(house):
    told, _ = _run(house)
    assert told == [] and (house.root / ".venv-reference" / ".installed").exists()
    calls = house.calls.read_text()
    assert "tests/reference/requirements.txt" in calls and "--extra-index-url" not in calls
    _run(house)
    assert house.calls.read_text() == calls


def test_torch_with_cuda_is_never_taken(house):
    told, _ = _run(house, torch="2.13.0")
    assert len(told) == 1 and "could not be installed" in told[0] and not house.calls.exists()
    told, _ = _run(house, torch="2.13.0", M3IT_TORCH_INDEX="https://index.example/cpu")
    assert told == [] and "--extra-index-url https://index.example/cpu" in house.calls.read_text()


def test_an_installation_that_failed_is_told_and_tried_again(house):
    told, _ = _run(house, code=1)
    assert len(told) == 1 and "could not be installed" in told[0] and ".venv-reference.log" in told[0]
    assert _run(house)[0] == []


def test_a_disk_with_too_little_space_is_told(house):
    house.program(house.tools / "df", "#!/bin/sh\necho Filesystem\necho /dev/x 9999999 90 2621440 99% /\n")
    told, _ = _run(house)
    assert len(told) == 1 and "2560 MB left and 3000 MB are needed" in told[0]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [("M3IT_NO_REFERENCE", "1", "M3IT_NO_REFERENCE is set"), ("M3IT_REFERENCE_PYTHON", "/bin/false", "has no torch")],
)
def test_a_choice_of_the_user_is_kept(house, name, value, words):
    told, _ = _run(house, **{name: value})
    assert len(told) == 1 and words in told[0] and not (house.root / ".venv-reference").exists()


def test_the_last_lines_say_what_was_compared_with(house):
    _, result = _run(house)
    both = "transformers 5.9 with torch 2.13, and transformers 5.9 with torch 2.13, and what transformers 5.24.0"
    assert _reference_line(result).startswith(f"reference: the program itself, {both}")
    _, result = _run(house, M3IT_NO_REFERENCE="1")
    line = _reference_line(result)
    assert line.startswith(
        "reference: what transformers 5.24.0 and 4.57.6 computed before, as stored; the program itself"
    )
    assert line.endswith("did not run (M3IT_NO_REFERENCE is set)")


def test_version_4_may_be_missing(house):
    told, result = _run(house, code_4=1)
    assert told == [] and "transformers 4.57 could not be installed" in result.stderr
    assert "(4.57 did not run: M3IT_REFERENCE_PYTHON_4 is not set)" in _reference_line(result)
