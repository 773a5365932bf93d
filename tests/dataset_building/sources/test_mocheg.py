import dataclasses
import shutil

from m3it_jax.dataset_building.sources import mocheg
from m3it_jax.dataset_building.steps import instructions


def test_a_claim_is_one_record_with_its_first_picture_of_evidence(instances, drafts, raw) -> None:
    first, second = instances("mocheg", "train")
    assert len(drafts("mocheg", "train")) == 2
    assert first.inputs == "A blue ball was found on the town square." and first.outputs == "supported"
    assert first.images == ((raw / "mocheg/train/images/03021-proof-01-square.jpg").read_bytes(),)
    assert second.outputs == "refuted" and second.meta["origin"] == "3022"


def test_a_claim_without_relevant_picture_is_not_taken(instances) -> None:
    assert "3023" not in {record.meta["origin"] for record in instances("mocheg", "train")}


def test_the_third_label_is_written_out_and_every_instruction_names_all(instances) -> None:
    assert [record.outputs for record in instances("mocheg", "test")] == ["not enough information"]
    for text in instructions.pool("classification/mocheg"):
        assert all(label in text for label in mocheg.LABELS.values()), text


def test_the_paper_count_is_drawn(drafts, monkeypatch) -> None:
    known = dataclasses.replace(mocheg.SPEC.published, counts={"train": 1, "validation": 1, "test": 1})
    monkeypatch.setattr(mocheg, "SPEC", dataclasses.replace(mocheg.SPEC, published=known))
    assert {row.origin for seed in range(9) for row in drafts("mocheg", "train", seed=seed)} == {"3021", "3022"}
    assert len(drafts("mocheg", "train")) == 1


def test_damaged_rows_are_named(drafts, raw, tmp_path) -> None:
    shutil.copytree(raw / "mocheg", tmp_path / "mocheg")
    file = tmp_path / "mocheg/val/Corpus2.csv"
    head = file.read_text().splitlines()[0]
    file.write_text(f"{head}\n,x,Claim.,,0,NEI\n3024,x,Claim.,,0,half true\n")
    assert [(row.place, row.reason) for row in drafts("mocheg", "validation", raw=tmp_path)] == [
        ("val/Corpus2.csv:2", "missing-field"),
        ("val/Corpus2.csv:3", "unknown-label"),
    ]
