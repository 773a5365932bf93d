import hashlib
import types

import numpy as np
import pytest

from m3it_jax import config, errors
from m3it_jax.input_pipeline.order import mixture
from m3it_jax.training import objectives

COUNTS = {
    "ones": np.ones(700, int),
    "few": np.ones(30, int),
    "mixed": np.array([1] * 50 + [2] * 60),
    "films": np.full(90, 8),
}


def make_plan(*, weights=None, seed=3, counts=COUNTS, global_batch_size=16, max_images=32):
    streams = mixture.make_streams(counts, weights or {})
    return mixture.Plan(streams, seed=seed, global_batch_size=global_batch_size, max_images=max_images)


def test_any_step_is_found_without_the_steps_before_it():
    streamed = make_plan()
    steps = [streamed.step(step) for step in range(450)]
    for step in (449, 0, 137, 99, 100, 301):
        num_images, rows = make_plan().step(step)  # a fresh plan each time: nothing was looked at before
        assert num_images == steps[step][0]
        np.testing.assert_array_equal(rows, steps[step][1])


def test_rows_that_are_not_packed_are_those_of_before_there_was_packing():
    """Runs from then resume: the order's own hash, and that of its first rows, as they were written down then."""
    plan = make_plan()
    assert plan.fingerprint == "479a380e5613aecbea06b3d87fecffd37f4c6c505ccfd6cddb81c106670a8846"
    rows = hashlib.sha256(plan.rows(0, 5000).tobytes()).hexdigest()
    assert rows == "c8f8a3027d505d72e807abcfb3d5ff0167a06d8b08e62ff985e5b5c2cfcc2e15"


def test_far_steps_cost_nothing():
    num_images, rows = make_plan().step(10**9)
    assert len(rows) == make_plan().rows_per_step()[num_images]


def test_every_record_comes_once_in_each_epoch_of_its_stream():
    plan = make_plan()
    seen: dict[tuple[int, int, int], list[int]] = {}
    for step in range(600):
        num_images, rows = plan.step(step)
        for source, record, epoch in rows:
            seen.setdefault((int(source), num_images, int(epoch)), []).append(int(record))
    complete = 0
    for (source, num_images, epoch), found in seen.items():
        wanted = set(np.flatnonzero(COUNTS[plan.source_names[source]] == num_images).tolist())
        assert len(set(found)) == len(found) and set(found) <= wanted
        if (source, num_images, epoch + 1) in seen:  # the next epoch has begun, so this one is over
            assert set(found) == wanted
            complete += 1
    assert complete > 20


def test_epochs_differ_in_order():
    plan = make_plan(counts={"few": np.ones(32, int)}, global_batch_size=32)
    first, second = plan.step(0)[1][:, 1], plan.step(1)[1][:, 1]
    assert sorted(first) == sorted(second) == list(range(32))
    assert list(first) != list(second)


def test_blocks_hold_a_fixed_count_of_each_bucket_and_stream():
    plan = make_plan()
    blocks = [
        np.bincount([plan.step(s)[0] for s in range(b, b + mixture.BLOCK_STEPS)], minlength=9) for b in (0, 100, 700)
    ]
    for block in blocks:
        np.testing.assert_array_equal(block, blocks[0])
    ones = np.concatenate([rows for n, rows in map(plan.step, range(200)) if n == 1])
    full = len(ones) // mixture.BLOCK_ROWS * mixture.BLOCK_ROWS
    counts = [np.bincount(part[:, 0], minlength=4) for part in ones[:full].reshape(-1, mixture.BLOCK_ROWS, 3)]
    assert len(counts) > 3
    for count in counts:
        np.testing.assert_array_equal(count, counts[0])


def test_without_weights_every_source_has_its_share_of_rows():
    plan = make_plan(max_images=64)
    rows = np.concatenate([plan.step(step)[1] for step in range(1000)])
    sizes = np.array([len(COUNTS[name]) for name in plan.source_names])
    shares = np.bincount(rows[:, 0], minlength=4) / len(rows)
    np.testing.assert_allclose(shares, sizes / sizes.sum(), atol=0.02)


def test_weights_are_shares_of_rows_even_if_steps_have_few():
    plan = make_plan(weights={"ones": 3, "films": 1})
    assert plan.source_names == ["films", "ones"]
    rows = np.concatenate([plan.step(step)[1] for step in range(1000)])
    assert np.mean(rows[:, 0] == 0) == pytest.approx(0.25, abs=0.01)


def test_rows_of_a_step_have_one_number_of_pictures_and_stay_within_the_limit():
    plan = make_plan(global_batch_size=16, max_images=24)
    assert plan.rows_per_step() == {1: 16, 2: 12, 8: 3}
    for step in range(200):
        num_images, rows = plan.step(step)
        assert len(rows) == plan.rows_per_step()[num_images]
        assert all(COUNTS[plan.source_names[source]][record] == num_images for source, record, _ in rows)


def test_another_source_leaves_the_order_within_a_source_alone():
    def order(counts):
        plan = make_plan(counts=counts)
        rows = np.concatenate([plan.step(step)[1] for step in range(200)])
        return [int(record) for source, record, epoch in rows if plan.source_names[source] == "few" and epoch == 0]

    assert order(COUNTS) == order({"few": COUNTS["few"], "other": np.ones(500, int)})


def test_the_seed_decides_the_order():
    same, other = make_plan().step(5)[1], make_plan(seed=4).step(5)[1]
    np.testing.assert_array_equal(make_plan().step(5)[1], same)
    assert same.shape != other.shape or (same != other).any()


def test_rows_join_the_steps():
    plan = make_plan()
    joined = np.concatenate([plan.step(step)[1] for step in range(250)])
    for start, stop in ((0, 1), (0, len(joined)), (137, 190), (1600, 1601), (len(joined) - 5, len(joined))):
        np.testing.assert_array_equal(plan.rows(start, stop), joined[start:stop])
    assert plan.rows(40, 40).shape == (0, 3)


def test_fingerprint_follows_what_decides_the_order():
    base = make_plan().fingerprint
    assert make_plan().fingerprint == base
    changes = [
        {"seed": 4},
        {"global_batch_size": 8},
        {"max_images": 40},
        {"weights": {"ones": 1}},
        {"counts": COUNTS | {"few": np.ones(31, int)}},
    ]
    assert len({make_plan(**change).fingerprint for change in changes} | {base}) == len(changes) + 1


def test_apportion_sums_and_leaves_nobody_out():
    np.testing.assert_array_equal(mixture.apportion([1, 1, 1], 100), [34, 33, 33])
    np.testing.assert_array_equal(mixture.apportion([1e-9, 1, 1], 10), [1, 5, 4])
    with pytest.raises(errors.ConfigError, match="11 streams"):
        mixture.apportion([1] * 11, 10)


def test_wrong_mixtures_are_refused():
    with pytest.raises(errors.ConfigError, match=r"'fewe'.*did you mean 'few'"):
        make_plan(weights={"fewe": 1})
    with pytest.raises(errors.ConfigError, match="no record"):
        make_plan(weights={"empty": 1}, counts=COUNTS | {"empty": np.zeros(0, int)})
    with pytest.raises(errors.ConfigError, match=r"max_images=4.*'films'.*8 or more"):
        make_plan(max_images=4)
    with pytest.raises(errors.ConfigError, match="no source has a record"):
        make_plan(counts={})


def test_rows_that_hosts_cannot_share_are_refused():
    plan = make_plan(global_batch_size=16, max_images=24)
    plan.check_divisible(1)
    with pytest.raises(errors.ConfigError, match="12 rows, which 8"):
        plan.check_divisible(8)


def test_towers_put_all_records_into_one_bucket():
    tables = {name: types.SimpleNamespace(num_images=counts) for name, counts in COUNTS.items()}
    folder = data_folder(**dict.fromkeys(COUNTS, "MIT"))
    folder.table = lambda name, split: tables[name]
    data = config.DataConfig(global_batch_size=16, max_images=16)
    assert mixture.make_plan(folder, data, objective="towers", seed=0).rows_per_step() == {1: 16}
    assert mixture.make_plan(folder, data, objective="response", seed=0).rows_per_step() == {1: 16, 2: 8, 8: 2}


def data_folder(**licences):
    sources = {
        name: types.SimpleNamespace(
            task="video" if name == "films" else "vqa", licence=licence, splits={"train": len(COUNTS[name])}
        )
        for name, licence in licences.items()
    }
    tables = {name: types.SimpleNamespace(num_images=COUNTS[name]) for name in sources}
    return types.SimpleNamespace(sources=sources, table=lambda name, split: tables[name])


MIXED_TERMS = {"ones": "MIT", "few": "Non-commercial", "films": "Unknown"}


@pytest.mark.parametrize(
    ("allow", "left"),
    [
        ("", ["few", "films", "ones"]),
        ("commercial", ["ones"]),
        ("research", ["few", "ones"]),
        ("research,unknown", ["few", "films", "ones"]),
    ],
)
def test_only_what_the_licences_allow_is_mixed(allow, left):
    data = config.DataConfig(allow=allow)
    assert mixture.make_plan(data_folder(**MIXED_TERMS), data, objective="response", seed=0).source_names == left


def test_the_loss_is_told_for_each_task():
    data = config.DataConfig(allow="commercial", mixture={"ones": 1.0, "few": 1.0, "films": 1.0})
    assert mixture.loss_by_task(data_folder(**MIXED_TERMS), data) == [
        "data.allow=commercial: video loses 90 of 90 records (films)",
        "data.allow=commercial: vqa loses 30 of 730 records (few)",
    ]
    with pytest.raises(errors.ConfigError, match="no source of data.mixture"):
        data = config.DataConfig(allow="commercial", mixture={"films": 1.0})
        mixture.make_plan(data_folder(**MIXED_TERMS), data, objective="response", seed=0)


def test_a_source_without_the_split_is_left_out():
    folder = data_folder(**MIXED_TERMS)
    folder.sources["few"].splits = {"test": 30}
    assert mixture.make_plan(folder, config.DataConfig(), objective="response", seed=0).source_names == [
        "films",
        "ones",
    ]


def test_mixture_order_gives_the_ids_that_training_reads(folder, make_pipeline):
    experiment = config.Experiment(seed=7, data=config.DataConfig(path=str(folder.path), global_batch_size=8))
    experiment.data.max_images = 16
    ids = mixture.mixture_order(experiment, 5, 60)
    pipeline = make_pipeline()
    trained = [name for step in range(20) for name in pipeline.record_ids(step)]
    assert ids == trained[5:60]
    with pytest.raises(errors.UserError, match="start"):
        mixture.mixture_order(experiment, 5, 4)


def test_mixture_order_knows_which_rows_each_objective_trains_on(folder, make_pipeline):
    experiment = config.Experiment(data=config.DataConfig(path=str(folder.path), global_batch_size=8, max_images=16))
    for name, objective in objectives.OBJECTIVES.items():
        experiment.objective = name
        making = make_pipeline(objective=objective.rows, seed=experiment.seed)
        trained = [record for step in range(6) for record in making.record_ids(step)]
        assert mixture.mixture_order(experiment, 0, len(trained)) == trained


@pytest.mark.parametrize("seed", range(30))
def test_counts_are_those_of_the_largest_remainders(seed):
    """No row could be given from one stream to another and bring both nearer to their shares."""
    chance = np.random.default_rng(seed)
    weights, total = chance.uniform(0.1, 50, int(chance.integers(1, 12))) ** 2, int(chance.integers(12, 90))
    counts, ideal = mixture.apportion(weights, total), weights / weights.sum() * total
    assert counts.sum() == total and counts.min() >= 1
    if (ideal >= 1).all():
        order = np.argsort(np.floor(ideal) - ideal)
        wanted = np.floor(ideal).astype(int)
        wanted[order[: total - wanted.sum()]] += 1
        assert counts.tolist() == wanted.tolist()
    short, free = ideal - counts, counts > 1
    assert not free.any() or short.max() - short[free].min() <= 1 + 1e-9


def test_a_source_that_the_folder_lacks_is_told_with_a_near_name(folder):
    data = config.DataConfig(path=str(folder.path), global_batch_size=8, max_images=16, mixture={"one": 1.0})
    with pytest.raises(errors.ConfigError, match=r"data\.mixture\['one'\]: no such source .* did you mean 'ones'"):
        mixture.make_plan(folder, data, objective="response", seed=0)


def test_rows_that_hosts_cannot_share_are_told_in_rows():
    streams = [mixture.Stream("texts", 0, 0, np.arange(9), 1.0)]
    plan = mixture.Plan(streams, seed=0, global_batch_size=6, max_images=4)
    with pytest.raises(errors.ConfigError, match="6 rows, which 4 .* choose multiples of 4"):
        plan.check_divisible(4)


@pytest.mark.parametrize(
    ("fields", "weights", "wanted"),
    [
        ({}, {}, {}),
        ({}, {"a": 2.0}, {"a": 2.0}),
        ({"source_cap": 100}, {}, {"a": 1.0, "b": 0.64, "c": 0.01}),
        ({"temperature": 2.0}, {}, {"a": 1.0, "b": 0.08, "c": 0.01}),
        ({"temperature": 2.0, "source_cap": 100}, {}, {"a": 1.0, "b": 0.8, "c": 0.1}),
        ({"temperature": 2.0}, {"a": 1.0, "b": 4.0}, {"a": 0.5, "b": 1.0}),
        ({"temperature": 1e9}, {"a": 1.0, "b": 4e6}, {"a": 1.0, "b": 1.0}),  # balanced
    ],
)
def test_sizes_up_to_a_cap_and_temperature_flatten_the_shares(fields, weights, wanted):
    sizes = {"a": 10_000.0, "b": 64.0, "c": 1.0}
    assert mixture.tempered(weights, sizes, config.DataConfig(**fields)) == pytest.approx(wanted)


def test_an_order_has_the_shares_of_cap_and_temperature(folder):
    def shares(**fields):
        data = config.DataConfig(path=str(folder.path), **fields)
        found = mixture.streams(folder, data, objective="response", seed=0)
        by_source = {}
        for stream in found:
            by_source[stream.source] = by_source.get(stream.source, 0.0) + stream.weight
        return {name: weight / sum(by_source.values()) for name, weight in by_source.items()}

    by_size, balanced = shares(), shares(temperature=1e9)
    assert len(set(by_size.values())) > 1
    assert balanced == pytest.approx(dict.fromkeys(by_size, 1 / len(by_size)))
    assert shares(source_cap=1) == pytest.approx(balanced)


def test_a_cap_on_sizes_beside_weights_is_refused():
    with pytest.raises(errors.ConfigError, match=r"data.source_cap=9: .*drop one of the two"):
        config.validate(config.Experiment(data=config.DataConfig(mixture={"ones": 1.0}, source_cap=9)))
