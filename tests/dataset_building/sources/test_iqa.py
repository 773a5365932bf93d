import collections
import dataclasses
import shutil

from m3it_jax import schema
from m3it_jax.dataset_building.sources import iqa


def test_the_rounded_score_is_the_grade(instances) -> None:
    grades = {record.meta["score"]: record.outputs for split in schema.SPLITS for record in instances("iqa", split)}
    assert grades == {
        1.12: "(A) bad",
        1.95: "(B) poor",
        2.5: "(C) fair",
        3.82857142857143: "(D) good",
        4.4999: "(D) good",
        4.71: "(E) excellent",
    }
    assert instances("iqa", "test")[0].inputs == "Options:\n(A) bad\n(B) poor\n(C) fair\n(D) good\n(E) excellent"


def test_each_picture_is_of_one_split_in_the_papers_proportion(drafts, raw, tmp_path) -> None:
    (tmp_path / "iqa/csv").mkdir(parents=True)
    rows = "".join(f"KonIQ-10k/1024x768/{number}.jpg,Authentic,3\n" for number in range(1400))
    (tmp_path / "iqa" / iqa.SCORES).write_text("dis_img_path,dis_type,score\n" + rows)
    found = {split: {row.group for row in drafts("iqa", split, raw=tmp_path)} for split in schema.SPLITS}
    assert len(set().union(*found.values())) == sum(map(len, found.values())) == 1400
    assert 950 < len(found["train"]) < 1050 and 160 < len(found["test"]) < 240


def test_the_paper_count_is_drawn(drafts, monkeypatch) -> None:
    known = dataclasses.replace(iqa.SPEC.published, counts={"train": 1, "validation": 1, "test": 1})
    monkeypatch.setattr(iqa, "SPEC", dataclasses.replace(iqa.SPEC, published=known))
    drawn = collections.Counter(len(drafts("iqa", "train", seed=seed)) for seed in range(8))
    assert set(drawn) <= {0, 1} and drawn[1] > 5


def test_damaged_rows_are_named(drafts, raw, tmp_path) -> None:
    folder = shutil.copytree(raw / "iqa", tmp_path / "iqa")
    rows = ["3031.jpg,Authentic,nan", "3032.jpg,Authentic,5.3", "3031.jpg,Authentic,high"]
    (folder / iqa.SCORES).write_text("\n".join(["dis_img_path,dis_type,score", *rows]) + "\n")
    found = [row for split in schema.SPLITS for row in drafts("iqa", split, raw=tmp_path)]
    assert sorted((row.place, row.reason) for row in found) == [
        (f"{iqa.SCORES}:{line}", "bad-score") for line in (2, 3, 4)
    ]
