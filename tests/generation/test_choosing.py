import jax.numpy as jnp
import numpy as np

from m3it_jax.generation import batching, choosing
from m3it_jax.generation.request import SamplingConfig
from m3it_jax.generation.stop_texts import StopTexts

SCORES = jnp.log(jnp.array([[0.5, 0.2, 0.15, 0.1, 0.05]]))


def settings(num_rows=1, num_ids=5, stop_ids=(4,), **fields):
    configs = [SamplingConfig(**{**fields, "seed": fields.get("seed", 0) + row}) for row in range(num_rows)]
    return batching.settings(
        configs, num_rows=num_rows, stop_ids=stop_ids, num_ids=num_ids, stops=StopTexts([], 5).settings([()] * num_rows)
    )


def kept(scores):
    return np.isfinite(np.asarray(scores[0])).tolist()


def test_top_k_keeps_the_likeliest_and_zero_keeps_all():
    assert kept(choosing.keep_top_k(SCORES, jnp.array([2]))) == [True, True, False, False, False]
    assert kept(choosing.keep_top_k(SCORES, jnp.array([0]))) == [True] * 5
    assert kept(choosing.keep_top_k(SCORES, jnp.array([99]))) == [True] * 5


def test_top_p_keeps_the_fewest_that_reach_it_and_always_the_first():
    assert kept(choosing.keep_top_p(SCORES, jnp.array([0.6]))) == [True, True, False, False, False]
    assert kept(choosing.keep_top_p(SCORES, jnp.array([0.0]))) == [True, False, False, False, False]
    assert kept(choosing.keep_top_p(SCORES, jnp.array([1.0]))) == [True] * 5


def test_repetition_makes_a_seen_token_less_likely_whatever_its_sign():
    seen = jnp.array([[True, False, True]])
    scores = choosing.adjust(
        jnp.array([[2.0, 2.0, -2.0]]),
        settings(num_ids=3, stop_ids=(1,), repetition_penalty=2.0),
        seen=seen,
        num_new=jnp.array([1]),
        stop_state=jnp.array([0]),
    )
    np.testing.assert_allclose(scores, [[1.0, 2.0, -4.0]])


def test_ends_are_forbidden_until_the_least_length_and_unknown_ids_always():
    fields = settings(num_ids=4, stop_ids=(1, 3), min_new_tokens=2)
    early = choosing.adjust(
        jnp.zeros((1, 5)), fields, seen=jnp.zeros((1, 5), bool), num_new=jnp.array([1]), stop_state=jnp.array([0])
    )
    late = choosing.adjust(
        jnp.zeros((1, 5)), fields, seen=jnp.zeros((1, 5), bool), num_new=jnp.array([2]), stop_state=jnp.array([0])
    )
    assert kept(early) == [True, False, True, False, False]
    assert kept(late) == [True, True, True, True, False]


def test_draws_follow_the_probabilities_at_temperature_one():
    num_rows = 4000
    drawn = choosing.sample(
        jnp.repeat(SCORES, num_rows, axis=0), settings(num_rows, temperature=1.0), jnp.zeros(num_rows, jnp.int32)
    )
    shares = np.bincount(np.asarray(drawn), minlength=5) / num_rows
    # Four standard deviations of a share of 0.5 over 4,000 draws are 0.032.
    np.testing.assert_allclose(shares, np.exp(SCORES[0]), atol=0.032)


def test_a_row_without_temperature_stays_greedy_among_drawn_ones():
    fields = settings(2, temperature=50.0)
    fields["temperature"][0] = 0.0
    tokens = [choosing.sample(jnp.repeat(SCORES, 2, axis=0), fields, jnp.array([n, n])) for n in range(20)]
    assert {int(row[0]) for row in tokens} == {0}
    assert len({int(row[1]) for row in tokens}) > 1


def test_a_draw_depends_on_seed_and_place_alone():
    def draws(seed):
        fields = settings(1, temperature=5.0, seed=seed)
        return [int(choosing.sample(SCORES, fields, jnp.array([n]))[0]) for n in range(12)]

    assert draws(1) == draws(1)
    assert draws(1) != draws(2)
