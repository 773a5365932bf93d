import collections
import dataclasses
import shutil

import pytest

from m3it_jax import errors
from m3it_jax.dataset_building.sources import imagenet


def test_the_class_stands_among_nine_others_and_is_the_answer(instances, raw) -> None:
    record = instances("imagenet", "train")[0]
    lines = record.inputs.split("\n")
    assert [line[:4] for line in lines] == [f"({letter}) " for letter in "ABCDEFGHIJ"]
    assert record.outputs in lines and record.outputs[4:] == "tench"
    assert len(set(record.meta["options"])) == 10
    file = raw / "imagenet/ILSVRC/Data/CLS-LOC/train/n01440764/n01440764_3001.JPEG"
    assert record.images == (file.read_bytes(),)


def test_the_validation_set_takes_the_first_synset_of_the_solution(instances) -> None:
    assert [record.meta["synset"] for record in instances("imagenet", "validation")] == ["n01514668", "n02012849"]
    assert instances("imagenet", "test") == []


def test_a_name_of_two_classes_is_offered_once(instances) -> None:
    counts = collections.Counter(
        record.meta["options"].count("crane")
        for seed in range(20)
        for split in ("train", "validation")
        for record in instances("imagenet", split, seed=seed)
    )
    assert counts.keys() == {0, 1} or counts.keys() == {1}, counts  # it is among those offered, and never twice


def test_the_place_of_the_class_is_random_but_fixed_by_the_seed(drafts) -> None:
    places = collections.Counter(drafts("imagenet", "train", seed=seed)[0].outputs[1] for seed in range(200))
    assert set(places) == set("ABCDEFGHIJ") and max(places.values()) < 40
    assert drafts("imagenet", "train", seed=3) == drafts("imagenet", "train", seed=3)


def test_the_paper_count_is_drawn(drafts, monkeypatch) -> None:
    known = dataclasses.replace(imagenet.SPEC.published, counts={"train": 2, "validation": 50_000, "test": 0})
    monkeypatch.setattr(imagenet, "SPEC", dataclasses.replace(imagenet.SPEC, published=known))
    groups = {tuple(row.group for row in drafts("imagenet", "train", seed=seed)) for seed in range(8)}
    assert {len(group) for group in groups} == {2} and len(groups) > 1


def test_damaged_rows_and_files_are_named(drafts, raw, tmp_path) -> None:
    folder = shutil.copytree(raw / "imagenet", tmp_path / "imagenet")
    listed = folder / imagenet.TRAIN
    listed.write_text("n99999999/n99999999_1 1\n" + listed.read_text())
    first = drafts("imagenet", "train", raw=tmp_path)[0]
    assert (first.place, first.reason) == (f"{imagenet.TRAIN}:1", "unknown-class")
    (folder / imagenet.VALIDATION).write_text("ImageId,PredictionString\nILSVRC2012_val_1\n")
    assert [row.reason for row in drafts("imagenet", "validation", raw=tmp_path)] == ["missing-field"]
    mapping = folder / imagenet.MAPPING
    mapping.write_text("n01440764\n")
    with pytest.raises(errors.UserError, match=f"imagenet/{imagenet.MAPPING}:1"):
        drafts("imagenet", "train", raw=tmp_path)
    mapping.write_text("n01440764 tench\n")
    with pytest.raises(errors.UserError, match="at least 10"):
        drafts("imagenet", "train", raw=tmp_path)
