"""Pages are opened in a browser where there is one and axe-core can be had; where not, one line says why."""

import hashlib
import io
import pathlib
import tarfile

import pytest

# Says what `pytest` is given; anything else is the real interpreter.
PYTHON = """#!/bin/sh
case "$*" in
  *"-m pytest"*) echo "axe=$M3IT_AXE" >>"$CALLS" ;;
  *) exec {python} "$@" ;;
esac
"""
NPM = """#!/bin/sh
echo npm "$@" >>"$CALLS"
[ -z "$OFFLINE" ] || {{ echo "ENOTFOUND registry" >&2; exit 1; }}
cp {tarball} axe-core-{version}.tgz
"""


@pytest.fixture
def registry(house, tmp_path):
    """A house with chromium and a registry whose axe-core is the known one."""
    house.make_environment()
    for tool in ("ruff", "lint-imports", "mypy"):
        house.program(house.venv / "bin" / tool, "#!/bin/sh\n")
    python = house.environment["M3IT_PYTHON"]
    house.program(house.venv / "bin" / "python", PYTHON.format(python=python))
    house.program(house.tools / "chromium", "#!/bin/sh\necho Chromium 156.0\n")
    tarball = tmp_path / "packed.tgz"
    with tarfile.open(tarball, "w:gz") as archive:
        for name in ("package/axe.min.js", "package/LICENSE"):
            member = tarfile.TarInfo(name)
            member.size = 3
            archive.addfile(member, io.BytesIO(b"axe"))
    script = house.root / "launch" / "browser.sh"
    text = script.read_text()
    version = text.split("AXE_VERSION=")[1].split("\n")[0]
    begin, end = text.index("AXE_SHA512="), text.index('no_browser=""')
    known = hashlib.sha512(tarball.read_bytes()).hexdigest()
    script.write_text(f"{text[:begin]}AXE_SHA512={known}\n{text[end:]}")
    house.program(house.tools / "npm", NPM.format(tarball=tarball, version=version))
    return house


def ran(house, **environment: str) -> tuple[list[str], list[str]]:
    """Returns (what npm and pytest were called with, the last lines about pages) of test.sh."""
    house.calls.unlink(missing_ok=True)
    path = f"{house.tools}:{house.root}/programs"
    result = house.run("test.sh", **{"M3IT_NO_BROWSER": "", "PATH": path, **environment})
    assert result.returncode == 0, result.stderr
    return house.calls.read_text().splitlines(), [
        line for line in result.stderr.splitlines() if line.startswith("pages: ")
    ]


@pytest.fixture(autouse=True)
def programs(house):
    """The usual programs without those of this machine that the tests stand in for."""
    folder = house.root / "programs"
    folder.mkdir()
    for name in "bash sh cat cksum cp cut dirname env grep head mkdir mv rm sed tar gzip awk df uname date".split():
        for place in ("/usr/bin", "/bin"):
            if pathlib.Path(place, name).exists():
                (folder / name).symlink_to(f"{place}/{name}")
                break


def test_axe_is_fetched_once_and_named_to_the_tests(registry):
    calls, told = ran(registry)
    kept = registry.root / ".venv-axe" / "axe-4.14.1.min.js"
    assert calls[0].startswith("npm pack axe-core@4.14.1 ") and calls[-1] == f"axe={kept}" and kept.read_text() == "axe"
    assert told == [f"pages: opened in Chromium 156.0, looked at by {kept}"]
    assert not [call for call in ran(registry)[0] if call.startswith("npm")]


def test_another_file_than_the_known_one_is_not_used(registry):
    script = registry.root / "launch" / "browser.sh"
    script.write_text(script.read_text().replace("AXE_SHA512=", "AXE_SHA512=00"))
    calls, told = ran(registry)
    assert calls[-1] == "axe=" and len(told) == 1 and "is not the axe-core that is known here" in told[0]


@pytest.mark.parametrize(
    ("missing", "environment", "told"),
    [
        ("chromium", {}, "no chromium or google-chrome runs here; install one"),
        ("npm", {}, "npm, which fetches axe-core, is not installed; set M3IT_AXE"),
        ("", {"OFFLINE": "1"}, "npm could not fetch axe-core 4.14.1 (details: "),
        ("", {"M3IT_AXE": "/nowhere/axe.js"}, "M3IT_AXE=/nowhere/axe.js is no file"),
        ("", {"M3IT_NO_BROWSER": "1"}, "M3IT_NO_BROWSER is set"),
    ],
)
def test_what_is_missing_is_told_in_one_line(registry, missing, environment, told):
    if missing:
        (registry.tools / missing).unlink()
    calls, lines = ran(registry, **environment)
    assert calls[-1] == "axe=", "the tests skip"
    assert len(lines) == 1 and lines[0].startswith(f"pages: not opened in a browser ({told}")


def test_a_file_of_the_users_own_is_used(registry, tmp_path):
    own = tmp_path / "axe.js"
    own.write_text("own")
    calls, told = ran(registry, M3IT_AXE=str(own))
    assert not [call for call in calls if call.startswith("npm")] and calls[-1] == f"axe={own}"
    assert told == [f"pages: opened in Chromium 156.0, looked at by {own}"]
