import dataclasses

import numpy as np
import pytest

from m3it_jax import records
from m3it_jax.dataset_building.specification import Draft, SourceSpec
from m3it_jax.dataset_building.steps import pipeline
from m3it_jax.dataset_building.writing import builder


def drafts(assets, split, seed):
    for number in range(6):
        picture = np.full((4, 4, 3), 10 * number, np.uint8)
        yield Draft("skill", "", f"{split} {number}", (picture,), f"{split}-{number}", ("grey",), {"grey": str(number)})


def only_train_is_labelled(assets, split, seed):
    for draft in drafts(assets, split, seed):
        yield draft if split == "train" else dataclasses.replace(draft, attributes={"grey": f"{split} only"})


def broken(assets, split, seed):
    yield from drafts(assets, split, seed)
    if split == "test":
        raise RuntimeError("the power failed")


def stream(make=drafts, **options):
    rows = {"train": 6, "validation": 6, "test": 7}
    return pipeline.Stream(SourceSpec("toys", "vqa", "en", "vqa/question", make, rows), {}, 0, **options)


def test_a_source_is_shuffled_by_id_and_complete(tmp_path):
    made = builder.build(stream(), tmp_path, decided_by={"seed": 0, "limit": None})
    table = records.RecordTable(records.shard_paths(tmp_path / "toys" / "1.0.0", "train"))
    outputs = [table.read(number).outputs for number in range(6)]
    wanted = [f"train {number}" for number in range(6)]
    assert sorted(outputs) == wanted and outputs != wanted
    assert made["splits"] == {"train": 6, "validation": 6, "test": 6}


def test_attributes_are_of_the_train_split_alone(tmp_path):
    made = builder.build(stream(only_train_is_labelled), tmp_path, decided_by={})
    assert made["attributes"] == {"grey": [str(number) for number in range(6)]}


def test_a_build_that_breaks_off_leaves_nothing_that_looks_whole(tmp_path):
    with pytest.raises(RuntimeError, match="power"):
        builder.build(stream(broken), tmp_path, decided_by={})
    assert not (tmp_path / "toys").exists()
    builder.build(stream(), tmp_path, decided_by={"seed": 0, "limit": None})
    assert (tmp_path / "toys" / "1.0.0" / "provenance.json").exists()


def test_two_builds_give_the_same_bytes(tmp_path):
    contents = []
    for name in ("one", "two"):
        builder.build(stream(), tmp_path / name, decided_by={})
        folder = tmp_path / name / "toys" / "1.0.0"
        contents.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert contents[0] == contents[1]
