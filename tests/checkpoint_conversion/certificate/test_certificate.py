"""A certificate of a sound import, and what it says of each kind of damage."""

import dataclasses
import json
import pathlib
import shutil

import jax.numpy as jnp
import pytest
import safetensors.numpy

from m3it_jax import errors
from m3it_jax.checkpoint_conversion.certificate import certificate, findings, whole_program
from m3it_jax.checkpoint_conversion.folders import importing
from m3it_jax.checkpoint_conversion.names import families

HF = pathlib.Path(__file__).parents[2] / "golden" / "hf"
FAMILY = "ying_vlm"


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """The folder that an import of the stored checkpoint makes."""
    out = tmp_path_factory.mktemp("imported") / FAMILY
    importing.convert(HF / FAMILY, out)
    return out


@pytest.fixture
def checkpoint(imported, tmp_path):
    """A copy of it that may be damaged."""
    return pathlib.Path(shutil.copytree(imported, tmp_path / "checkpoint"))


@pytest.fixture
def hf_dir(tmp_path):
    """A copy of the Hugging Face folder that may be damaged."""
    return pathlib.Path(shutil.copytree(HF / FAMILY, tmp_path / "hf_dir"))


@pytest.fixture
def silent(monkeypatch):
    """Leaves the greedy answer out: most damage shows without it."""
    monkeypatch.setattr(whole_program, "answer", lambda *_: "not asked")


def test_a_sound_import_holds_in_every_answer(imported):
    steps = []
    told = certificate.verify(HF / FAMILY, imported, finished=lambda *step: steps.append(step))
    assert told["ok"] and told["problems"] == []
    tensors = told["tensors"]
    assert tensors["num"] == 152 and tensors["num_unequal"] == 0 and tensors["unused"] == {}
    assert {part: len(rows) for part, rows in told["layers"].items()} == {
        "vit": 5,  # what goes in, three layers, the final norm
        "qformer": 5,
        "projection": 1,
        "decoder": 4,
        "head": 1,
    }
    worst = max(row["max_abs_diff"] / max(1, row["scale"]) for rows in told["layers"].values() for row in rows)
    assert 0 < worst < 2e-6  # the tolerance is 1e-5
    assert told["logits"]["same_likeliest"] == 1 and told["logits"]["max_abs_diff"] < 1e-4
    assert told["tokenizer"]["num_texts"] > 80 and told["preprocessing"]["identical"] == 1
    assert told["greedy"]["num_tokens"] > 5 and not told["greedy"]["differences"]
    assert told["hashes"].keys() >= {"config.json", "tokenizer.json"} and told["versions"]["jax"]
    assert json.loads(json.dumps(told)) == told
    assert steps[0] == (1, len(steps)) and steps[-1] == (len(steps), len(steps))
    assert "greedy" in findings.table(told) and findings.table(told).endswith("\nequal")


def test_one_flipped_bit_is_found_with_its_place(checkpoint, silent):
    path = checkpoint / "params" / "decoder.safetensors"
    content = bytearray(path.read_bytes())
    content[-40] ^= 4
    path.write_bytes(content)
    told = certificate.verify(HF / FAMILY, checkpoint)
    assert not told["ok"] and told["tensors"]["num_unequal"] == 1
    first = told["problems"][0]
    assert first.startswith("tensors: language_model.") and "(1 value differs)" in first and "[" in first
    assert findings.table(told).endswith("\nNOT equal")


def test_a_map_that_swaps_queries_and_keys_is_found_by_the_layers(tmp_path, monkeypatch, silent):
    # Both ways swap, so every tensor comes back equal: only what is computed can show it.
    right = families.entries

    def swapped(variant):
        made = right(variant)
        for number, entry in enumerate(made):
            if entry.paths[0].startswith("vit/blocks/attn/query/"):
                query, key, value = entry.paths
                made[number] = dataclasses.replace(entry, paths=(key, query, value))
        return made

    monkeypatch.setattr(families, "entries", swapped)
    importing.convert(HF / FAMILY, tmp_path / "out")
    told = certificate.verify(HF / FAMILY, tmp_path / "out")
    assert told["tensors"]["ok"] and not told["ok"]
    assert told["problems"][0].startswith("layers: vit differs in 3 of 5 states, first in state 1 by ")


def test_another_tokenizer_is_named_with_its_first_text(checkpoint, silent):
    path = checkpoint / "tokenizer.json"
    values = json.loads(path.read_text("utf-8"))
    vocabulary = values["model"]["vocab"]
    vocabulary["e"], vocabulary["a"] = vocabulary["a"], vocabulary["e"]
    path.write_text(json.dumps(values), "utf-8")
    told = certificate.verify(HF / FAMILY, checkpoint)
    (problem,) = told["problems"]
    assert problem.startswith("tokenizer: ") and 'of 87 texts have other ids; id 7 of "Wat is op die foto?' in problem
    assert told["greedy"]["left_out"] == "the tokenizers differ"

    path.unlink()
    (checkpoint / "tokenizer.model").unlink()
    (problem,) = certificate.verify(HF / FAMILY, checkpoint)["problems"]
    assert problem.endswith("tokenizer.model is missing, and HF_DIR has one")


def test_other_settings_of_the_pictures_are_found(checkpoint, hf_dir, silent):
    path = hf_dir / "preprocessor_config.json"
    values = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**values, "image_std": [0.5, 0.5, 0.5]}))
    (problem,) = certificate.verify(hf_dir, checkpoint)["problems"]
    assert problem.startswith("model: vit.pixel_std is (0.5, 0.5, 0.5) in HF_DIR and (0.26")
    path.write_text(json.dumps({**values, "resample": 0}))
    with pytest.raises(errors.UserError, match="resample=0"):
        certificate.verify(hf_dir, checkpoint)


def test_another_model_is_told_by_its_sizes(checkpoint, tmp_path):
    told = certificate.verify(HF / "llava", checkpoint)
    assert not told["ok"] and any(line.startswith("model: vit.") for line in told["problems"])
    names = list(told["model"]["differences"])
    assert len(names) > 10 and names == sorted(names)  # two runs write the same file
    assert "NOT equal" in findings.table(told)


def test_a_file_that_is_missing_is_named(checkpoint, hf_dir):
    (hf_dir / "model.safetensors").unlink()
    with pytest.raises(errors.UserError, match="has neither model.safetensors nor"):
        certificate.verify(hf_dir, checkpoint)
    (hf_dir / "config.json").unlink()
    with pytest.raises(errors.UserError, match="config.json: cannot be read"):
        certificate.verify(hf_dir, checkpoint)
    shutil.rmtree(checkpoint / "params")
    with pytest.raises(errors.UserError, match="no checkpoint here"):
        certificate.verify(HF / FAMILY, checkpoint)


def test_folders_in_the_wrong_order_are_told_so(imported):
    with pytest.raises(errors.ConfigError, match="give them the other way round"):
        certificate.verify(imported, HF / FAMILY)


@pytest.mark.slow
def test_weights_of_16_bits_are_compared_as_what_they_are(hf_dir, tmp_path):
    tensors = safetensors.numpy.load_file(hf_dir / "model.safetensors")
    halves = {key: tensor.astype(jnp.bfloat16) for key, tensor in tensors.items()}
    safetensors.numpy.save_file(halves, hf_dir / "model.safetensors")
    importing.convert(hf_dir, tmp_path / "out")
    told = certificate.verify(hf_dir, tmp_path / "out")
    assert told["problems"] == [] and told["greedy"]["num_tokens"] > 1 and told["logits"]["max_abs_diff"] < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("family", ["blip2_opt", "blip2_t5", "instructblip_llama", "instructblip_t5", "llava"])
def test_every_family_gets_its_certificate(family, tmp_path):
    importing.convert(HF / family, tmp_path / family)
    told = certificate.verify(HF / family, tmp_path / family)
    assert told["problems"] == [] and told["greedy"]["num_tokens"] > 1 and "left_out" not in told["greedy"]
