"""In float32 our models compute what transformers computes, layer by layer, on the stored checkpoints."""

import jax
import numpy as np
import pytest
import reference_goldens
from reference_goldens import ENCODER_DECODERS, WHOLE

import m3it_jax
from m3it_jax import checkpointing
from m3it_jax.checkpoint_conversion.folders import importing
from m3it_jax.models import variants

SLOW = (
    "blip2_opt",
    "instructblip_llama",
    "instructblip_t5",
    "minigpt4",
)  # a bare pytest takes one with each kind of part but OPT


@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in WHOLE]
)
def test_every_layer_and_the_logits_equal_the_reference(family):
    variant, params = reference_goldens.parameters_of(family)
    reference_goldens.check_layers_and_logits(family, reference_goldens.golden(family), variant, params)


def test_the_reference_covers_what_it_must():
    for family in WHOLE:
        variant, stored = reference_goldens.variant_of(family), reference_goldens.golden(family)
        lengths = (stored["token_ids"] != reference_goldens.PADDING).sum(axis=1)
        assert len(set(lengths)) > 1, "prompts of mixed length"
        assert all(len({*picture.shape[:2]}) == 2 for name, picture in stored.items() if name.startswith("picture/"))
        assert variant.decoder.vocab_size % 128
        assert (family in ENCODER_DECODERS) == variant.is_encoder_decoder


@pytest.mark.slow
@pytest.mark.parametrize("family", WHOLE[:-1])  # MiniGPT-4 is no folder of its own
def test_an_imported_folder_answers_with_the_logits_of_the_reference(family, tmp_path):
    importing.convert(reference_goldens.STORED / family, tmp_path / family)
    params, _, _ = checkpointing.restore_params(tmp_path / family)
    variant, wanted = reference_goldens.parameters_of(family)
    assert variants.read(tmp_path / family) == variant
    jax.tree.map(np.testing.assert_array_equal, params, wanted)
    stored, notes = reference_goldens.golden(family), reference_goldens.notes(family)
    assistant = m3it_jax.load(tmp_path / family)
    first = 0
    for row, (text, count) in enumerate(zip(notes["texts"], notes["image_counts"], strict=True)):
        ids = [int(index) for index in stored["token_ids"][row] if index != reference_goldens.PADDING]
        if family == "ying_vlm":  # its reference takes the text alone and puts the pictures before it by itself
            ids = ids[ids.index(notes["bos_id"]) :]
        else:
            ids = [notes["placeholder"] if index == reference_goldens.PICTURE else index for index in ids]
        more = {"decoder_ids": stored["decoder_ids"][row].tolist()} if "decoder_ids" in stored else {}
        more |= {"qformer_text": text} if "qformer_ids" in stored else {}
        images = list(stored["pixel_values"][first : first + count])
        found = assistant.logits(images, ids, **more)[stored["logit_positions"][row]]
        assert np.abs(found - stored["logits"][row]).max() <= reference_goldens.LOGITS, (family, row)
        first += count
