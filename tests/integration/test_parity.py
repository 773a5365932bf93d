"""In float32 our models compute what transformers computes, layer by layer, on the stored checkpoints."""

import jax
import numpy as np
import pytest
import reference_goldens
from reference_goldens import ENCODER_DECODERS, WHOLE

from m3it_jax.models import vlm

LAYER, LOGITS = 1e-5, 1e-4  # largest difference; beyond a size of 1 the layer's is relative to the largest value

PARTS = {
    "vit/layers": "ViTBlock",
    "qformer/layers": "QFormerBlock",
    "encoder/layers": "EncoderBlock",
    "decoder/layers": "DecoderBlock",
}


def _compare(ours: np.ndarray, theirs: np.ndarray, what: str, tolerance: float) -> None:
    assert ours.shape == theirs.shape, what
    size = max(1.0, float(np.abs(theirs).max()))
    assert np.abs(ours - theirs).max() <= tolerance * size, f"{what}: {np.abs(ours - theirs).max()} at size {size}"


def check_layers_and_logits(family: str, stored: dict[str, np.ndarray], variant, params) -> None:
    """Compares every block, the parts' outputs and the logits with those of the reference."""
    model = vlm.make_vlm(variant)
    batch = reference_goldens.batch_of(stored)
    real = {"encoder/layers": np.asarray(batch["segment_ids"]) > 0}
    real["decoder/layers"] = real["encoder/layers"]
    if "decoder_ids" in stored:
        batch["decoder_ids"] = stored["decoder_ids"]
        real["decoder/layers"] = np.ones(stored["decoder_ids"].shape, bool)

    def compute(params, batch):
        # Noted where it is called: the pictures are computed once.
        logits, noted = model.apply(
            {"params": params}, batch, capture_intermediates=lambda _, name: name == "encode_images"
        )
        return noted["intermediates"]["encode_images"][0], logits

    with reference_goldens.block_outputs("ViT", *PARTS.values()) as seen:
        pictures, logits = jax.block_until_ready(jax.jit(compute)(params, batch))
    _compare(seen["ViT"][0], stored["vit/output"], f"{family} vit/output", LAYER)
    for name, kind in PARTS.items():
        if name not in stored:
            continue
        theirs = stored[name]
        ours = np.stack(seen[kind][: len(theirs)])
        if name == "qformer/layers":
            ours = ours[:, :, : theirs.shape[2]]  # the queries; the text goes no further
        keep = real[name][None, :, :, None] if name in real else True
        for layer, (our_layer, their_layer) in enumerate(zip(ours * keep, theirs, strict=True)):
            _compare(our_layer, their_layer, f"{family} {name} {layer}", LAYER)
    _compare(np.asarray(pictures), stored["projection"], f"{family} projection", LAYER)
    asked = np.take_along_axis(np.asarray(logits), stored["logit_positions"][:, :, None], axis=1)
    assert np.abs(asked - stored["logits"]).max() <= LOGITS


@pytest.mark.parametrize("family", WHOLE)
def test_every_layer_and_the_logits_equal_the_reference(family):
    variant, params = reference_goldens.parameters_of(family)
    check_layers_and_logits(family, reference_goldens.golden(family), variant, params)


def test_the_reference_covers_what_it_must():
    for family in WHOLE:
        variant, stored = reference_goldens.variant_of(family), reference_goldens.golden(family)
        lengths = (stored["token_ids"] != reference_goldens.PADDING).sum(axis=1)
        assert len(set(lengths)) > 1, "prompts of mixed length"
        assert all(len({*picture.shape[:2]}) == 2 for name, picture in stored.items() if name.startswith("picture/"))
        assert variant.decoder.vocab_size % 128
        assert (family in ENCODER_DECODERS) == variant.is_encoder_decoder
