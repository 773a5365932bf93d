"""Against transformers itself, with other weights and other odd sizes than the stored ones, and the way back to it."""

import json
import pathlib
import subprocess

import jax
import numpy as np
import pytest
import reference_goldens
import tiny_assistant
from reference_goldens import WHOLE
from safetensors.numpy import save_file

from m3it_jax.checkpoint_conversion.configs import hf_export
from m3it_jax.checkpoint_conversion.folders import exporting
from m3it_jax.checkpoint_conversion.names import families, mapping
from m3it_jax.models import vlm
from m3it_jax.models.variants import VARIANTS
from m3it_jax.tokenizer import probe_texts

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "tests" / "reference"
SEED = 3
EXPORTED = ("blip2_opt", "ying_vlm", "instructblip_t5", "llava")  # with tiny: each class and each kind of part
LANGUAGE_MODELS = ("llama",)  # minigpt4 is made of it and of blip2_t5

pytestmark = [pytest.mark.torch, pytest.mark.slow]


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
    reference_goldens.check_layers_and_logits(family, reference_goldens.golden(family, made), variant, params)


def test_the_script_makes_the_stored_checkpoints(reference_python, tmp_path):
    _run(reference_python, SCRIPTS / "make_checkpoints.py", tmp_path, "--family", "blip2_opt", "llava")
    for family in ("blip2_opt", "llava"):
        for stored in (reference_goldens.STORED / family).iterdir():
            if not stored.name.startswith("golden"):
                assert (tmp_path / family / stored.name).read_bytes() == stored.read_bytes(), stored


def _write_folder(folder: pathlib.Path, variant, params: dict[str, np.ndarray]) -> None:
    """Writes our parameters {path: array} as a folder of transformers, configuration included."""
    folder.mkdir()
    ids = hf_export.TokenIds(bos=1, eos=(2,), pad=0, image=variant.decoder.vocab_size - 1)
    for name, values in hf_export.export_files(variant, ids, dtype="float32").items():
        (folder / name).write_text(json.dumps(values), encoding="utf-8")
    tensors = mapping.to_hf(families.entries(variant), params)
    tensors |= {key: np.full(shape, value, np.float32) for key, (shape, value) in hf_export.fillers(variant).items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _random_parameters(variant, seed: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    shapes = reference_goldens.parameter_shapes(variant)
    return {path: generator.normal(0, 0.2, shape).astype(np.float32) for path, shape in shapes.items()}


def test_what_was_trained_here_is_loaded_by_transformers_and_computes_the_same(reference_python, tmp_path):
    # As a run folder has them: nothing of a Hugging Face folder is kept, the configuration is made from the variant.
    variants = {family: reference_goldens.variant_of(family) for family in EXPORTED} | {"tiny": VARIANTS["tiny"]}
    expected = {}
    for number, (family, variant) in enumerate(variants.items()):
        params = _random_parameters(variant, number)
        _write_folder(tmp_path / family, variant, params)
        generator, picture = np.random.default_rng(number), [reference_goldens.PICTURE] * variant.picture_len
        words = generator.integers(3, variant.decoder.vocab_size - 1, (2, 6))
        rows = np.concatenate([np.tile(picture, (2, 1)), words], axis=1)
        edge = variant.vit.image_size
        given = {"pixel_values": generator.normal(size=(2, 3, edge, edge)).astype(np.float32)}
        if variant.qformer is not None and variant.qformer.text_vocab_size:
            given["qformer_ids"] = generator.integers(1, variant.qformer.text_vocab_size, (2, 5))
            given["qformer_mask"] = np.ones((2, 5), np.int64)
        if variant.is_encoder_decoder:
            given["decoder_ids"] = generator.integers(1, variant.decoder.vocab_size, (2, 4))
        batch = reference_goldens.batch_of(given | {"token_ids": rows})
        if "decoder_ids" in given:
            batch["decoder_ids"] = given["decoder_ids"]
        model = vlm.make_vlm(variant)
        expected[family] = jax.jit(lambda params, batch, model=model: model.apply({"params": params}, batch))(
            reference_goldens.nested(params), batch
        )
        placeholders = np.where(rows == reference_goldens.PICTURE, variant.decoder.vocab_size - 1, rows)
        np.savez(tmp_path / family / "input.npz", **given, token_ids=placeholders)
    _run(reference_python, SCRIPTS / "load_exported.py", *(tmp_path / family for family in variants))
    for family, logits in expected.items():
        told = reference_goldens.read_json(tmp_path / family / "loaded.json")
        assert not any(told.values()), f"{family}: {told}"
        with np.load(tmp_path / family / "loaded.npz") as loaded:
            size = max(1.0, float(np.abs(loaded["logits"]).max()))
            assert np.abs(np.asarray(logits) - loaded["logits"]).max() <= reference_goldens.LOGITS * size, family


def test_a_run_folder_is_exported_with_a_tokenizer_that_transformers_reads_alike(reference_python, tmp_path):
    run, out = tiny_assistant.write_run(tmp_path / "run"), tmp_path / "out"
    exporting.convert(exporting.plan(run), out)
    texts = [text for text in probe_texts.TEXTS if "<" not in text and "\u2581" not in text]  # spellings of special ids
    (tmp_path / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    told = json.loads(_run(reference_python, SCRIPTS / "encode_exported.py", out, tmp_path / "texts.json"))
    assert told["processor"] == "Blip2Processor"
    assert told["image_id"] == reference_goldens.read_json(out / "config.json")["image_token_index"]
    ours = tiny_assistant.words()
    assert told["ids"] == [[ours.bos_id, *ours.encode(text)] for text in texts]
