"""The study: nested subsets, the curve's statistics, and what is drawn."""

import json
import statistics
from xml.etree import ElementTree

import pytest

from m3it_jax import errors, records
from m3it_jax.analysis import ablation

NAMES = [f"source-{number}" for number in range(27)]


def test_smaller_subsets_lie_in_larger_ones_and_seeds_differ():
    for seed in range(3):
        subsets = [ablation.subset(NAMES, count, seed=seed) for count in (0, 4, 8, 16, 27)]
        assert [len(each) for each in subsets] == [0, 4, 8, 16, 27]
        assert all(set(small) < set(large) for small, large in zip(subsets, subsets[1:], strict=False))
    assert ablation.subset(NAMES, 8, seed=0) != ablation.subset(NAMES, 8, seed=1)
    assert set(ablation.subset(NAMES[::-1], 8, seed=0)) == set(ablation.subset(NAMES, 8, seed=0))


def test_counts_are_the_papers_as_far_as_there_are_so_many():
    assert ablation.counts_for("tasks", None, 27) == [0, 4, 8, 16, 27]
    assert ablation.counts_for("tasks", None, 10) == [0, 4, 8, 10]
    assert ablation.counts_for("instructions", None, 10) == [1, 2, 4, 8, 10]
    assert ablation.counts_for("tasks", [3, 1, 3], 10) == [1, 3]
    for kind, count in (("tasks", 11), ("instructions", 0)):
        with pytest.raises(errors.ConfigError, match=rf"--counts {count}: must be from"):
            ablation.counts_for(kind, [count], 10)


def test_a_folder_of_fewer_instructions_is_the_same_data(folder, tmp_path):
    kept = ablation.fewer_instructions(folder, tmp_path / "few", count=2, seed=0)
    few = records.DataFolder.open(tmp_path / "few")
    assert {name: list(info.instructions) for name, info in few.sources.items()} == kept
    assert {len(pool) for pool in kept.values()} == {2} and few.fingerprint != folder.fingerprint
    assert {name: info.fingerprint for name, info in few.sources.items()} == {
        name: info.fingerprint for name, info in folder.sources.items()
    }
    assert few.table("ones", "train").read(3) == folder.table("ones", "train").read(3)
    assert len(folder.sources["ones"].instructions) == 3, "the data are as they were"
    assert ablation.fewer_instructions(folder, tmp_path / "few", count=2, seed=0) == kept


def points(values):
    return [{"count": count, "seed": seed, "mean": mean} for count, seed, mean in values]


def test_intervals_are_students_over_seeds():
    found = ablation.summary("tasks", points([(4, 0, 10.0), (4, 1, 12.0), (4, 2, 14.0), (0, 0, 5.0)]))
    first, second = found["curve"]
    assert (first["count"], first["mean"], first["low"], first["high"]) == (0, 5.0, None, None)
    half = 4.303 * 2.0 / 3**0.5
    assert (second["mean"], second["n"]) == (12.0, 3)
    assert (second["low"], second["high"]) == (pytest.approx(12 - half), pytest.approx(12 + half))
    assert found["spread"] == pytest.approx(statistics.stdev([10.0, 12.0, 14.0]))
    assert found["paper"][27] == 27.8 and ablation.PAPER["instructions"][4] == 29.7


def test_seeds_needed_fall_with_the_square_of_the_difference():
    # 2 * (1.96 + 0.8416)^2 = 15.7: with a spread of 2, a difference of 2 needs 16 seeds.
    assert [ablation.seeds_needed(difference, 2.0) for difference in (2.0, 4.0, 100.0)] == [16, 4, 2]
    assert ablation.summary("tasks", points([(4, 0, 10.0)]))["seeds_needed"] == []


def test_the_table_and_the_plot_show_ours_beside_the_papers():
    seeds = [(count, seed, 10.0 + count + seed) for count in (1, 2, 4, 8) for seed in range(3)]
    study = {"kind": "instructions"} | ablation.summary("instructions", points(seeds))
    study = json.loads(json.dumps(study)) | {"paper": study["paper"]}
    text = ablation.table(study)
    assert "| 4 | 15.0 | 12.5 to 17.5 | 3 | 29.7 |" in text and "Standard deviation between seeds: 1.00." in text
    assert "give --seeds 0 1 2" in ablation.table(study | {"spread": None})
    drawn = ElementTree.fromstring(ablation.plot(study))
    names = [part.tag.rpartition("}")[2] for part in drawn.iter()]
    assert names.count("polyline") == 2 and names.count("circle") == 8 and names.count("line") == 4
