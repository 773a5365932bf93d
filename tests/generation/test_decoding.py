import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_models
import tiny_assistant

from m3it_jax import parameter_paths, sharding
from m3it_jax.generation import batching, choosing, decoding, layered
from m3it_jax.generation.request import SamplingConfig
from m3it_jax.generation.stop_texts import StopTexts

LENGTHS = np.array([12, 7, 3])
TOTAL = 12
NO_STOPS = StopTexts([], 2_560).settings([()] * 3)


def rows(start=0, stop=TOTAL, *, scrambled=False):
    """Returns three rows of different lengths; row 0 shows a picture in its tokens 1 to 4."""
    generator = np.random.default_rng(0)
    ids = generator.integers(4, 100, (3, TOTAL)).astype(np.int32)
    segments = (np.arange(TOTAL) < LENGTHS[:, None]).astype(np.int32)
    if scrambled:
        ids = np.where(segments, ids, generator.integers(4, 100, (3, TOTAL))).astype(np.int32)
    index = np.full((3, TOTAL), -1, np.int32)
    index[0, 1:5] = np.arange(4)
    whole = {"token_ids": ids, "image_token_index": index, "segment_ids": segments}
    return {name: array[:, start:stop] for name, array in whole.items()}


@pytest.fixture(scope="module")
def parts():
    model, params = layered.of(*tiny_assistant.tiny())
    image = np.asarray(tiny_assistant.picture())[None]
    return model, params, decoding.encode_images(model, params, image)


def test_prefill_and_extend_equal_the_whole_forward_pass_at_every_split(parts):
    model, params, embeds = parts
    whole = decoding.score(model, params, rows(), image_embeds=embeds)
    expected = np.asarray(whole)[np.arange(3), LENGTHS - 1]
    largest = np.abs(expected).max()
    for split in (1, 3, 6, 9, 12):
        logits, cache = decoding.prefill(model, params, rows(0, split), image_embeds=embeds, num_slots=20)
        answers = np.asarray(logits)
        if split < TOTAL:
            more, cache = decoding.extend(model, params, rows(split, TOTAL), image_embeds=embeds, cache=cache)
            ended = LENGTHS <= split
            answers = np.where(ended[:, None], answers, more)
        np.testing.assert_allclose(answers, expected, atol=2e-5 * largest, err_msg=f"split at {split}")
        np.testing.assert_array_equal(cache["lengths"], LENGTHS)


def family(name):
    """Returns (layered model, parameters, a padded batch, its image_embeds) of a small model."""
    model, params = layered.of(*small_models.make(name))
    batch = jax.tree.map(jnp.asarray, small_models.make_batch(small_models.SMALL[name], num_rows=3))
    texts = {key: batch[key] for key in ("text_ids", "text_mask") if key in batch}
    embeds = decoding.encode_images(model, params, batch["images"], **texts)
    given = {name: np.asarray(batch[name]) for name in ("token_ids", "image_token_index", "segment_ids")}
    decoder_ids = np.asarray(batch["decoder_ids"]) if "decoder_ids" in batch else None
    return model, params, given, decoder_ids, embeds


@pytest.mark.parametrize("name", sorted(set(small_models.SMALL) - {"blip2_t5"}))
def test_rows_in_parts_equal_whole_rows_in_every_family(name):
    model, params, given, _, embeds = family(name)
    lengths = given["segment_ids"].sum(axis=1)
    whole = np.asarray(decoding.score(model, params, given, image_embeds=embeds))
    total, largest = given["token_ids"].shape[1], np.abs(whole).max()
    for split in (2, int(lengths.min()), total - 1):
        first, second = (
            {key: array[:, part] for key, array in given.items()} for part in (np.s_[:split], np.s_[split:])
        )
        logits, cache = decoding.prefill(model, params, first, image_embeds=embeds, num_slots=total + 2)
        ends = np.minimum(lengths, split) - 1
        np.testing.assert_allclose(logits, whole[np.arange(3), ends], atol=2e-5 * largest)
        logits, cache = decoding.extend(model, params, second, image_embeds=embeds, cache=cache)
        later = lengths > split
        np.testing.assert_allclose(logits[later], whole[np.arange(3), lengths - 1][later], atol=2e-5 * largest)


def test_an_encoder_decoder_model_writes_what_its_whole_rows_say():
    model, params, given, decoder_ids, embeds = family("blip2_t5")
    whole = np.asarray(decoding.score(model, params, given, image_embeds=embeds, decoder_ids=decoder_ids))
    largest, count = np.abs(whole).max(), decoder_ids.shape[1]
    for pieces in ((1, 1, 1, 1), (2, 2), (3, 1)):
        logits, cache = decoding.prefill(model, params, given, image_embeds=embeds, num_slots=count + 1)
        np.testing.assert_allclose(logits, whole[:, 0], atol=2e-5 * largest)
        done = 1
        for piece in pieces:
            ids = decoder_ids[:, done : done + piece]
            more = {
                "token_ids": ids,
                "image_token_index": np.full_like(ids, -1),
                "segment_ids": np.ones_like(ids),
            }
            logits, cache = decoding.extend(model, params, more, image_embeds=embeds, cache=cache)
            done += piece
            np.testing.assert_allclose(logits, whole[:, done - 1], atol=2e-5 * largest)


@pytest.mark.parametrize("name", ["ying_vlm", "blip2_opt", "blip2_t5"])
def test_a_padded_row_changes_no_other(name):
    model, params, given, _, embeds = family(name)
    plain, _ = decoding.prefill(model, params, given, image_embeds=embeds, num_slots=24)
    changed = {key: array.copy() for key, array in given.items()}
    changed["segment_ids"][1, 4:] = 0
    other, _ = decoding.prefill(model, params, changed, image_embeds=embeds, num_slots=24)
    np.testing.assert_array_equal(np.asarray(plain)[[0, 2]], np.asarray(other)[[0, 2]])
    assert np.abs(plain[1] - other[1]).max() > 1e-3


def test_what_stands_in_padding_changes_nothing(parts):
    model, params, embeds = parts
    plain, _ = decoding.prefill(model, params, rows(), image_embeds=embeds, num_slots=16)
    scrambled, _ = decoding.prefill(model, params, rows(scrambled=True), image_embeds=embeds, num_slots=16)
    assert not np.array_equal(rows()["token_ids"], rows(scrambled=True)["token_ids"])
    np.testing.assert_array_equal(plain, scrambled)


def test_a_later_row_sees_the_picture_only_if_it_shows_it(parts):
    model, params, embeds = parts
    plain, _ = decoding.prefill(model, params, rows(), image_embeds=embeds, num_slots=16)
    other, _ = decoding.prefill(model, params, rows(), image_embeds=-embeds, num_slots=16)
    assert np.abs(plain[0] - other[0]).max() > 1e-3
    np.testing.assert_array_equal(plain[1:], other[1:])


def answer(parts, given, *, num_steps, max_new=6, params=None):
    model, own, embeds = parts
    params = own if params is None else params
    num_rows = len(given["token_ids"])
    config = SamplingConfig(max_new_tokens=max_new)
    settings = batching.settings([config] * num_rows, num_rows=num_rows, stop_ids=(2,), num_ids=2_560, stops=NO_STOPS)
    logits, cache = decoding.prefill(model, params, given, image_embeds=embeds, num_slots=20)
    state = decoding.begin(choosing.greedy, logits, cache, prompt_ids=None, settings=settings, num_new_slots=8)
    for count in num_steps:
        state = decoding.run(model, params, state, choose=choosing.greedy, settings=settings, num_steps=np.int32(count))
    return state


def test_the_loop_writes_what_asking_for_each_token_anew_would(parts):
    model, params, embeds = parts
    given = rows()
    state = answer(parts, given, num_steps=[7])
    for row, length in enumerate(LENGTHS):
        ids = given["token_ids"][row, :length].tolist()
        for token in np.asarray(state["new_tokens"])[row, : int(state["num_new"][row])]:
            index = np.full((1, 20), -1, np.int32)
            index[0, :length] = given["image_token_index"][row, :length]
            one = {
                "token_ids": np.array([ids + [0] * (20 - len(ids))], np.int32),
                "image_token_index": index,
                "segment_ids": (np.arange(20)[None] < len(ids)).astype(np.int32),
            }
            scores = decoding.score(model, params, one, image_embeds=embeds)[0, len(ids) - 1]
            assert int(scores.argmax()) == token
            ids.append(int(token))


def test_the_loop_may_be_left_and_entered_again(parts):
    whole, pieces = answer(parts, rows(), num_steps=[7]), answer(parts, rows(), num_steps=[1, 2, 4])
    np.testing.assert_array_equal(whole["new_tokens"], pieces["new_tokens"])
    np.testing.assert_array_equal(whole["num_new"], [6, 6, 6])


def test_the_loop_copies_neither_weights_nor_caches(parts):
    model, params, embeds = parts
    settings = batching.settings(
        [SamplingConfig(max_new_tokens=6)] * 3, num_rows=3, stop_ids=(2,), num_ids=2_560, stops=NO_STOPS
    )
    logits, cache = decoding.prefill(model, params, rows(), image_embeds=embeds, num_slots=20)
    state = decoding.begin(choosing.greedy, logits, cache, prompt_ids=None, settings=settings, num_new_slots=8)
    how = {"choose": choosing.greedy, "settings": settings, "num_steps": np.int32(2)}
    text = decoding.run.lower(model, params, state, **how).compile().as_text()
    moved = re.findall(r"= f32\[([\d,]+)\]\S* (?:copy|transpose)\(", text)
    largest = max((int(np.prod([int(size) for size in shape.split(",")])) for shape in moved), default=0)
    assert largest < 1_000  # the smallest kernel has 1,024 numbers, a layer's keys 1,920


def test_a_row_stops_at_its_end_and_waits_without_changing(parts):
    model, params, embeds = parts
    given = rows()
    free = np.asarray(answer(parts, given, num_steps=[7])["new_tokens"])
    stop = int(free[1, 2])
    first = [row.tolist().index(stop) if stop in row else 6 for row in free[:, :6]]
    configs = [SamplingConfig(max_new_tokens=6)] * 3
    settings = batching.settings(configs, num_rows=3, stop_ids=(stop,), num_ids=2_560, stops=NO_STOPS)
    logits, cache = decoding.prefill(model, params, given, image_embeds=embeds, num_slots=20)
    state = decoding.begin(choosing.greedy, logits, cache, prompt_ids=None, settings=settings, num_new_slots=8)
    state = decoding.run(model, params, state, choose=choosing.greedy, settings=settings, num_steps=np.int32(8))
    for row in range(3):
        count = min(first[row] + 1, 6)
        assert int(state["num_new"][row]) == count
        np.testing.assert_array_equal(state["new_tokens"][row, :count], free[row, :count])
        # The newest token is not in the cache yet; nothing came after it.
        assert int(state["kv_cache"]["lengths"][row]) == LENGTHS[row] + count - 1


@pytest.mark.parametrize(
    ("preset", "sizes", "shards"),
    [
        (
            "single",
            (8, 1, 1),
            {"head/transposed_kernel": (2_560, 32), "blocks_1/attn/qkv/transposed_kernel": (96, 32)},
        ),
        ("fsdp", (2, 4, 1), {"head/kernel": (8, 2_560), "blocks_0/mlp/gate_up/kernel": (8, 176)}),
        ("fsdp_tp", (1, 4, 2), {"head/kernel": (8, 1_280), "blocks_1/attn/query/kernel": (8, 1, 16)}),
    ],
)
def test_parameters_split_over_eight_devices_give_the_same_answers(parts, preset, sizes, shards):
    """Merged kernels stay whole where their heads would lie on different devices."""
    model, params = tiny_assistant.tiny()
    mesh = sharding.make_mesh(data=sizes[0], fsdp=sizes[1], tensor=sizes[2])
    placed = jax.device_put(params, sharding.parameter_shardings(params, mesh, sharding.PRESETS[preset]))
    _, split = layered.of(model, placed)
    leaves = parameter_paths.flatten(split["decoder"])
    assert {path: leaves[path].addressable_shards[0].data.shape for path in shards} == shards
    expected, got = answer(parts, rows(), num_steps=[7]), answer(parts, rows(), num_steps=[7], params=split)
    np.testing.assert_array_equal(expected["new_tokens"], got["new_tokens"])


def test_seen_tokens_are_the_ids_of_a_row_and_no_padding():
    assert np.flatnonzero(decoding.seen_tokens(jnp.array([[7, -1, 7], [-1, -1, -1]]), 10)).tolist() == [7]
