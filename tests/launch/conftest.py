"""A copy of the launch scripts with a ready environment whose `m3it` only writes down how it was called."""

import os
import pathlib
import shutil
import stat
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent

# Does what each verb leaves behind, as far as the quick start reads it.
M3IT = """#!{python}
import json, os, pathlib, sys
words = sys.argv[1:]
verb = words[0]
log = pathlib.Path(os.environ["CALLS"])
log.open("a").write(json.dumps(words) + "\\n")
log.with_suffix(".environment").write_text(json.dumps(dict(os.environ)))
if verb == os.environ.get("FAIL"):
    sys.exit(1)
option = lambda name: pathlib.Path(words[words.index(name) + 1])
if verb == "mini":
    out = pathlib.Path(words[1])
    out.mkdir(parents=True, exist_ok=True)
    (out / "m3it.json").write_text(json.dumps({{"edition": words[words.index("--edition") + 1]}}))
elif verb == "train":
    (option("--run-dir") / "checkpoints" / "100").mkdir(parents=True, exist_ok=True)
elif verb == "eval":
    folder = option("--out") / "examples"
    folder.mkdir(parents=True, exist_ok=True)
    if not (option("--out") / "scores.json").exists():
        (option("--out") / "scores.json").write_text("{{}}")
    kinds = [("en", 1), ("zh", 1), ("en", 8)]
    common = dict(instruction="What is it?\\nSay", inputs="", reference="a 3")
    rows = [dict(common, files=[f"{{name}}-{{n}}.png" for n in range(count)], language=name) for name, count in kinds]
    rows += [dict(rows[0], skill="digit", files=["a digit.png"], inputs="which digit is it?")]
    (folder / "examples.json").write_text(json.dumps(rows))
elif verb == "generate":
    option("--json").write_text(json.dumps({{"answer": "a 5"}}))
elif verb == "report":
    (pathlib.Path(words[1]) / "report.html").write_text("<html>")
"""


class House:
    """The scripts under `root` with an environment of fakes; `run` starts one and returns the finished process."""

    def __init__(self, root: pathlib.Path):
        self.root, self.venv, self.tools = root, root / ".venv", root / "tools"
        self.calls = root / "calls.jsonl"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("M3IT_", "PIP_", "UV_"))},
            "PATH": f"{self.tools}:/usr/local/bin:/usr/bin:/bin",
            "CALLS": str(self.calls),
            "M3IT_PYTHON": sys.executable,
            "M3IT_NO_REFERENCE": "1",  # test.sh would install torch
            "M3IT_NO_BROWSER": "1",  # and fetch axe-core
        }

    def program(self, path: pathlib.Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def make_environment(self) -> None:
        """Makes an environment that counts as installed."""
        self.program(self.venv / "bin" / "m3it", M3IT.format(python=sys.executable))
        self.program(self.venv / "bin" / "python", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        for extra in ("", "[dev]"):
            shell = f'. {self.root}/launch/environment.sh; fingerprint "{extra}"'
            stamp = subprocess.run(["bash", "-c", shell], capture_output=True, check=True, env=self.environment).stdout
            (self.venv / f".m3it-installed{extra}").write_bytes(stamp)

    def run(self, script: str, *words: str, **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["bash", str(self.root / "launch" / script), *words],
            capture_output=True,
            text=True,
            env=self.environment | environment,
            timeout=60,
        )


@pytest.fixture
def house(tmp_path: pathlib.Path) -> House:
    shutil.copytree(ROOT / "launch", tmp_path / "launch")
    (tmp_path / "tests" / "reference").mkdir(parents=True)
    shutil.copy(ROOT / "tests" / "reference" / "requirements.txt", tmp_path / "tests" / "reference")
    for name in ("requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return House(tmp_path)
