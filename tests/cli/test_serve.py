import json
import os
import signal
import subprocess
import sys
import urllib.request

import pytest
import tiny_assistant

from m3it_jax import serving
from m3it_jax.cli import main, serve


def test_mistakes_are_told_before_anything_is_loaded(tmp_path, capsys, monkeypatch):
    assert main.main(["serve", str(tmp_path / "nothing")]) == 1
    assert "nothing" in capsys.readouterr().err
    assert main.main(["serve", str(tmp_path), "--port", "70000"]) == 2
    assert "--port 70000" in capsys.readouterr().err
    monkeypatch.setenv(serve.KEY_VARIABLE, "two words")
    assert main.main(["serve", str(tmp_path)]) == 2
    assert serve.KEY_VARIABLE in capsys.readouterr().err


def test_a_missing_package_is_named_with_its_extra(monkeypatch, tmp_path, capsys):
    for name in [name for name in sys.modules if name.startswith("m3it_jax.serving.")]:
        monkeypatch.delitem(sys.modules, name)
        monkeypatch.delattr(serving, name.rpartition(".")[2], raising=False)
    monkeypatch.setattr("builtins.__import__", _without("starlette"))
    assert main.main(["serve", str(tmp_path)]) == 1
    assert "[serve]" in capsys.readouterr().err


def _without(package: str):
    whole = __import__

    def found(name, *rest, **more):
        if name.split(".")[0] == package:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        return whole(name, *rest, **more)

    return found


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return tiny_assistant.write_run(tmp_path_factory.mktemp("served") / "run")


def _start(folder, *options: str, key: str = "") -> tuple[subprocess.Popen, str]:
    """Returns (the server's process, its first line)."""
    command = [sys.executable, "-m", "m3it_jax", "serve", str(folder), "--port", "0", "--rows", "2", *options]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, env={**os.environ, serve.KEY_VARIABLE: key}, **pipes)
    return process, process.stdout.readline()


@pytest.mark.slow
def test_it_serves_until_sigterm_and_finishes_what_is_under_way(run_folder):
    process, line = _start(run_folder, "--name", "mine")
    try:
        url = line.split()[0]
        assert "'mine'" in line and url.startswith("http://127.0.0.1:")
        body = {"messages": [{"role": "user", "content": "a circle"}], "max_tokens": 200, "stream": True}
        asked = urllib.request.Request(
            f"{url}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(asked, timeout=60) as stream:
            stream.readline()
            process.send_signal(signal.SIGTERM)
            rest = stream.read()
        assert rest.rstrip().endswith(b"data: [DONE]") and b'"finish_reason":"' in rest
        assert process.wait(60) == 0
    finally:
        process.kill()
        _, notes = process.communicate()
    assert "Traceback" not in notes and "warning" not in notes


@pytest.mark.slow
def test_an_open_server_without_a_key_is_warned_of(run_folder):
    process, line = _start(run_folder, "--host", "0.0.0.0")
    process.send_signal(signal.SIGINT)
    _, notes = process.communicate(timeout=60)
    assert line.startswith("http://0.0.0.0:")
    assert "warning: --host 0.0.0.0" in notes and serve.KEY_VARIABLE in notes
    assert process.returncode == 130 and "Traceback" not in notes
