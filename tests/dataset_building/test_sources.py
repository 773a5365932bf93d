import pathlib
import shutil

import pytest

from m3it_jax import errors, schema
from m3it_jax import records as data_records
from m3it_jax.dataset_building import sources
from m3it_jax.dataset_building.steps import pipeline
from m3it_jax.dataset_building.writing import edition

RAW = pathlib.Path(__file__).parents[1] / "fixtures" / "raw"
SPLIT_OFF = [
    (name, split)
    for name in sources.NAMES
    for split in schema.SPLITS
    if any(file.split == split for file in sources.load(name).published.raw)
]


def without(folder, name, split):
    """Returns a raw folder that lacks the files which only this split needs."""
    spec = sources.load(name)
    for each in (name, *spec.published.borrows):
        if (RAW / each).is_dir():
            shutil.copytree(RAW / each, folder / each)
            for file in spec.published.raw:
                if file.split == split:
                    for place in file.places:
                        path = folder / each / place
                        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return folder


def records(spec, raw, split, seed=0):
    return list(pipeline.Stream(spec, sources.folders(raw), seed).instances(split))


@pytest.mark.parametrize(("name", "gone"), SPLIT_OFF)
def test_the_other_splits_are_the_same_without_the_files_of_one(tmp_path, name, gone):
    raw = without(tmp_path, name, gone)
    spec = sources.load(name)
    if not [split for split, number in spec.published.counts.items() if number and split != gone]:
        return
    (asked,) = sources.order(tmp_path / "out", raw, [name]).specs
    assert list(sources.skipped(spec, sources.folders(raw))) == [gone]
    for split in schema.SPLITS:
        assert records(asked, raw, split) == ([] if split == gone else records(spec, RAW, split)), split


def test_what_no_split_can_do_without_is_asked_for(tmp_path):
    raw = without(tmp_path, "snli-ve", "train")
    shutil.rmtree(raw / "multi30k")
    shutil.rmtree(raw / "snli-ve" / "flickr30k-images", ignore_errors=True)
    with pytest.raises(errors.UserError, match=r"lacks snli-ve/esnlive_train.csv, snli-ve/flickr30k-images/"):
        sources.order(tmp_path / "out", raw, ["snli-ve"])
    with pytest.raises(errors.UserError, match=r"lacks clevr/"):
        sources.order(tmp_path / "out", tmp_path / "nothing", ["clevr"])


def test_a_source_that_lacks_a_split_is_another_order(tmp_path):
    (half,) = sources.order(tmp_path / "out", without(tmp_path / "half", "clevr", "train"), ["clevr"]).specs
    (whole,) = sources.order(tmp_path / "out", RAW, ["clevr"]).specs
    assert half.settings == {"without": ["train"]} and whole.settings == {}


def test_a_split_is_added_when_its_files_come_and_kept_when_they_go(tmp_path):
    def built(raw):
        edition.build(sources.order(tmp_path / "out", raw, ["clevr"]), jobs=1)
        return data_records.DataFolder.open(tmp_path / "out").sources["clevr"].splits

    half = without(tmp_path / "half", "clevr", "train")
    assert set(built(half)) == {"validation"}
    assert set(built(RAW)) == {"train", "validation"}
    assert set(built(half)) == {"train", "validation"}
