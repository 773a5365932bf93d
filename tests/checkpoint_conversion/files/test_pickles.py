import subprocess
import sys

import numpy as np
import pytest
from checkpoint_conversion import gadgets

from m3it_jax import errors, safetensors_files
from m3it_jax.checkpoint_conversion.files import pickle_scan, pickles

WEIGHTS = """
import collections, sys, torch
torch.manual_seed(0)
w = torch.arange(12, dtype=torch.float32).reshape(3, 4)
state = collections.OrderedDict(a=w, turned=w.t(), half=w.half(), b16=w.bfloat16(), none=torch.zeros(0, 2),
                                scalar=torch.tensor(3), parameter=torch.nn.Parameter(w + 1))
torch.save(state, sys.argv[1] + "/plain.bin")
torch.save({"model": state, "optimizer": {"step": 3, "m": [w]}, "epoch": 2}, sys.argv[1] + "/wrapped.pth")
torch.save(state, sys.argv[1] + "/legacy.bin", _use_new_zipfile_serialization=False)
torch.save({"big": torch.zeros(1).expand(1 << 36)}, sys.argv[1] + "/bomb.bin")
torch.save({"epoch": 1}, sys.argv[1] + "/none.bin")
torch.save([w], sys.argv[1] + "/list.bin")
"""


@pytest.fixture
def reference(reference_python, monkeypatch):
    """The interpreter with torch, which conversions find as well."""
    monkeypatch.setenv(pickles.PYTHON_VARIABLE, reference_python)
    return reference_python


def test_without_torch_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.delenv(pickles.PYTHON_VARIABLE, raising=False)
    monkeypatch.setattr(pickles.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(errors.UserError, match=r"pip install -e '.\[pickle\]' .*or name a Python .* M3IT_TORCH_PYTHON"):
        pickles.interpreter()
    monkeypatch.setenv(pickles.PYTHON_VARIABLE, str(tmp_path / "python"))
    with pytest.raises(errors.UserError, match="is no program"):
        pickles.interpreter()


def test_gadgets_are_refused_before_any_interpreter_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(pickles, "interpreter", lambda: pytest.fail("the file was not refused"))
    path = tmp_path / "weights.pth"
    path.write_bytes(gadgets.archive(gadgets.pickles(tmp_path / "sentinel")["eval"]))
    with pytest.raises(errors.UserError, match="nothing of it was run"):
        pickles.convert([path], None, scratch=tmp_path)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ('print(\'{"error": "no"}\'); sys.exit(1)', "refused: no; nothing was written"),
        ("sys.exit('Illegal instruction')", "refused: Illegal instruction"),
        ("sys.exit(3)", "refused: exit code 3"),
        ("print('{nonsense')", "it answered"),
        ("pass", "refused"),
    ],
)
def test_a_child_that_fails_is_told_in_one_line(tmp_path, monkeypatch, answer, words):
    child = tmp_path / "child.py"
    child.write_text(f"import sys\n{answer}\n")
    monkeypatch.setattr(pickles, "CHILD", child)
    monkeypatch.setenv(pickles.PYTHON_VARIABLE, sys.executable)
    monkeypatch.setattr(pickle_scan, "check", lambda path: None)
    with pytest.raises(errors.UserError) as error:
        pickles.convert([child], None, scratch=tmp_path)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_the_child_sees_nothing_of_our_environment(tmp_path, monkeypatch):
    child = tmp_path / "child.py"
    child.write_text(
        "import json, os, sys\n"
        "seen = {key: ['F32', []] for key in os.environ}\n"
        "print(json.dumps({'file': '', 'tensors': seen, 'left_out': [], 'written': None}))\n"
    )
    monkeypatch.setattr(pickles, "CHILD", child)
    monkeypatch.setenv(pickles.PYTHON_VARIABLE, sys.executable)
    monkeypatch.setenv("A_SECRET", "1")
    monkeypatch.setattr(pickle_scan, "check", lambda path: None)
    (contents,) = pickles.convert([child], None, scratch=tmp_path)
    assert set(contents.tensors) - {"LC_CTYPE"} == {
        "PATH",
        "HOME",
        "TMPDIR",
        "LANG",
        "CUDA_VISIBLE_DEVICES",
        "OMP_NUM_THREADS",
    }


@pytest.mark.torch
@pytest.mark.slow
def test_files_of_torch_become_safetensors(tmp_path, reference):
    subprocess.run([reference, "-c", WEIGHTS, str(tmp_path)], check=True)
    files = [tmp_path / name for name in ("plain.bin", "wrapped.pth", "legacy.bin")]
    listed = pickles.convert(files, None, scratch=tmp_path)
    assert all(contents.written is None for contents in listed)
    assert listed[1].left_out == ("optimizer (beside model)", "epoch (beside model)")
    (tmp_path / "out").mkdir()
    w = np.arange(12, dtype=np.float32).reshape(3, 4)
    for contents in pickles.convert(files, tmp_path / "out", scratch=tmp_path):
        read = safetensors_files.read_header(contents.written)
        described = {key: (safetensors_files.NAMES[one.dtype], one.shape) for key, one in read.items()}
        assert described == contents.tensors and len(read) == 7
        for key, wanted in (("a", w), ("turned", w.T), ("half", w), ("b16", w), ("parameter", w + 1), ("scalar", 3)):
            np.testing.assert_array_equal(read[key].mapped().astype(np.float32), wanted)
    for name, words in (("none.bin", "holds no tensors"), ("list.bin", "holds a list"), ("bomb.bin", "refused")):
        with pytest.raises(errors.UserError, match=words):
            pickles.convert([tmp_path / name], tmp_path / "out", scratch=tmp_path)


@pytest.mark.torch
@pytest.mark.slow
def test_the_child_alone_refuses_every_gadget(tmp_path, reference):
    # The first check is left out here: what it might miss must not run either. One process, as torch loads slowly.
    for form in (gadgets.archive, gadgets.legacy):
        for number in range(len(gadgets.pickles(""))):
            path = tmp_path / f"{form.__name__}{number}.pth"
            path.write_bytes(form(list(gadgets.pickles(path.with_suffix(".sentinel")).values())[number]))
    code = (
        f"import pathlib, runpy\nchild = runpy.run_path({str(pickles.CHILD)!r})\nchild['confine'](1 << 26)\n"
        "child['forbid']()\nfor path in sorted(pathlib.Path.cwd().glob('*.pth')):\n"
        " try:\n  child['load'](str(path))\n  print('loaded', path)\n except Exception as error:\n  print('refused')\n"
    )
    done = subprocess.run([reference, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.split() == ["refused"] * len(list(tmp_path.glob("*.pth"))), done
    assert not list(tmp_path.glob("*.sentinel"))


@pytest.mark.torch
@pytest.mark.slow
def test_the_child_has_no_network_and_starts_no_program(tmp_path, reference):
    code = (
        f"import runpy, socket, subprocess, os\nchild = runpy.run_path({str(pickles.CHILD)!r})\n"
        "child['confine'](1 << 26)\n"
        "try:\n socket.create_connection(('127.0.0.1', 9), 1)\nexcept OSError as error:\n print(error)\n"
        "child['forbid']()\n"
        "for act in (lambda: os.system('true'), lambda: subprocess.run(['true']), lambda: eval('1'), socket.socket):\n"
        " try:\n  act()\n except PermissionError as error:\n  print(error)\n"
    )
    done = subprocess.run([reference, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert "Network is unreachable" in done.stdout, done
    assert done.stdout.count("the file asked for") == 4, done
