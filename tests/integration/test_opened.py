"""Exports are opened by transformers: by the program itself where it is at hand, else by what it computed before.

The stored outputs belong to the export of a run that has the stored weights: the files that the export writes today
must be those that transformers opened then, byte for byte, and our program must compute the same as it did. With torch
at hand each kind is trained for two steps first, and its export is opened now.
"""

import numpy as np
import opened_folders
import pytest
import reference_goldens
from opened_folders import KINDS, OUTPUTS, TRAINED

from m3it_jax.checkpoint_conversion.folders import exporting
from m3it_jax.models import variants

QUICK = ("ying_vlm", "llava")  # a bare pytest takes these


@pytest.mark.parametrize("name", [one if one in QUICK else pytest.param(one, marks=pytest.mark.slow) for one in KINDS])
def test_an_export_is_the_one_that_transformers_opened(name, tmp_path):
    checkpoint, folder = opened_folders.exported(name, tmp_path)
    told = reference_goldens.read_json(OUTPUTS / f"{name}.json")
    again = "the export writes other files than those that were opened: run python tests/opened_folders.py"
    assert opened_folders.digest(folder) == told["digest"], again
    asked = opened_folders.ask(folder, variants.read(checkpoint), opened_folders.pictures(tmp_path / "pictures"))
    with np.load(OUTPUTS / f"{name}.npz") as arrays:
        outputs = dict(arrays)
    for version in opened_folders.VERSIONS:
        theirs = {key.removeprefix(f"{version}/"): value for key, value in outputs.items() if key.startswith(version)}
        assert opened_folders.compare(checkpoint, asked, told[version], theirs).problems == [], version


def _open(checkpoint, folder, tmp_path):
    asked = opened_folders.ask(folder, variants.read(checkpoint), opened_folders.pictures(tmp_path / "pictures"))
    for python in opened_folders.interpreters():
        opened_folders.run(python, folder)
        assert opened_folders.compare(checkpoint, asked, *opened_folders.read(folder)).problems == [], python


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_what_two_steps_made_of_it_is_opened_now(name, reference_python, folder, tmp_path):
    checkpoint = opened_folders.trained(opened_folders.imported(name, tmp_path), tmp_path / "run", data=folder.path)
    exporting.convert(exporting.plan(checkpoint), tmp_path / "hf")
    _open(checkpoint, tmp_path / "hf", tmp_path)


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(KINDS) - set(TRAINED)))
def test_what_is_not_trained_is_opened_as_it_was_imported(name, reference_python, tmp_path):
    _open(*opened_folders.exported(name, tmp_path), tmp_path)
