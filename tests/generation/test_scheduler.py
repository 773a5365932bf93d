import jax
import numpy as np
import pytest
import tiny_assistant

from m3it_jax import errors
from m3it_jax.generation import scheduler as scheduler_lib
from m3it_jax.generation import slot_cache
from m3it_jax.generation.answers import Answer
from m3it_jax.generation.request import Request
from m3it_jax.generation.sampler import Sampler
from m3it_jax.generation.scheduler import Scheduler

LONG = "left or right, larger or small, a circle stands left of a handwritten seven " * 3


@pytest.fixture(scope="module")
def assistant():
    return tiny_assistant.make()


@pytest.fixture(scope="module")
def warm(assistant) -> Scheduler:
    made = Scheduler(assistant.sampler, num_rows=3, pool_bytes=1 << 20)
    made.warm_up()
    return made


def _submit(scheduler: Scheduler, instruction: str = "What colour?", **values) -> Answer:
    submitted = {name: values.pop(name) for name in ("owner", "num_best") if name in values}
    request = Request.of({"instruction": instruction, "max_new_tokens": 8, "min_new_tokens": 8, **values})
    return scheduler.submit(scheduler.sampler.prepare(request), **submitted)


def _run(scheduler: Scheduler, *answers: Answer) -> None:
    while any(not answer.finish for answer in answers):
        scheduler.step()


def test_answers_are_those_of_generate_and_nothing_is_compiled(warm, assistant, lowered):
    requests = tiny_assistant.mixed_requests(max_new_tokens=10) + [{"instruction": LONG, "max_new_tokens": 10}]
    answers = [warm.submit(assistant.sampler.prepare(Request.of(request))) for request in requests]
    _run(warm, *answers)
    assert lowered == []
    assert [answer.said.strip() for answer in answers] == assistant.generate_batch(requests)
    assert {answer.finish for answer in answers} <= {"stop", "length"}


@pytest.mark.parametrize("draw", [{}, {"temperature": 1.0, "seed": 5, "top_p": 0.9}], ids=["greedy", "drawn"])
def test_an_answer_is_the_same_bits_alone_and_beside_others_that_join_and_leave(warm, draw, monkeypatch):
    monkeypatch.setattr(scheduler_lib, "_STEP_SECONDS", 0.0)  # one step a call, so that many join and leave
    asked = {"instruction": LONG, "images": [tiny_assistant.png(1)], "max_new_tokens": 20, "min_new_tokens": 20}
    alone = _submit(warm, **asked, **draw, num_best=3)
    _run(warm, alone)
    # The neighbour has the first row, and reaches a level of the cache that the answer alone never sees.
    others = [_submit(warm, LONG + LONG, images=[tiny_assistant.png(70)], max_new_tokens=200, min_new_tokens=200)]
    warm.step()
    beside = _submit(warm, **asked, **draw, num_best=3)
    number = 0
    while not beside.finish:
        warm.step()
        number += 1
        for _ in range(warm.num_rows - warm.num_running - warm.num_waiting):
            others.append(
                _submit(warm, "word " * (number % 7 + 1), temperature=0.5, max_new_tokens=3, min_new_tokens=1)
            )
        if number % 3 == 0:
            warm.cancel(others[-1])
    assert len(others) > 4 and beside.row != alone.row
    assert beside.tokens == alone.tokens and len(alone.tokens) == 20
    assert beside.scores == alone.scores  # floats, equal to the last bit
    warm.cancel(others[0])
    _run(warm, *others)


def test_a_known_picture_and_a_known_beginning_are_not_computed_again(warm):
    first = _submit(warm, LONG, images=[tiny_assistant.png(50)])
    _run(warm, first)
    encoded, filled = warm.features.num_encoded, warm.num_filled
    again = _submit(warm, LONG, images=[tiny_assistant.png(50)])
    _run(warm, again)
    assert again.said == first.said
    assert warm.features.num_encoded == encoded
    assert again.num_shared == (first.prepared.length - 1) // slot_cache.BLOCK * slot_cache.BLOCK > 0
    assert warm.num_filled - filled == first.prepared.length - 1 - again.num_shared
    other = _submit(warm, LONG, images=[tiny_assistant.png(51)])
    _run(warm, other)
    assert other.num_shared == 0, "a picture stands at the beginning"


def test_the_pool_forgets_and_answers_stay_right(assistant):
    small = Scheduler(
        assistant.sampler,
        num_rows=3,
        pool_bytes=3
        * slot_cache.block_bytes(assistant.sampler.model.decoder.config, assistant.sampler.model.decoder.dtype),
    )
    answers = [_submit(small, f"{number} {LONG}") for number in (1, 2, 1, 3, 2)]
    _run(small, *answers)
    assert answers[0].said == answers[2].said and answers[1].said == answers[4].said


def test_owners_take_turns(warm):
    greedy = [_submit(warm, f"word {number}", owner="greedy") for number in range(9)]
    modest = _submit(warm, owner="modest")
    while not modest.finish:
        warm.step()
    assert sum(bool(answer.finish) for answer in greedy) <= warm.num_rows
    _run(warm, *greedy)


def test_a_cancelled_answer_gives_its_row_to_the_next_step(warm):
    assert not warm.is_busy
    running = [_submit(warm, max_new_tokens=100, min_new_tokens=100) for _ in range(warm.num_rows)]
    waiting = _submit(warm)
    warm.step()
    assert waiting.row < 0
    warm.cancel(running[1])
    assert running[1].finish == "cancelled" and warm.num_running == warm.num_rows - 1
    warm.step()
    assert waiting.row == running[1].row
    queued = _submit(warm, owner="late")
    warm.cancel(queued)
    assert queued.finish == "cancelled" and warm.num_waiting == 0
    for answer in running:
        warm.cancel(answer)
    _run(warm, waiting)
    assert not warm.is_busy


def test_stop_texts_end_an_answer_before_them(warm):
    whole = _submit(warm, max_new_tokens=12, min_new_tokens=0)
    _run(warm, whole)
    middle = whole.said[len(whole.said) // 2 :][:2]
    cut = _submit(warm, max_new_tokens=12, min_new_tokens=0, stop=[middle])
    _run(warm, cut)
    assert cut.finish == "stop" and cut.said == whole.said.split(middle)[0]
    assert len(cut.tokens) <= len(whole.tokens)


def test_scores_are_log_probabilities_of_the_tokens(warm, assistant):
    answer = _submit(warm, num_best=4)
    plain = _submit(warm)
    _run(warm, answer, plain)
    assert plain.scores == [] and plain.tokens == answer.tokens
    assert [score.token for score in answer.scores] == answer.tokens
    prepared = answer.prepared
    row = {
        name: np.concatenate([array, np.full(len(answer.tokens), fill, array.dtype)])
        for (name, array), fill in zip(
            ((name, prepared.row[name]) for name in ("token_ids", "image_token_index", "segment_ids")),
            (0, -1, 1),
            strict=True,
        )
    }
    row["token_ids"][prepared.length :] = answer.tokens
    logits = assistant.sampler.token_logits(row, [])[prepared.length - 1 : -1, : assistant.sampler.num_ids]
    log_p = np.asarray(jax.nn.log_softmax(logits))
    for number, score in enumerate(answer.scores):
        np.testing.assert_allclose(score.log_p, log_p[number, score.token], atol=1e-4)
        assert [token for token, _ in score.best] == np.argsort(-log_p[number], kind="stable")[:4].tolist()
        assert score.best[0][0] == score.token  # greedy


def test_rows_of_no_numbers_are_told_and_leave_nothing_behind(warm, monkeypatch):
    before = _submit(warm, LONG)
    _run(warm, before)
    bad = _submit(warm, images=[tiny_assistant.png(90)])
    table = warm.features.table
    monkeypatch.setattr(warm.features, "table", lambda *args: table(*args) * np.nan)
    _run(warm, bad)
    monkeypatch.undo()
    assert bad.finish == "error" and "finite" in str(bad.error)
    after = [_submit(warm, LONG) for _ in range(warm.num_rows)]
    _run(warm, *after)
    assert {answer.said for answer in after} == {before.said}


def test_a_picture_that_cannot_be_read_fails_its_answer_alone(warm):
    bad = _submit(warm, images=[tiny_assistant.png(91)[:200]])
    good = _submit(warm)
    _run(warm, bad, good)
    assert bad.finish == "error" and isinstance(bad.error, errors.UserError) and good.finish == "length"


def test_what_does_not_fit_or_is_not_made_here_is_refused(warm, assistant):
    small = Scheduler(assistant.sampler, num_rows=1, num_slots=64)
    with pytest.raises(errors.UserError, match="64 tokens that an answer has room for"):
        _submit(small, LONG)
    with pytest.raises(ValueError, match="beams"):
        _submit(warm, num_beams=2)
    sampler = Sampler.__new__(Sampler)
    sampler.start_ids = (0,)  # which an encoder-decoder model writes first
    with pytest.raises(errors.UserError, match="encoder-decoder"):
        Scheduler(sampler, num_rows=1)


def test_more_steps_are_made_in_one_call_where_they_are_quick(warm, monkeypatch):
    monkeypatch.setattr(scheduler_lib, "_STEP_SECONDS", 1e9)
    answer = _submit(warm, max_new_tokens=16, min_new_tokens=16)
    calls = 0
    while not answer.finish:
        warm.step()
        calls += 1
    assert calls == 1 and len(answer.tokens) == 16
