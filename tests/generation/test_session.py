import pytest
import tiny_assistant

from m3it_jax.generation import decoding, pictures, request
from m3it_jax.generation.sampler import Sampler
from m3it_jax.generation.session import Session

GREEDY = request.SamplingConfig(max_new_tokens=5)


@pytest.fixture(scope="module")
def sampler() -> Sampler:
    return tiny_assistant.make().sampler


def encoded(sampler, text):
    return sampler.tokenizer.encode(text)


def fresh(sampler, prompt_ids, shown, sampling=GREEDY):
    return next(sampler.answers([sampler.lay_out(prompt_ids, shown, sampling)]))[1]


def test_every_turn_of_a_session_is_what_the_whole_prompt_gives_anew(sampler, monkeypatch):
    session, shown = Session(sampler), pictures.read([tiny_assistant.png(1)])
    ids, lengths, extend = [], [], decoding.extend

    def noted(model, params, rows, **named):
        lengths.append(rows["token_ids"].shape[1])
        return extend(model, params, rows, **named)

    monkeypatch.setattr(decoding, "extend", noted)
    for text in ("What colour is the circle?", " left or right", " blue", " seven stands left of a three " * 4):
        ids = ids + encoded(sampler, text)
        answer = list(session.stream(ids, shown, GREEDY))
        assert answer == fresh(sampler, ids, shown)
        ids += answer
    # No more goes through the model than what is new, rounded up; the second and third turn say a few words each.
    assert len(lengths) == 3 and lengths[:2] == [16, 16] and len(ids) > 64


def test_what_two_prompts_share_is_computed_once(sampler):
    session, shown = Session(sampler), pictures.read([tiny_assistant.png(1)])
    first = encoded(sampler, "What colour is the circle?")
    list(session.stream(first, shown, GREEDY))
    before = session.num_computed
    other = encoded(sampler, "left or right")
    assert list(session.stream(other, shown, GREEDY)) == fresh(sampler, other, shown)
    assert 0 < session.num_computed - before <= len(other)  # the picture's block and the begin id stay


def test_another_picture_is_never_answered_from_the_last_ones_cache(sampler):
    session, ids = Session(sampler), encoded(sampler, "What colour?")
    answers = []
    for seed in (1, 2):
        shown = pictures.read([tiny_assistant.png(seed)])
        answers.append(list(session.stream(ids, shown, GREEDY)))
        assert answers[-1] == fresh(sampler, ids, shown)
    assert answers[0] != answers[1]


def test_an_answer_that_is_broken_off_leaves_a_session_that_works(sampler):
    session, shown = Session(sampler), pictures.read([tiny_assistant.png(1)])
    ids = encoded(sampler, "What colour is the circle?")
    broken = session.stream(ids, shown, GREEDY)
    next(broken)
    broken.close()
    assert list(session.stream(ids, shown, GREEDY)) == fresh(sampler, ids, shown)


def test_draws_of_a_session_are_those_of_a_batch(sampler):
    drawn = request.SamplingConfig(max_new_tokens=5, temperature=1.0, seed=9)
    ids = encoded(sampler, "What colour?")
    assert list(Session(sampler).stream(ids, [], drawn)) == fresh(sampler, ids, [], drawn)
