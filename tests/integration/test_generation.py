"""Every family writes, token for token, what transformers writes, in one batch of mixed lengths and pictures."""

import functools

import numpy as np
import pytest
import reference_goldens

from m3it_jax import prompts
from m3it_jax import tokenizer as tokenization
from m3it_jax.generation import batching, beam_search, choosing, decoding, layered
from m3it_jax.generation.assistant import Assistant
from m3it_jax.generation.request import SamplingConfig
from m3it_jax.generation.sampler import Sampler
from m3it_jax.generation.stop_texts import StopTexts
from m3it_jax.models import vlm

NEW_TOKENS = 64

# One decoder-only family and one with an encoder always; the others compile for half a minute.
SOME_SLOW = [
    pytest.param(family, marks=() if family in ("ying_vlm", "blip2_t5") else pytest.mark.slow)
    for family in reference_goldens.WHOLE
]


@functools.cache
def parts(family):
    """Returns (model, parameters, rows, image_embeds, the file's arrays, its notes)."""
    stored, notes = reference_goldens.golden(family), reference_goldens.notes(family)
    variant, params = reference_goldens.parameters_of(family)
    model, params = layered.of(vlm.make_vlm(variant), params)
    batch = reference_goldens.batch_of(stored)
    texts = {name: batch[name] for name in ("text_ids", "text_mask") if name in batch}
    embeds = decoding.encode_images(model, params, batch["images"], **texts)
    rows = {name: batch[name] for name in ("token_ids", "image_token_index", "segment_ids")}
    return model, params, rows, embeds, stored, notes


def write(family, prompt_ids=None, *, more_stop_ids=(), **sampling):
    """Returns int32 [B, 64], the new tokens of every row, then -1."""
    model, params, rows, embeds, stored, notes = parts(family)
    num_rows, vocab_size = len(stored["token_ids"]), model.decoder.config.vocab_size
    settings = batching.settings(
        [SamplingConfig(max_new_tokens=NEW_TOKENS, **sampling)] * num_rows,
        num_rows=num_rows,
        stop_ids=(notes["eos_id"], *more_stop_ids),
        num_ids=vocab_size,
        stops=StopTexts([], vocab_size).settings([()] * num_rows),
    )
    slots = stored["token_ids"].shape[1] + NEW_TOKENS
    logits, cache = decoding.prefill(model, params, rows, image_embeds=embeds, num_slots=slots)
    shape = {"prompt_ids": prompt_ids, "settings": settings, "num_new_slots": NEW_TOKENS}
    if num_beams := sampling.get("num_beams"):
        tokens, counts = beam_search.search(model, params, logits, cache=cache, num_beams=num_beams, **shape)
    else:
        state = decoding.begin(choosing.greedy, logits, cache, **shape)
        steps = {"settings": settings, "num_steps": np.int32(NEW_TOKENS)}
        state = decoding.run(model, params, state, choose=choosing.greedy, **steps)
        tokens, counts = state["new_tokens"], state["num_new"]
    return np.where(np.arange(NEW_TOKENS) < np.asarray(counts)[:, None], tokens, -1)


@pytest.mark.parametrize("family", reference_goldens.WHOLE)
def test_greedy(family):
    stored = parts(family)[4]
    assert len({(row >= 0).sum() for row in stored["greedy"]}) > 1 or (stored["greedy"] >= 0).all()
    np.testing.assert_array_equal(write(family), stored["greedy"])


@pytest.mark.parametrize("family", ["ying_vlm", "blip2_t5"])
def test_each_of_several_end_ids_ends_an_answer(family):
    wanted = parts(family)[4]["greedy"].copy()
    more = [int(wanted[0, 5]), int(wanted[1, 3])]
    for row in wanted:
        ends = np.flatnonzero(np.isin(row, more))
        row[ends[0] + 1 if len(ends) else len(row) :] = -1
    np.testing.assert_array_equal(write(family, more_stop_ids=more), wanted)


@pytest.mark.parametrize("family", SOME_SLOW)
def test_four_beams(family):
    stored, notes = parts(family)[4:]
    np.testing.assert_array_equal(write(family, num_beams=4), stored["beam4"])
    long = write(family, num_beams=4, length_penalty=notes["length_penalty"])
    np.testing.assert_array_equal(long, stored["beam4_long"])


@pytest.mark.parametrize("family", SOME_SLOW)
def test_repetition_penalty_on_new_tokens_alone_and_on_the_prompt_too(family):
    model, _, rows, _, stored, notes = parts(family)
    penalty = {"repetition_penalty": notes["repetition_penalty"]}
    start = [[model.decoder.config.start_id]] if family in reference_goldens.ENCODER_DECODERS else [[-1]]
    none = np.repeat(np.int32(start), len(stored["token_ids"]), axis=0)
    np.testing.assert_array_equal(write(family, none, **penalty), stored["repetition_generated"])
    if "repetition_prompt" in stored:
        shown = np.asarray(rows["image_token_index"]) >= 0
        ids = np.where(shown, notes["placeholder"], np.asarray(rows["token_ids"]))
        ids = np.where(np.asarray(rows["segment_ids"]) > 0, ids, -1)
        np.testing.assert_array_equal(write(family, ids, **penalty), stored["repetition_prompt"])


def assistant_of(family):
    """Returns the assistant of a stored checkpoint, with its own tokenizers and format."""
    variant, params = reference_goldens.parameters_of(family)
    path = tokenization.find(reference_goldens.STORED / family)
    reader = tokenization.find_qformer(path)
    sampler = Sampler(
        vlm.make_vlm(variant),
        params,
        tokenization.Tokenizer.load(path),
        max_rows=4,
        prompt_format=prompts.FORMATS[variant.prompt],
        image_token_id=reference_goldens.notes(family)["placeholder"],
        qformer_tokenizer=tokenization.Tokenizer.load(reader) if reader.is_file() else None,
    )
    return Assistant(sampler, {}, 0)


@pytest.mark.parametrize("family", sorted(set(reference_goldens.WHOLE) - {"minigpt4"}))
def test_logits_of_pictures_and_the_references_own_ids(family):
    assistant, stored, notes = assistant_of(family), reference_goldens.golden(family), reference_goldens.notes(family)
    count = notes["image_counts"][0]
    row = stored["token_ids"][0]
    row = row[row != reference_goldens.PADDING]
    if notes["placeholder"] is None:  # the pictures' blocks come first, and the ids after them
        after = np.flatnonzero(row == reference_goldens.PICTURE)[-1] + 1 + len(assistant.sampler.layout.close_ids)
        ids = row[after:]
    else:
        ids = np.where(row == reference_goldens.PICTURE, notes["placeholder"], row)
    more = {"decoder_ids": stored["decoder_ids"][0]} if "decoder_ids" in stored else {}
    found = assistant.logits(list(stored["pixel_values"][:count]), ids, **more, qformer_text=notes["texts"][0])
    np.testing.assert_allclose(found[stored["logit_positions"][0]], stored["logits"][0], atol=reference_goldens.LOGITS)


@pytest.mark.parametrize("family", ["blip2_t5", "instructblip_llama"])
def test_an_assistant_answers_in_its_familys_format(family):
    assistant, stored = assistant_of(family), reference_goldens.golden(family)
    pictures = list(stored["pixel_values"])
    asked = [
        {"instruction": "how many cats?", "images": pictures[:1]},
        {"instruction": "Describe the picture in one sentence.", "images": pictures[1:3]},
    ]
    asked = [{**one, "max_new_tokens": 10} for one in asked]
    together = assistant.generate_batch(asked)
    assert [assistant.generate(**one) for one in asked] == together
    assert "".join(assistant.stream(**asked[0])).strip() == together[0]
    # The question is part of what a Q-Former with text input makes of a picture.
    encoded = assistant.sampler.features.num_encoded
    assistant.generate("other words", images=pictures[:1], max_new_tokens=2)
    reads = assistant.sampler.model.qformer.config.text_vocab_size > 0
    assert assistant.sampler.features.num_encoded - encoded == int(reads)
    scored = assistant.log_likelihood("how many cats?", "", pictures[:1], "two")
    assert np.isfinite(scored) and scored < 0
