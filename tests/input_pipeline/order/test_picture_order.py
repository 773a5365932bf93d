import numpy as np
import pytest

from m3it_jax.input_pipeline.order import picture_order
from m3it_jax.input_pipeline.order.packed_plan import scrambled

SIZES = (5_000, 731, 3)


def make_order(sizes=SIZES, *, num_blocks=6, seed=0):
    pictures = [np.random.default_rng(number).integers(0, 700, size) for number, size in enumerate(sizes)]
    return picture_order.PictureOrder(
        sizes,
        lambda source, places: scrambled(pictures[source][places].astype(np.uint64), np.uint64(5)),
        seed=seed,
        num_blocks=num_blocks,
    ), pictures


def test_every_source_has_as_many_records_in_each_cluster():
    order, _ = make_order()
    found = order.within(np.arange(order.num_clusters))
    for source, size in enumerate(SIZES):
        counts = np.bincount(found.clusters[found.sources == source], minlength=order.num_clusters)
        assert counts.max() - counts.min() <= 1
        assert sorted(found.places[source].tolist()) == list(range(size))


def test_most_records_of_a_picture_share_a_cluster():
    order, pictures = make_order()
    found = order.within(np.arange(order.num_clusters))
    shown = np.concatenate([own[places] for own, places in zip(pictures, found.places, strict=True)])
    at_home = [np.bincount(found.clusters[shown == picture]).max() for picture in range(700)]
    assert sum(at_home) / len(shown) > 0.75


def test_an_epoch_holds_each_record_once_wherever_it_is_cut():
    order, _ = make_order()
    ends = np.array([0, 17, 4_000, 4_999, 5_000, 5_001, 15_000])
    for begin, end in zip(ends[:-1], ends[1:], strict=True):
        part = order.between(np.array([begin, 0, 0]), np.array([end, 0, 0]))
        assert len(part.places) == end - begin and (part.sources == 0).all()
    epoch = [order.between(np.array([b, 0, 0]), np.array([e, 0, 0])) for b, e in ((5_000, 5_017), (5_017, 10_000))]
    assert sorted(np.concatenate([part.places for part in epoch]).tolist()) == list(range(5_000))
    assert all((part.epochs == 1).all() for part in epoch)


def test_stretches_are_an_epoch_of_all_sources():
    order, _ = make_order()
    parts = [order.stretch(number) for number in range(6, 12)]
    for source, size in enumerate(SIZES):
        places = np.concatenate([part.places[part.sources == source] for part in parts])
        assert sorted(places.tolist()) == list(range(size))
    assert {epoch for part in parts for epoch in part.epochs.tolist()} == {1}


def test_clusters_are_dealt_so_that_stretches_cost_the_same():
    order, _ = make_order((64_000,), num_blocks=100)
    costs = np.random.default_rng(0).integers(100, 1_000, order.num_clusters)

    def spread():
        epochs = np.concatenate([order._permutation(epoch) for epoch in range(3)])
        return costs[epochs.reshape(-1, picture_order.STRATA)].sum(axis=1).std()

    before = spread()
    order.deal_by(costs)
    assert spread() < 0.2 * before
    assert sorted(order._permutation(0).tolist()) == list(range(order.num_clusters))


def test_parts_of_the_hashes_are_sorted_one_by_one_to_the_same_end(monkeypatch):
    whole, _ = make_order()
    monkeypatch.setattr(picture_order, "_SORTED", 1_000)
    monkeypatch.setattr(picture_order, "_PORTION", 300)
    np.testing.assert_array_equal(make_order()[0]._places, whole._places)


@pytest.mark.parametrize("size", [1, 2, 9])
def test_sources_smaller_than_the_clusters(size):
    order, _ = make_order((size, 4_000))
    found = order.between(np.array([0, 0]), np.array([3 * size + 1, 0]))
    assert np.bincount(found.places, minlength=size).min() >= 3 and len(found.places) == 3 * size + 1
