"""Held-out pictures: every record of a picture is on one side, and nothing is on both."""

import json

import pytest

from m3it_jax import records
from m3it_jax.config import DataConfig, Experiment
from m3it_jax.input_pipeline.order import held_pictures, mixture

GROUPS = 10


@pytest.fixture(scope="module")
def unsplit(tiny, tmp_path_factory) -> records.DataFolder:
    """A folder without a validation split: 40 records about 10 named pictures, 20 about one each."""
    path = tmp_path_factory.mktemp("unsplit")
    ones = [tiny.instance("ones", number, meta={"group": f"picture {number % GROUPS}"}) for number in range(40)]
    more = [tiny.instance("more-ones", number, meta={}) for number in range(20)]
    tiny.write_folder(path, {"ones": ones, "more-ones": more})
    manifest = json.loads((path / "m3it.json").read_text())
    for source in manifest["sources"].values():
        del source["splits"]["validation"]
    (path / "m3it.json").write_text(json.dumps(manifest))
    return records.DataFolder.open(path)


def parts(folder, source, share, seed=0) -> list[set[int]]:
    found = []
    for split in ("train", "validation"):
        where, numbers = held_pictures.part(folder, DataConfig(split=split, validation_share=share), source, seed=seed)
        assert where == "train"
        found.append(set(numbers.tolist()))
    return found


def test_all_records_of_a_picture_are_on_one_side(unsplit) -> None:
    trained, held = parts(unsplit, "ones", 0.2)
    assert trained | held == set(range(40)) and not trained & held
    assert {number % GROUPS for number in trained}.isdisjoint(number % GROUPS for number in held)
    assert len(held) == 8, "2 of 10 pictures, 4 records each"
    assert len(parts(unsplit, "more-ones", 0.2)[1]) == 4, "pictures without a name are told by their content"


def test_the_seed_decides_and_both_sides_have_something(unsplit) -> None:
    assert parts(unsplit, "ones", 0.2) == parts(unsplit, "ones", 0.2)
    assert parts(unsplit, "ones", 0.2) != parts(unsplit, "ones", 0.2, seed=1)
    assert all(parts(unsplit, "ones", 0.001)) and all(parts(unsplit, "ones", 0.999))


def test_a_validation_split_of_its_own_comes_first(folder) -> None:
    data = DataConfig(split="validation", validation_share=0.2)
    assert held_pictures.part(folder, data, "ones", seed=0) == ("validation", None)


def test_the_order_of_training_leaves_them_out_and_tells_it(unsplit) -> None:
    data = DataConfig(path=str(unsplit.path), validation_share=0.2, global_batch_size=4)
    trained, held = parts(unsplit, "ones", 0.2)
    ids = set(mixture.mixture_order(Experiment(data=data), 0, 400))
    assert {f"ones-{number}" for number in trained} <= ids
    assert ids.isdisjoint(f"ones-{number}" for number in held)
    plan = mixture.make_plan(unsplit, data, objective="response", seed=0)
    assert plan.num_records == 60 - 8 - 4


def test_the_validation_mixture_has_what_there_is(unsplit, folder) -> None:
    looked_at = DataConfig(split="validation")
    assert mixture.available(unsplit, looked_at, seed=0) == {}
    looked_at.validation_share = 0.2
    assert mixture.available(unsplit, looked_at, seed=0) == {"ones": 8.0, "more-ones": 4.0}
    looked_at.mixture = {"ones": 3.0, "pairs": 1.0}
    assert mixture.available(folder, looked_at, seed=0) == {"ones": 3.0, "pairs": 1.0}
