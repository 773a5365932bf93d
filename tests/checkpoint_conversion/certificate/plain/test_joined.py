"""The plain models give what `transformers` gave on the stored checkpoints (tests/reference), at every layer."""

import json
import pathlib

import numpy as np
import pytest
import safetensors.numpy

from m3it_jax import errors
from m3it_jax.checkpoint_conversion.certificate.plain.joined import PlainModel

HF = pathlib.Path(__file__).parents[3] / "golden" / "hf"
FAMILIES = (
    "blip2_opt",
    "blip2_t5",
    "ying_vlm",
    "instructblip_llama",
    "instructblip_t5",
    "llava",
    "llama",
    "opt",
    "t5",
)
PICTURE, PADDING = -1, -2  # in token_ids (tests/reference/make_golden.py)
LAYER, LOGIT = 1e-5, 1e-4  # their outputs are float32


def _close(plain: np.ndarray, golden: np.ndarray, tolerance: float) -> None:
    np.testing.assert_allclose(plain, golden, rtol=0, atol=tolerance * max(1.0, np.abs(golden).max()))


def _layers_close(states: list[np.ndarray], golden: np.ndarray, place: int) -> None:
    assert len(states) == len(golden)
    for state, layer in zip(states, golden, strict=True):
        _close(state, layer[place, : len(state)], LAYER)


def _picture(model: PlainModel, golden: dict[str, np.ndarray], place: int) -> np.ndarray:
    """Returns what the language model sees of a picture, after comparing each layer on the way."""
    first, *layers = model.vision_states(golden["pixel_values"][place])
    _close(first, golden["vit/embeddings"][place], LAYER)
    if model.has_qformer:
        *layers, output = layers
    else:
        output = layers[-1]
    _layers_close(layers, golden["vit/layers"], place)
    read = model.patches(output)
    _close(read, golden["vit/output"][place], LAYER)
    if model.has_qformer:
        text = golden["qformer_ids"][place][golden["qformer_mask"][place] > 0] if model.qformer_reads_text else ()
        _, *layers = model.qformer_states(read, [int(token) for token in text])
        read = layers[-1][: model.num_picture_tokens]
        _layers_close([layer[: model.num_picture_tokens] for layer in layers], golden["qformer/layers"], place)
    seen = model.projected(read)
    _close(seen, golden["projection"][place], LAYER)
    return seen


def _compare(model: PlainModel, golden: dict[str, np.ndarray]) -> None:
    seen = [_picture(model, golden, place) for place in range(len(golden["pixel_values"]))] if model.sees else []
    first = 0
    for place, padded in enumerate(golden["token_ids"]):
        row = [int(token) for token in padded if token != PADDING]
        count = row.count(PICTURE) // model.num_picture_tokens if model.sees else 0
        pictures = np.concatenate(seen[first : first + count]) if count else None
        first += count
        embeds = model.embedded(row, pictures)
        if model.is_encoder_decoder:
            _, *layers, encoded = model.encoder_states(embeds)
            _layers_close(layers, golden["encoder/layers"], place)
            _close(encoded, golden["encoder/output"][place, : len(row)], LAYER)
            written = model.embedded([int(token) for token in golden["decoder_ids"][place]])
            _, *layers, hidden = model.decoder_states(written, encoded)
        else:
            _, *layers, hidden = model.decoder_states(embeds)
        _layers_close(layers, golden["decoder/layers"], place)
        _close(hidden, golden["decoder/output"][place, : len(hidden)], LAYER)
        _close(model.logits(hidden[golden["logit_positions"][place]]), golden["logits"][place], LOGIT)
    assert first == len(seen)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_layer_and_the_logits_are_those_of_transformers(family):
    _compare(PlainModel(HF / family), dict(np.load(HF / family / "golden.npz")))


# What is stored has the names of the hub's files; these are what transformers 5 writes, or has in memory.
RENAMED = {
    "llava": ("vision_tower.vision_model.", "vision_tower."),
    "blip2_opt": ("", "model."),
}


@pytest.mark.parametrize("family", RENAMED)
def test_the_other_spelling_of_the_names_reads_the_same(family, tmp_path):
    old, new = RENAMED[family]
    tensors = safetensors.numpy.load_file(HF / family / "model.safetensors")
    renamed = {new + key.removeprefix(old) if key.startswith(old) else key: value for key, value in tensors.items()}
    if family == "blip2_opt":
        renamed = {key.replace("language_model.model.", "language_model."): value for key, value in renamed.items()}
    safetensors.numpy.save_file(renamed, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((HF / family / "config.json").read_bytes())
    _compare(PlainModel(tmp_path), dict(np.load(HF / family / "golden.npz")))


def test_shards_read_as_one_file(tmp_path):
    tensors = safetensors.numpy.load_file(HF / "t5" / "model.safetensors")
    names = {key: f"model-0000{1 + number % 2}-of-00002.safetensors" for number, key in enumerate(sorted(tensors))}
    for name in set(names.values()):
        safetensors.numpy.save_file({key: tensors[key] for key in tensors if names[key] == name}, tmp_path / name)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    (tmp_path / "config.json").write_bytes((HF / "t5" / "config.json").read_bytes())
    _compare(PlainModel(tmp_path), dict(np.load(HF / "t5" / "golden.npz")))

    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(errors.UserError, match="model-00002-of-00002.safetensors: is named by"):
        PlainModel(tmp_path)
