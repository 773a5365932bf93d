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


def test_lengths_and_rooms_are_rounded_up_to_these():
    lengths = {1: 16, 16: 16, 17: 32, 33: 48, 65: 96, 97: 128, 1025: 1536, 2048: 2048, 2049: 4096, 4097: 6144}
    assert {length: batching.length_bucket(length) for length in lengths} == lengths
    rooms = {1: 8, 8: 8, 9: 16, 16: 16, 17: 32, 128: 128}
    found = {n: batching.kind(request.SamplingConfig(max_new_tokens=n, num_beams=3)) for n in rooms}
    assert found == {n: (3, room) for n, room in rooms.items()}


def test_settings_of_requests_stand_in_their_rows():
    rows = [
        request.SamplingConfig(seed=1),
        request.SamplingConfig(seed=2**32 + 5, early_stopping="never", length_penalty=-0.5, num_beams=2),
        request.SamplingConfig(seed=2**63 - 1, early_stopping=True, temperature=0.5, top_k=3, repetition_penalty=1.5),
        request.SamplingConfig(max_new_tokens=9, min_new_tokens=4, top_p=0.25),
    ]
    found = batching.settings(rows, num_rows=5, stop_ids=(2, 7), num_ids=9, stops={"stop_table": np.zeros(1)})
    wanted = {
        "seed": [1, 5, 2**32 - 1, 0, 0],
        "early_stopping": [0, 2, 1, 0, 0],
        "length_penalty": [1, -0.5, 1, 1, 1],
        "temperature": [0, 0, 0.5, 0, 0],
        "top_k": [0, 0, 3, 0, 0],
        "top_p": [1, 1, 1, 0.25, 1],
        "repetition_penalty": [1, 1, 1.5, 1, 1],
        "max_new": [32, 32, 32, 9, 0],
        "min_new": [0, 0, 0, 4, 0],
        "stop_ids": [2, 7],
        "num_ids": 9,
        "stop_table": [0],
    }
    assert {name: array.tolist() for name, array in found.items()} == wanted
