import shutil

from m3it_jax.dataset_building.steps import instructions


def test_the_sentence_stands_in_the_instruction_and_the_reason_on_the_second_line(instances) -> None:
    records = instances("snli-ve", "train")
    assert [record.outputs.split("\n")[0] for record in records] == ["yes", "maybe", "no"]
    last = records[-1]
    assert last.inputs == "" and last.outputs == "no\nA street with a ball on it is not empty."
    assert 'The street is empty, "as always".' in last.instruction
    assert [record.meta["group"] for record in records] == ["3011.jpg", "3011.jpg", "3012.jpg"]


def test_every_instruction_has_the_slot_once() -> None:
    assert {text.count("[HYPO]") for text in instructions.pool("classification/snli-ve")} == {1}


def test_splits_are_the_publishers(instances) -> None:
    assert [record.meta["origin"] for record in instances("snli-ve", "validation")] == ["3013.jpg#1r1n"]
    assert [record.meta["origin_split"] for record in instances("snli-ve", "test")] == ["test"]


def test_pictures_may_lie_with_multi30k(instances, raw, tmp_path) -> None:
    shutil.copytree(raw / "snli-ve", tmp_path / "snli-ve")
    shutil.move(tmp_path / "snli-ve/flickr30k-images", tmp_path / "multi30k/flickr30k-images")
    assert len(instances("snli-ve", "train", raw=tmp_path)) == 3


def test_damaged_rows_are_named(drafts, raw, tmp_path) -> None:
    folder = shutil.copytree(raw / "snli-ve", tmp_path / "snli-ve")
    rows = ["0,a,3011.jpg,A ball.,perhaps,Why not.", "1,b,3011.jpg,A ball.,neutral, ", "2,c"]
    (folder / "esnlive_dev.csv").write_text(
        "\n".join([",pairID,Flickr30kID,hypothesis,gold_label,explanation", *rows]) + "\n"
    )
    assert [(row.place, row.reason) for row in drafts("snli-ve", "validation", raw=tmp_path)] == [
        ("esnlive_dev.csv:2", "unknown-label"),
        ("esnlive_dev.csv:3", "no-explanation"),
        ("esnlive_dev.csv:4", "missing-field"),
    ]
