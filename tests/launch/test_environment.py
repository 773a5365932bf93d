"""Set-up refuses in one line that says what to do, and never deletes anything."""

import sys

import pytest

FAKE_PYTHON = """#!/bin/sh
case "$*" in
  *version_info*) echo {version} ;;
  *"-m venv"*) for last; do :; done; mkdir -p "$last/bin"; cp "$0" "$last/bin/python" ;;
  *"-m pip --version"*) exit 0 ;;
  *"-m pip install"*) echo "{trouble}"; exit 1 ;;
  *--version*) echo Python {version} ;;
esac
"""


@pytest.mark.parametrize("script", ["quickstart.sh", "test.sh"])
@pytest.mark.parametrize("version", ["3.9", "3.10", "3.14", "2.7"])
def test_wrong_python_is_refused(house, script, version):
    house.program(house.tools / "snake", FAKE_PYTHON.format(version=version, trouble=""))
    result = house.run(script, M3IT_PYTHON="snake")
    assert result.returncode == 1
    told = result.stderr.splitlines()[-1]
    assert f"snake is Python {version}" in told and "M3IT_PYTHON" in told
    assert not house.venv.exists()


@pytest.mark.parametrize("script", ["quickstart.sh", "test.sh"])
def test_full_disk_is_told_before_anything_is_installed(house, script):
    house.program(house.tools / "df", "#!/bin/sh\necho Filesystem\necho /dev/x 100 90 10240 99% /\n")
    result = house.run(script)
    assert result.returncode == 1
    assert "has 10 MB left" in result.stderr and "free some space" in result.stderr.splitlines()[-1]
    assert not house.venv.exists()


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ("NewConnectionError: Failed to establish a new connection", "the package index cannot be reached"),
        ("error: dns error: failed to lookup address information", "the package index cannot be reached"),
        ("OSError: [Errno 28] No space left on device", "the disk is full"),
        ("ResolutionImpossible: conflicting dependencies of xyz", "the packages could not be installed"),
    ],
)
@pytest.mark.parametrize("script", ["quickstart.sh", "test.sh"])
def test_failed_installation_is_one_line_with_its_cause(house, script, trouble, words):
    house.program(house.tools / "snake", FAKE_PYTHON.format(version="3.12", trouble=trouble))
    result = house.run(script, M3IT_PYTHON="snake")
    assert result.returncode == 1
    told = result.stderr.splitlines()[-1]
    assert words in told and "run it again" in told
    assert trouble in (house.venv / "install.log").read_text()
    assert not list(house.venv.glob(".m3it-installed*")), "a failed installation is not taken for a whole one"


def test_folder_that_is_no_environment_is_left_alone(house):
    house.venv.mkdir()
    (house.venv / "thesis.txt").write_text("precious")
    result = house.run("test.sh")
    assert result.returncode == 1
    assert "M3IT_VENV" in result.stderr.splitlines()[-1]
    assert (house.venv / "thesis.txt").read_text() == "precious"


def test_environment_of_another_python_is_not_mixed(house):
    house.program(house.venv / "bin" / "python", FAKE_PYTHON.format(version="3.12", trouble=""))
    house.program(house.tools / "snake", FAKE_PYTHON.format(version="3.13", trouble=""))
    result = house.run("test.sh", M3IT_PYTHON="snake")
    assert result.returncode == 1
    assert "holds Python 3.12, M3IT_PYTHON is 3.13" in result.stderr


def test_ready_environment_is_used_as_it_is(house):
    house.make_environment()
    for tool in ("ruff", "lint-imports", "mypy"):
        house.program(house.venv / "bin" / tool, '#!/bin/sh\necho ran "$(basename "$0")" "$@"\n')
    house.program(
        house.venv / "bin" / "python", '#!/bin/sh\ncase "$*" in *cpu_count*) echo 2 ;; *) echo "$@" ;; esac\n'
    )
    result = house.run("test.sh", "-k", "some thing", M3IT_PYTHON="")
    assert result.returncode == 0, result.stderr
    assert "ran ruff check ." in result.stdout and "ran mypy" in result.stdout and "ran lint-imports" in result.stdout
    assert "-m pytest -n 2" in result.stdout and "-m not device and not network -k some thing" in result.stdout


def test_every_check_runs_and_one_failure_fails_all(house):
    house.make_environment()
    for tool, code in (("ruff", 1), ("lint-imports", 0), ("mypy", 0)):
        house.program(house.venv / "bin" / tool, f"#!/bin/sh\necho ran {tool}\nexit {code}\n")
    house.program(house.venv / "bin" / "python", '#!/bin/sh\ncase "$*" in *cpu_count*) echo 2 ;; esac\n')
    result = house.run("test.sh", M3IT_PYTHON="")
    assert result.returncode == 1
    assert "ran mypy" in result.stdout, "the checks after a failed one run too"
    assert "failed: lint format" in result.stderr


def test_interpreter_of_this_environment_is_good(house):
    assert sys.version_info[:2] >= (3, 11)
    house.make_environment()
    assert house.run("quickstart.sh", "--help").returncode == 0
