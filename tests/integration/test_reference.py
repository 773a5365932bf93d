"""Against transformers itself, with other weights and other odd sizes than the stored ones, and the way back to it."""

import os
import pathlib
import subprocess

import numpy as np
import pytest
import reference_goldens
import test_parity
from reference_goldens import WHOLE
from safetensors.numpy import save_file

from m3it_jax.checkpoint_conversion import families, hf_export, mapping
from m3it_jax.models import vlm
from m3it_jax.models.variants import VARIANTS

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "tests" / "reference"
SEED = 3
LANGUAGE_MODELS = ("llama",)  # minigpt4 is made of it and of blip2_t5

pytestmark = [pytest.mark.torch, pytest.mark.slow]


@pytest.fixture(scope="module")
def reference_python() -> str:
    """Returns the interpreter that has torch and transformers."""
    path = os.environ.get("M3IT_REFERENCE_PYTHON") or str(ROOT / ".venv-reference" / "bin" / "python")
    if not pathlib.Path(path).is_file():
        pytest.skip(f"no reference environment at {path}; bash launch/test.sh makes it, or says why it cannot")
    return path


def _run(*command: object) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def made(reference_python, tmp_path_factory) -> pathlib.Path:
    """Returns folders of every family, made now."""
    folders = tmp_path_factory.mktemp("made")
    names = ["--family", *WHOLE, *LANGUAGE_MODELS]
    _run(reference_python, SCRIPTS / "make_checkpoints.py", folders, "--seed", SEED, *names)
    _run(reference_python, SCRIPTS / "make_golden.py", folders, "--without-generation", "--family", *WHOLE)
    return folders


@pytest.mark.parametrize("family", WHOLE)
def test_other_weights_and_sizes_equal_the_reference(made, family):
    variant, params = reference_goldens.parameters_of(family, made)
    assert variant != reference_goldens.variant_of(family)
    test_parity.check_layers_and_logits(family, reference_goldens.golden(family, made), variant, params)


def test_the_script_makes_the_stored_checkpoints(reference_python, tmp_path):
    _run(reference_python, SCRIPTS / "make_checkpoints.py", tmp_path, "--family", "blip2_opt", "llava")
    for family in ("blip2_opt", "llava"):
        for stored in (reference_goldens.STORED / family).iterdir():
            if not stored.name.startswith("golden"):
                assert (tmp_path / family / stored.name).read_bytes() == stored.read_bytes(), stored
