import collections
import functools
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3it_jax import errors
from m3it_jax.input_pipeline.order import bins, packed_plan, picture_order, token_lengths

BUDGETS = bins.Budgets(256, 6, 0)
SHARED = 12
HOSTS = (1, 2, 4, 8, 16, 32)


def make_stream(name, size, *, pictures, seed=0, weight=None, pool=0, chosen=None):
    """Records of which several show one picture; `pictures` 0: text alone."""
    rng = np.random.default_rng([seed, size])
    own = rng.integers(4, 60, size)
    keys = 1 + rng.integers(0, max(pictures, 1), size).astype(np.uint64)
    shared = SHARED if pictures else 0
    lengths = token_lengths.Lengths(
        tokens=(shared + own[:, None] + np.arange(1 + pool)).astype(np.uint16),
        targets=(own // 4).astype(np.uint16),
        shared=np.full(size, shared, np.uint16),
        keys=keys if pictures else np.zeros(size, np.uint64),
        fits=np.zeros(size, np.uint8),
    )
    records = np.arange(size) if chosen is None else np.asarray(chosen)
    num_images = np.full(size, int(pictures > 0), np.int32)
    return packed_plan.Stream(name, records, lengths, num_images, weight or float(size), f"{name}-{size}")


STREAMS = (
    make_stream("captions", 300, pictures=60),
    make_stream("questions", 120, pictures=60, pool=3),
    make_stream("rare", 7, pictures=5, seed=1),
    make_stream("words", 40, pictures=0),
)


def make_plan(streams=STREAMS, *, seed=3, rows=32, budgets=BUDGETS, shares=True):
    return packed_plan.PackedPlan(streams, seed=seed, global_batch_size=rows, budgets=budgets, shares=shares)


def same_rows(left, right):
    assert len(left) == len(right)
    assert all(np.array_equal(one, other) for one, other in zip(left, right, strict=True))


def cost(plan, streams, row):
    """Returns tokens and pictures of a row by its entries alone, each group's beginning counted once."""
    tokens = pictures = 0
    for _, members in itertools.groupby(row.tolist(), key=lambda entry: entry[4]):
        for place, (source, record, _, drawn, _) in enumerate(members):
            lengths = streams[source].lengths
            tokens += int(lengths.tokens[record, drawn]) - (int(lengths.shared[record]) if place else 0)
            pictures += 0 if place else int(streams[source].num_images[record])
    return tokens, pictures


@pytest.mark.parametrize("shares", [True, False])
def test_rows_stay_within_their_budgets(shares):
    plan = make_plan(shares=shares)
    for row in plan.rows(0, 300):
        tokens, pictures = cost(plan, STREAMS, row)
        assert tokens <= plan.budgets.tokens and pictures <= plan.budgets.images
        targets = sum(int(STREAMS[source].lengths.targets[record]) for source, record, *_ in row.tolist())
        assert targets <= plan.budgets.targets


def test_only_records_of_one_picture_stand_in_a_group_and_some_are_of_two_sources():
    across = 0
    for row in make_plan().rows(0, 200):
        for _, members in itertools.groupby(row.tolist(), key=lambda entry: entry[4]):
            found = list(members)
            keys = {int(STREAMS[source].lengths.keys[record]) for source, record, *_ in found}
            assert len(found) == 1 or (len(keys) == 1 and 0 not in keys)
            across += len({source for source, *_ in found}) > 1
    assert across > 50


def test_without_sharing_each_record_is_a_group():
    for row in make_plan(shares=False).rows(0, 100):
        assert len(np.unique(row[:, 4])) == len(row)


def test_the_rows_are_full():
    big = [make_stream("captions", 30_000, pictures=9_000), make_stream("questions", 9_000, pictures=9_000)]
    plan = make_plan(big, budgets=bins.Budgets(1024, 16, 0))
    rows = plan.rows(0, 300)
    assert np.mean([cost(plan, big, row)[0] for row in rows]) / 1024 > 0.97


def records_of(rows):
    return [tuple(entry[:3]) for row in rows for entry in row.tolist()]


def test_every_record_comes_once_in_each_epoch_of_its_source():
    plan = make_plan()
    seen = collections.defaultdict(list)
    for source, record, epoch in records_of(plan.rows(0, 900)):
        seen[source, epoch].append(record)
    complete = 0
    for (source, epoch), found in seen.items():
        assert len(found) == len(set(found))
        if (source, epoch + 1) in seen and (source, epoch + 2) in seen:
            assert set(found) == set(STREAMS[source].records.tolist())
            complete += 1
    assert complete > 10


def test_blocks_hold_the_share_of_each_source_to_one_record():
    streams = [make_stream("a", 500, pictures=90, weight=3.0), make_stream("b", 90, pictures=90, weight=1.0)]
    plan = make_plan(streams)
    records = sum(len(plan._entries(number)) for number in range(8)) / 8
    for number in range(8):
        counts = np.bincount(plan._entries(number)[:, 0])
        assert abs(counts - records * np.array([0.75, 0.25])).max() < 2


def test_sources_without_weights_end_their_epochs_together_and_stay_in_proportion():
    streams = [make_stream("a", 6_000, pictures=900), make_stream("b", 900, pictures=900, seed=1)]
    plan = make_plan(streams, budgets=bins.Budgets(128, 6, 0))
    per_epoch = plan._order.num_clusters // picture_order.STRATA
    assert per_epoch > 1
    for epoch in range(2):
        blocks = [plan._entries(epoch * per_epoch + number) for number in range(per_epoch)]
        assert all((block[:, 2] == epoch).all() for block in blocks)
        assert sorted(records_of(blocks)) == [
            (source, record, epoch) for source, size in enumerate((6_000, 900)) for record in range(size)
        ]
        for block in blocks:
            counts = np.bincount(block[:, 0])
            assert abs(counts - np.array([6_000, 900]) / per_epoch).max() <= picture_order.STRATA


def test_the_order_mixes_epochs_anew():
    plan = make_plan([make_stream("a", 6_000, pictures=900)], budgets=bins.Budgets(128, 6, 0))
    per_epoch = plan._order.num_clusters // picture_order.STRATA
    first, second = (set(plan._entries(number * per_epoch)[:, 1].tolist()) for number in (0, 1))
    assert len(first & second) < 0.5 * len(first)


def test_what_finds_no_room_goes_into_the_next_block():
    """Blocks that are made smaller than their records need: nothing is lost, and rows stay within their budgets."""
    plan = make_plan()
    plan.block_rows -= 4
    late = [(plan._packed(number).rows < 0).sum() for number in range(6)]
    plan.block_rows += 3
    plan._packed.cache_clear()
    plan._packed = functools.lru_cache(lambda number: _tight(plan, number))
    assert min(late) > 0
    rows = plan.rows(0, 6 * plan.block_rows)
    wanted = np.concatenate([plan._entries(number) for number in range(6)])
    found = records_of(rows)
    assert len(set(found)) == len(found) and set(found) <= set(records_of([wanted]))
    left = plan._packed(5)
    assert len(found) == len(wanted) - int((left.rows < 0)[left.entries[:, 4]].sum())
    for row in rows:
        tokens, pictures = cost(plan, STREAMS, row)
        assert tokens <= plan.budgets.tokens and pictures <= plan.budgets.images


def _tight(plan, number):
    """A block of which the last rows were not packed."""
    entries, costs = plan._grouped(number, plan.budgets)
    rows, free = bins.pack(costs, plan.budgets, num_rows=plan.block_rows)
    late = np.flatnonzero(rows == plan.block_rows - 1)[:3]
    free = free.copy()
    np.add.at(free, rows[late], costs[late])
    rows[late] = -1
    return packed_plan._Packed(entries, costs, rows, free)


def test_a_block_that_cannot_take_what_is_late_is_refused():
    plan = make_plan()
    plan.block_rows -= 6
    with pytest.raises(errors.UserError, match=r"need more room than there is.*data.row_len=256"):
        plan.rows(0, 8 * plan.block_rows)


def test_a_dropped_record_is_never_met():
    chosen = [2, 3, 5, 7, 11]
    plan = make_plan([make_stream("few", 20, pictures=4, chosen=chosen)], rows=2)
    assert {record for _, record, _ in records_of(plan.rows(0, 40))} == set(chosen)


def test_instructions_are_drawn_from_the_pool_in_each_epoch():
    drawn = collections.defaultdict(dict)
    for row in make_plan().rows(0, 600):
        for source, record, epoch, instruction, _ in row.tolist():
            drawn[source, record][epoch] = instruction
    assert {place for (source, _), by in drawn.items() if source != 1 for place in by.values()} == {0}
    questions = [by for (source, _), by in drawn.items() if source == 1]
    counts = np.bincount([place for by in questions for place in by.values()])
    assert counts[0] == 0 and counts[1:].min() > 0.8 * counts[1:].max()
    assert np.mean([len(set(by.values())) > 1 for by in questions if len(by) > 3]) > 0.9


def test_any_step_is_found_without_the_steps_before_it(monkeypatch):
    streamed = make_plan()
    steps = [streamed.step(step) for step in range(40)]
    for step in (39, 0, 17):
        same_rows(make_plan().step(step), steps[step])
    far, packed = make_plan(), []
    pack = far._packed
    far._packed = lambda number: packed.append(number) or pack(number)
    far.step(10**9)
    assert packed and min(packed) > 10**6 and len(set(packed)) <= 32 // far.block_rows + 3


def test_other_settings_are_other_orders():
    plain = make_plan()
    others = [
        make_plan(seed=4),
        make_plan(shares=False),
        make_plan(budgets=bins.Budgets(300, 6, 0)),
        make_plan(rows=16),
        make_plan([*STREAMS[:3], make_stream("words", 40, pictures=0, weight=80.0)]),
    ]
    assert len({plan.fingerprint for plan in [plain, *others]}) == 6
    assert make_plan().fingerprint == plain.fingerprint


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 1000),
    sizes=st.lists(st.tuples(st.integers(1, 150), st.integers(0, 40), st.floats(0.1, 9.0)), min_size=1, max_size=4),
    hosts=st.lists(st.sampled_from(HOSTS), min_size=1, max_size=5),
    kills=st.lists(st.integers(0, 6), min_size=5, max_size=5),
)
def test_any_hosts_and_kill_points_read_the_same_global_rows(seed, sizes, hosts, kills):
    """A run that is stopped after some steps and goes on with other hosts reads what an undisturbed one reads."""
    streams = [
        make_stream(f"s{number}", size, pictures=pictures, seed=number, weight=weight)
        for number, (size, pictures, weight) in enumerate(sizes)
    ]
    undisturbed = [row for step in range(12) for row in make_plan(streams, seed=seed).step(step)]
    found, step = [], 0
    for count, steps in zip(itertools.cycle(hosts), [*kills, 12], strict=False):
        plan = make_plan(streams, seed=seed)  # as a fresh process has it
        for _ in range(min(steps, 12 - step)):
            rows = plan.step(step)
            share = len(rows) // count
            found += [row for host in range(count) for row in rows[host * share : (host + 1) * share]]
            step += 1
    same_rows(found, undisturbed)


@pytest.mark.parametrize(("before", "after"), list(itertools.permutations(HOSTS, 2)))
def test_a_change_of_hosts_in_mid_epoch_loses_and_repeats_nothing(before, after):
    plan = make_plan()
    global_rows = [row for step in range(6) for row in plan.step(step)]
    found = []
    for step in range(6):
        count = before if step < 3 else after
        plan.check_divisible(count)
        rows, share = plan.step(step), 32 // count
        readers = [rows[host * share : (host + 1) * share] for host in range(count)]
        found += [row for reader in readers for row in reader]
    same_rows(found, global_rows)
    assert records_of(found) == records_of(global_rows)


def test_hosts_that_cannot_share_and_ranges_that_are_none_are_refused():
    with pytest.raises(errors.ConfigError, match=r"data.global_batch_size=32: 3 hosts"):
        make_plan().check_divisible(3)
    for start, stop in ((-1, 2), (3, 2)):
        with pytest.raises(errors.UserError, match=f"rows {start} to {stop}"):
            make_plan().rows(start, stop)
    assert make_plan().rows(5, 5) == []
