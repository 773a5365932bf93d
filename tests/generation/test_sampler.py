import types

import jax
import numpy as np
import pytest
import tiny_assistant

from m3it_jax import errors, prompts, schema
from m3it_jax.generation import decoding, request
from m3it_jax.generation.sampler import Sampler
from m3it_jax.input_pipeline.pixels import tiling
from m3it_jax.input_pipeline.rows import record_rows, transforms


@pytest.fixture(scope="module")
def assistant():
    return tiny_assistant.make()


def ids(assistant, requests):
    prepared = [assistant.sampler.prepare(request.Request.of(one)) for one in requests]
    return [tokens for _, tokens in sorted(assistant.sampler.answers(prepared))]


@pytest.mark.parametrize("sampling", [{}, {"temperature": 1.0, "top_p": 0.9, "seed": 3}, {"num_beams": 3}])
def test_an_answer_in_a_batch_is_the_answer_alone(assistant, sampling):
    requests = tiny_assistant.mixed_requests(max_new_tokens=6, **sampling)
    together = ids(assistant, requests)
    assert len({tuple(tokens) for tokens in together}) > 1
    assert [ids(assistant, [one])[0] for one in requests] == together


def test_settings_differ_from_row_to_row(assistant):
    requests = tiny_assistant.mixed_requests(max_new_tokens=6)
    requests[1]["max_new_tokens"] = 2
    requests[2]["temperature"] = 2.0
    plain, mixed = ids(assistant, tiny_assistant.mixed_requests(max_new_tokens=6)), ids(assistant, requests)
    assert mixed[0] == plain[0] and mixed[3:] == plain[3:]
    assert mixed[1] == plain[1][:2]
    assert mixed[2] != plain[2]


def test_a_second_request_in_a_bucket_compiles_nothing(assistant, lowered):
    def answer(text, seed):
        assistant.generate(text, images=[tiny_assistant.png(seed)], max_new_tokens=5)

    jax.clear_caches()  # other tests of this process may have met these shapes
    answer("What colour?", 100)
    lowered.clear()
    answer("What colour is it?", 101)
    assert not lowered
    answer("What colour is it? " * 8, 102)  # another bucket: the listener does hear
    assert lowered


def test_mixed_lengths_compile_nothing_once_their_buckets_are_known(assistant):
    programs = (decoding.prefill, decoding.begin, decoding.run)

    def answer(length, seed):
        row = assistant.sampler.lay_out([50 + seed] * length, [], request.SamplingConfig(max_new_tokens=5))
        list(assistant.sampler.answers([row]))

    jax.clear_caches()  # other tests of this process may have met the bucket that is new at the end
    for length in (12, 28, 44, 60):  # one of each bucket
        answer(length, 0)
    sizes = [program._cache_size() for program in programs]
    for length in (1, 7, 15, 20, 30, 33, 47, 50, 62):
        answer(length, 1)
    assert [program._cache_size() for program in programs] == sizes
    answer(80, 0)  # a bucket that is not known: the sizes do count
    assert [program._cache_size() for program in programs] != sizes


def test_log_likelihood_is_the_sum_over_the_tokens_that_training_counts(assistant):
    tokenizer = assistant.sampler.tokenizer
    picture, text = tiny_assistant.png(1), prompts.YING_VLM.prompt("What colour?", "blue or red")
    given = [tokenizer.bos_id, *tokenizer.encode(text)]
    wanted = [*tokenizer.encode("blue\n"), tokenizer.eos_id]
    log_p = np.asarray(jax.nn.log_softmax(assistant.logits([picture], [*given, *wanted])))
    places = len(log_p) - len(wanted) - 1 + np.arange(len(wanted))
    found = assistant.log_likelihood("What colour?", "blue or red", [picture], "blue")
    np.testing.assert_allclose(found, log_p[places, wanted].sum(), rtol=1e-5)


def test_logits_have_a_row_for_each_position_and_look_back_only(assistant):
    picture = tiny_assistant.png(1)
    layout = assistant.sampler.layout
    short, long = assistant.logits([picture], [1, 50]), assistant.logits([picture], [1, 50, 60, 70])
    assert short.shape == (layout.block_len(4) + 2, 2_560) and short.dtype == np.float32
    np.testing.assert_allclose(short, long[: len(short)], atol=1e-5)
    other = assistant.logits([tiny_assistant.png(2)], [1, 50])
    assert np.abs(other[-1] - short[-1]).max() > 1e-3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"instruction": "blue " * 600}, "more than the model's 512 tokens"),
        ({"instruction": "x", "images": [tiny_assistant.png()] * 90}, "90 pictures .*give fewer pictures"),
        ({"instruction": "x", "max_new_tokens": 512}, "lower max_new_tokens"),
    ],
)
def test_what_the_model_cannot_hold_is_refused(assistant, values, message):
    with pytest.raises(errors.UserError, match=message):
        assistant.generate_batch([values])


def test_ids_outside_the_vocabulary_are_refused(assistant):
    with pytest.raises(errors.UserError, match="2560 is no id"):
        assistant.logits([], [1, 2560])
    with pytest.raises(errors.UserError, match="token_ids: is empty"):
        assistant.logits([], [])


def test_an_answer_goes_on_from_the_begin_that_it_is_given(assistant, monkeypatch):
    asked = {"instruction": "What is it?", "images": [tiny_assistant.png(1)], "max_new_tokens": 4}
    sampler = assistant.sampler
    plain, begun = (
        sampler.prepare(request.Request.of({**asked, "answer_begin": text})).row["token_ids"].tolist()
        for text in ("", "a circle")
    )
    begin = transforms.answer_ids(sampler.layout, sampler.tokenizer, "a circle")
    assert begin and begun == [*plain, *begin]
    with pytest.raises(errors.ConfigError, match="answer_begin: must be text"):
        request.Request.of({**asked, "answer_begin": 3})
    monkeypatch.setattr(sampler, "start_ids", (0,))  # as an encoder-decoder model has
    with pytest.raises(errors.ConfigError, match="answer_begin: an encoder-decoder"):
        sampler.prepare(request.Request.of({**asked, "answer_begin": "a circle"}))


def test_a_cache_has_room_for_what_is_written_alone_where_an_encoder_reads_the_prompt():
    assert Sampler.slots(types.SimpleNamespace(start_ids=()), 40, 8) == 48
    assert Sampler.slots(types.SimpleNamespace(start_ids=(0,)), 40, 8) == 9


@pytest.fixture(scope="module")
def tiled():
    return tiny_assistant.make(tiles=4)


PAGE = {"size": 100, "width": 200}  # two tiles and the overview


def record(images, **meta) -> schema.Instance:
    return schema.Instance("1", "s", "vqa", "en", "What colour?", "left or right", "blue", tuple(images), meta)


TURNS = {"turns": [{"instruction": "Why?", "outputs": "red", "new_pictures": 1}], "new_pictures": 1}


@pytest.mark.parametrize(
    ("images", "meta", "slots"),
    [
        ([tiny_assistant.png(1, **PAGE)], {}, [3]),
        ([tiny_assistant.png(1)], {}, [1]),
        ([tiny_assistant.png(1, **PAGE), tiny_assistant.png(2, **PAGE)], {}, [1, 1]),
        ([tiny_assistant.png(1, **PAGE), tiny_assistant.png(2, **PAGE)], TURNS, [3, 3]),
        ([tiny_assistant.png(number, **PAGE) for number in range(8)], {}, [1] * 8),
    ],
)
def test_a_model_with_tiles_is_asked_as_it_was_trained(tiled, images, meta, slots):
    sampler, one = tiled.sampler, record(images, **meta)
    cuts = record_rows.cuts(sampler.layout, one)
    assert [cut.slots for cut in cuts] == slots
    text = transforms.fit(sampler.layout, sampler.tokenizer, schema.turns_of(one))
    wanted = record_rows.shown(sampler.layout, one, text)
    asked = {"instruction": one.instruction, "inputs": one.inputs, "images": list(one.images), **meta}
    prepared = sampler.prepare(request.Request.of(asked | {"max_new_tokens": 4}))
    assert prepared.length == len(wanted["token_ids"]) - len(text.response_ids)
    for name in ("token_ids", "image_token_index", "positions"):
        np.testing.assert_array_equal(prepared.row[name], wanted[name][: prepared.length])
    pixels = [np.zeros((count, 64, 64, 3), np.uint8) for count in slots]
    for shot, out in zip(record_rows.shots(sampler.layout, one), pixels, strict=True):
        tiling.decode(shot, out, fit="stretch")
    assert len({picture.key for picture in prepared.pictures}) == sum(slots)
    np.testing.assert_array_equal([picture.pixels(64) for picture in prepared.pictures], np.concatenate(pixels))


def test_the_parts_of_a_picture_are_what_the_model_scores(tiled, assistant):
    page = tiny_assistant.png(1, **PAGE)
    tokenizer = tiled.sampler.tokenizer
    ids = [tokenizer.bos_id, *tokenizer.encode(prompts.YING_VLM.prompt("What colour?", "blue or red"))]
    wanted = [*tokenizer.encode("blue\n"), tokenizer.eos_id]
    scores = tiled.logits([page], [*ids, *wanted])
    assert len(scores) == tiled.sampler.layout.pictures_len([3]) + len(ids) + len(wanted)
    log_p = np.asarray(jax.nn.log_softmax(scores))
    places = len(log_p) - len(wanted) - 1 + np.arange(len(wanted))
    found = tiled.log_likelihood("What colour?", "blue or red", [page], "blue")
    assert found == pytest.approx(float(log_p[places, wanted].sum()), rel=1e-5)
    whole = assistant.log_likelihood("What colour?", "blue or red", [page], "blue")
    assert abs(found - whole) > 1e-3
    small = tiny_assistant.png(1)
    assert tiled.log_likelihood("What?", "", [small], "blue") == assistant.log_likelihood("What?", "", [small], "blue")


def test_tiles_that_do_not_fit_are_told(tiled):
    pages = [tiny_assistant.png(number, size=200) for number in range(30)]
    turns = [{"instruction": "Why?", "outputs": "red", "new_pictures": 1}] * 29
    with pytest.raises(errors.UserError, match=r"30 pictures in 150 tiles and overviews \(\d+ tokens\).*smaller pict"):
        tiled.generate("What?", images=pages, turns=turns, new_pictures=1, max_new_tokens=4)
    with pytest.raises(errors.UserError, match=r"images\[0\]: picture is no readable"):
        tiled.generate("What?", images=[b"broken"], max_new_tokens=4)
    normalised = np.zeros((3, 64, 64), np.float32)
    assert tiled.sampler.prepare(request.Request("What?", images=[normalised])).pictures[0].part is None
