"""Thousands of damaged and unusual configurations: refused in one line, or read as transformers reads them.

The answers of transformers are stored for the first 200 of each family; tests/reference/score_mutants.py makes them,
and others where an interpreter has it (M3IT_LONG=1 with M3IT_REFERENCE_PYTHON: 2,000).
"""

import gzip
import json
import os
import pathlib
import subprocess

import config_mutants
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_goldens
from checkpoint_conversion import small_folders

from m3it_jax import errors
from m3it_jax.checkpoint_conversion.configs import hf_config
from m3it_jax.checkpoint_conversion.folders import planning
from m3it_jax.checkpoint_conversion.names import families, mapping
from m3it_jax.models import vlm

STORED = pathlib.Path(__file__).parents[1] / "golden" / "config_mutants.json.gz"
COMPARED = 3  # variants of a family whose scores are computed in every run; the long one computes all
TOLERANCE = 2e-3  # beside scores of size 1 to 4 in float32
LONG = bool(os.environ.get("M3IT_LONG"))
SCRIPT = pathlib.Path(__file__).parents[1] / "reference" / "score_mutants.py"


def base(family):
    return reference_goldens.read_json(reference_goldens.STORED / family / "config.json")


def drawn(family, count, seed=0):
    return config_mutants.mutants(base(family), seed=f"{family} {seed}", count=count)


def read(values):
    """Returns what a configuration describes, or None where it is refused, which takes one line."""
    try:
        return hf_config.recognise(values, where="config.json")[1]
    except errors.UserError as error:
        message = str(error)
        assert message.startswith("config.json: ") and "\n" not in message and len(message) < 400, message
        return None


def tensors(variant):
    """Returns the shape of every tensor that a file of this model holds; transformers ties the head of every T5."""
    entries = families.entries(variant)
    found = {entry.key: entry.shape for entry in entries}
    if families.T5_EMBEDDING in found:
        found.pop(families.T5_HEAD, None)
    return found


def check_sizes(variant, sizes):
    found = {}
    for key, shape in tensors(variant).items():
        part = config_mutants.part_of(key)
        if part is not None:
            found[part] = found.get(part, 0) + int(np.prod(shape))
    assert found == sizes


def scores(variant):
    shapes = tensors(variant)
    entries, known = families.entries(variant), families.unused(variant)
    found = planning.with_one_of_two(
        {key: config_mutants.numbers(key, shape) for key, shape in shapes.items()}, entries, known
    )
    flat = mapping.to_ours(entries, found, reference_goldens.parameter_shapes(variant))
    length, side = variant.picture_len, variant.vit.image_size
    ids = [0] * length + list(config_mutants.TEXT_IDS)
    batch = {
        "images": jnp.asarray(config_mutants.picture(side).transpose(0, 2, 3, 1)),
        "token_ids": jnp.asarray([ids], jnp.int32),
        "image_token_index": jnp.asarray([[*range(length), -1, -1, -1, -1]], jnp.int32),
        "positions": jnp.arange(len(ids), dtype=jnp.int32)[None],
        "segment_ids": jnp.ones((1, len(ids)), jnp.int32),
    }
    if variant.is_encoder_decoder:
        batch["decoder_ids"] = jnp.asarray([config_mutants.DECODER_IDS], jnp.int32)
    if variant.qformer is not None and variant.qformer.text_vocab_size:
        batch["text_ids"] = jnp.asarray([config_mutants.QFORMER_IDS], jnp.int32)
        batch["text_mask"] = jnp.ones((1, len(config_mutants.QFORMER_IDS)), bool)
    model = vlm.make_vlm(variant)
    found = jax.jit(model.apply)({"params": reference_goldens.nested(flat)}, batch)
    last = np.asarray(found)[0, -1]
    return last[:: max(1, len(last) // 5)]


def compare(mutants, verdicts, *, most):
    """Compares what both sides make of configurations; returns how many (were accepted by both, were computed)."""
    accepted, computed = 0, {}
    for values, verdict in zip(mutants, verdicts, strict=True):
        variant = read(values)
        if variant is None or "refused" in verdict:
            continue
        accepted += 1
        try:
            check_sizes(variant, verdict["sizes"])
            has_rest = variant.vit.image_size % variant.vit.patch_size > 0  # one place is kept for such a tower
            room = most if has_rest else most - 1
            if verdict["scores"] is None or (variant not in computed and len(computed) >= room):
                continue
            if variant not in computed:
                computed[variant] = scores(variant)
            np.testing.assert_allclose(computed[variant], verdict["scores"], rtol=TOLERANCE, atol=TOLERANCE)
        except AssertionError as error:
            raise AssertionError(f"{json.dumps(values)}\n{error}") from error
    return accepted, len(computed)


@pytest.mark.parametrize("family", small_folders.WHOLE)
def test_what_is_accepted_is_what_transformers_reads(family):
    verdicts = json.loads(gzip.decompress(STORED.read_bytes()))[family]
    accepted, computed = compare(drawn(family, len(verdicts)), verdicts, most=len(verdicts) if LONG else COMPARED)
    assert len(verdicts) == 200 and accepted >= 60 and computed >= COMPARED - 1


@pytest.mark.parametrize("family", small_folders.WHOLE)
def test_no_mutant_ends_in_a_traceback(family):
    found = [read(values) for values in drawn(family, 2_000)]
    assert 200 < sum(variant is None for variant in found) < 1_800


@pytest.mark.slow
@pytest.mark.parametrize("family", small_folders.WHOLE)
def test_many_mutants_beside_the_program(family, reference_python, tmp_path):
    count = 2_000 if LONG else 200
    request, answer = tmp_path / "request.json", tmp_path / "answer.json"
    request.write_text(json.dumps({"bases": {family: base(family)}, "seed": 1, "count": count}))
    subprocess.run([reference_python, SCRIPT, request, answer], check=True, timeout=3_000)
    verdicts = json.loads(answer.read_text())[family]
    accepted, _ = compare(drawn(family, count, seed=1), verdicts, most=count if LONG else COMPARED)
    assert accepted >= count // 4
