"""In float32 our models compute what transformers computes, layer by layer, on the stored checkpoints."""

import pytest
import reference_goldens
from reference_goldens import ENCODER_DECODERS, WHOLE

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
