import numpy as np
import tiny_assistant

from m3it_jax.generation import batching, request


def prepared(**sampling):
    sampler = tiny_assistant.make().sampler
    return [sampler.prepare(request.Request.of(one)) for one in tiny_assistant.mixed_requests(**sampling)]


def test_buckets_are_few_and_never_too_small():
    lengths = [batching.length_bucket(length) for length in range(1, 5000)]
    assert all(bucket >= length for length, bucket in enumerate(lengths, start=1))
    assert len(set(lengths)) <= 16
    assert [batching.power_bucket(count) for count in (0, 1, 2, 3, 9)] == [1, 1, 2, 4, 16]


def test_a_plan_holds_every_request_once_and_keeps_programs_apart():
    requests = prepared(max_new_tokens=4) + prepared(max_new_tokens=4, num_beams=4) + prepared(max_new_tokens=20)
    batches = list(batching.plan(requests, max_rows=4))
    assert sorted(number for batch in batches for number in batch) == list(range(15))
    for batch in batches:
        assert len({batching.kind(requests[number].sampling) for number in batch}) == 1
        assert len(batch) * requests[batch[0]].sampling.num_beams <= 4


def test_a_batch_holds_each_picture_once_and_each_row_finds_its_own():
    requests = prepared()
    num_queries = 4
    rows, pictures, slots = batching.pack(requests, num_queries)
    assert rows["token_ids"].shape[0] == 8 and slots == 8
    assert len({picture.key for picture in pictures}) == len(pictures) == 4
    for row, one in enumerate(requests):
        shown = rows["image_token_index"][row][rows["image_token_index"][row] >= 0]
        keys = [pictures[place // num_queries].key for place in shown]
        assert keys == [picture.key for picture in one.pictures for _ in range(num_queries)]
        assert [place % num_queries for place in shown] == [*range(num_queries)] * len(one.pictures)
        assert rows["segment_ids"][row].sum() == one.length
    assert not rows["segment_ids"][len(requests) :].any()


def test_rows_beyond_the_requests_are_done_at_once():
    samplings = [request.SamplingConfig(max_new_tokens=5, top_p=0.5)]
    settings = batching.settings(samplings, num_rows=4, stop_ids=(2,), num_ids=9, stops={})
    np.testing.assert_array_equal(settings["max_new"], [5, 0, 0, 0])
    np.testing.assert_array_equal(settings["top_p"], np.float32([0.5, 1, 1, 1]))
