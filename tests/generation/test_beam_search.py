import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from m3it_jax.generation import batching, beam_search, choosing, decoding, layered
from m3it_jax.generation.request import EARLY_STOPPING, SamplingConfig
from m3it_jax.generation.stop_texts import StopTexts
from m3it_jax.models import variants, vlm

VOCABULARY, LONGEST, STOP = 4, 3, 2
NO_STOPS = StopTexts([], VOCABULARY).settings([()] * 2)


@pytest.fixture(scope="module")
def parts():
    """A model of four words, in which every answer can be listed; the test below says what it was chosen for."""
    tiny = variants.VARIANTS["tiny"]
    model = vlm.make_vlm(dataclasses.replace(tiny, decoder=dataclasses.replace(tiny.decoder, vocab_size=VOCABULARY)))
    names = ("token_ids", "image_token_index", "positions", "segment_ids")
    batch = {"images": jnp.zeros((1, 64, 64, 3), jnp.uint8), **{k: jnp.zeros((1, 2), jnp.int32) for k in names}}
    params = jax.jit(model.init)(jax.random.key(11), batch)["params"]
    return layered.of(model, jax.tree.map(lambda leaf: 2.0 * leaf, params))


def prompts():
    ids = np.array([[1, 3, 0, 1], [3, 3, 0, 0]], np.int32)
    segments = np.array([[1, 1, 1, 1], [1, 1, 0, 0]], np.int32)
    return {"token_ids": ids, "image_token_index": np.full_like(ids, -1), "segment_ids": segments}


def search(parts, num_beams, length_penalty, stop_ids=(STOP,), stops=NO_STOPS):
    model, params = parts
    config = SamplingConfig(
        max_new_tokens=LONGEST, num_beams=num_beams, length_penalty=length_penalty, early_stopping="never"
    )
    settings = batching.settings([config] * 2, num_rows=2, stop_ids=stop_ids, num_ids=VOCABULARY, stops=stops)
    logits, cache = decoding.prefill(model, params, prompts(), image_embeds=jnp.zeros((1, 4, 32)), num_slots=12)
    tokens, lengths = beam_search.search(
        model,
        params,
        logits,
        cache=cache,
        prompt_ids=None,
        settings=settings,
        num_beams=num_beams,
        num_new_slots=8,
    )
    return [row[:length].tolist() for row, length in zip(np.asarray(tokens), np.asarray(lengths), strict=True)]


def value(parts, row, answer, length_penalty):
    """Returns the value of an answer, from one forward pass over prompt and answer."""
    model, params = parts
    prompt = prompts()["token_ids"][row][prompts()["segment_ids"][row] > 0]
    ids = np.zeros((1, 8), np.int32)
    count = len(prompt) + len(answer)
    ids[0, :count] = [*prompt, *answer]
    rows = {
        "token_ids": ids,
        "image_token_index": np.full_like(ids, -1),
        "segment_ids": (np.arange(8)[None] < count).astype(np.int32),
    }
    logits = decoding.score(model, params, rows, image_embeds=jnp.zeros((1, 4, 32)))[0]
    log_p = np.asarray(jax.nn.log_softmax(logits))
    total = sum(log_p[len(prompt) - 1 + place, token] for place, token in enumerate(answer))
    return total / len(answer) ** length_penalty


def every_answer():
    for length in range(1, LONGEST + 1):
        for answer in itertools.product(range(VOCABULARY), repeat=length):
            ends = [place for place, token in enumerate(answer) if token == STOP]
            if ends == [length - 1] or (not ends and length == LONGEST):
                yield list(answer)


def best(parts, row, length_penalty):
    values = {tuple(answer): value(parts, row, answer, length_penalty) for answer in every_answer()}
    return max(values, key=values.get), values


def test_stop_ids_and_length_penalty_decide_which_answer_is_best(parts):
    """Else a search that ignores either would find the same: short answers end at the stop, long ones at the limit."""
    for row, short in ((0, (STOP,)), (1, (0, STOP))):
        assert [best(parts, row, penalty)[0] for penalty in (-1.0, 0.0)] == [short] * 2
        long = best(parts, row, 1.0)[0]
        assert len(long) == LONGEST and STOP not in long and best(parts, row, 2.0)[0] == long


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0, -1.0])
def test_wide_enough_it_finds_the_best_of_all_answers(parts, length_penalty):
    found = search(parts, VOCABULARY**LONGEST, length_penalty)
    for row in range(2):
        wanted, values = best(parts, row, length_penalty)
        assert tuple(found[row]) == wanted, (values[wanted], values.get(tuple(found[row])))


def test_one_beam_without_length_penalty_is_greedy(parts):
    model, params = parts
    config = SamplingConfig(max_new_tokens=LONGEST)
    settings = batching.settings([config] * 2, num_rows=2, stop_ids=(STOP,), num_ids=VOCABULARY, stops=NO_STOPS)
    logits, cache = decoding.prefill(model, params, prompts(), image_embeds=jnp.zeros((1, 4, 32)), num_slots=12)
    state = decoding.begin(choosing.greedy, logits, cache, prompt_ids=None, settings=settings, num_new_slots=8)
    state = decoding.run(model, params, state, choose=choosing.greedy, settings=settings, num_steps=np.int32(8))
    greedy = [row[:n].tolist() for row, n in zip(np.asarray(state["new_tokens"]), state["num_new"], strict=True)]
    assert search(parts, 1, 0.0) == greedy


def test_a_wider_search_never_finds_a_worse_answer_than_greedy_does(parts):
    for row in range(2):
        greedy, wide = search(parts, 1, 0.0)[row], search(parts, 3, 0.0)[row]
        assert value(parts, row, wide, 0.0) >= value(parts, row, greedy, 0.0) - 1e-6


def test_scores_that_are_no_numbers_do_not_keep_it_going(parts):
    model, params = parts
    broken = model, jax.tree.map(lambda leaf: leaf * jnp.nan, params)
    assert all(len(answer) <= LONGEST for answer in search(broken, 3, 1.0))  # without a bound this never returns


def test_a_stop_text_ends_an_answer_as_a_stop_id_does(parts):
    """The word of id 0 as the stop text of the second row alone."""
    stops = StopTexts([b"a", b"b", b"c", b"d"], VOCABULARY).settings([(), ("a",)])
    ended, plain = (search(parts, 6, 0.0, stop_ids=stop_ids) for stop_ids in ((STOP, 0), (STOP, 1 << 20)))
    assert (ended[1], plain[1]) == ([0], [0, STOP])
    assert search(parts, 6, 0.0, stop_ids=(STOP, 1 << 20), stops=stops) == [plain[0], ended[1]]


# num_beams answers, the best beginnings, tokens so far and at most, length penalty -> done by each rule of transformers
# (generation/utils.py, `_check_early_stop_heuristic`; "never" with a penalty above 0 thinks of the longest answer).
DONE = [
    ((-1.0, -2.0), (-5.0, -9.0), 2, 10, 1.0, {False: True, True: True, "never": False}),
    ((-1.0, -2.0), (-3.0, -9.0), 2, 10, 1.0, {False: False, True: True, "never": False}),
    ((-1.0, -np.inf), (-5.0, -9.0), 2, 10, 1.0, {False: False, True: False, "never": False}),
    ((-1.0, -20.0), (-5.0, -9.0), 2, 10, -1.0, {False: False, True: True, "never": False}),
    ((-1.0, -9.0), (-5.0, -9.0), 2, 10, -1.0, {False: True, True: True, "never": True}),
    ((-1.0, -2.0), (-2.0, -9.0), 2, 2, 0.0, {False: True, True: True, "never": True}),
    ((-1.0, -2.0), (-30.0, -90.0), 2, 10, 1.0, {False: True, True: True, "never": True}),
]


@pytest.mark.parametrize(("finished", "alive", "num_new", "max_new", "penalty", "wanted"), DONE)
def test_a_row_is_done_by_the_rule_asked_for(finished, alive, num_new, max_new, penalty, wanted):
    for rule, done in wanted.items():
        state = {"finished": jnp.array([finished]), "alive": jnp.array([alive])}
        values = {"length_penalty": penalty, "early_stopping": EARLY_STOPPING[rule], "max_new": max_new}
        settings = {name: jnp.array([value]) for name, value in values.items()}
        assert beam_search._is_done(state, settings, jnp.int32(num_new)).tolist() == [done], rule
