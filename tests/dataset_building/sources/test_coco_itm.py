import json
import shutil

from m3it_jax.dataset_building import sources


def _captions(raw) -> dict[str, tuple[str, list[str]]]:
    images = json.loads((raw / "coco-itm/dataset_coco.json").read_text())["images"]
    return {row["filename"]: (row["split"], [sentence["raw"] for sentence in row["sentences"]]) for row in images}


def test_the_letter_names_the_only_caption_of_the_picture(instances, raw) -> None:
    captions = _captions(raw)
    for split, theirs in (("train", ("train", "restval")), ("validation", ("val",)), ("test", ("test",))):
        records = instances("coco-itm", split)
        assert len(records) == (6 if split == "train" else 5)
        for record in records:
            head, *lines = record.inputs.split("\n")
            assert head == "Options:" and len(lines) == 5
            shown = {line[:3]: line[4:] for line in lines}
            assert list(shown) == ["(A)", "(B)", "(C)", "(D)", "(E)"] == record.meta["options"]
            own_split, own = captions[record.meta["group"]]
            assert own_split in theirs
            assert [mark for mark, text in shown.items() if text in own] == [record.outputs]
            assert record.meta["references"] == [record.outputs, f"{record.outputs} {shown[record.outputs]}"]
            others = [row for name, row in captions.items() if name != record.meta["group"]]
            for mark in shown.keys() - {record.outputs}:
                assert any(of in theirs and shown[mark] in texts for of, texts in others)


def test_the_right_caption_stands_anywhere(instances) -> None:
    marks = {record.outputs for seed in range(4) for record in instances("coco-itm", "train", seed=seed)}
    assert len(marks) >= 4


def test_karpathys_file_may_lie_with_coco(drafts, raw, tmp_path) -> None:
    (tmp_path / "coco").mkdir()
    shutil.copy(raw / "coco-itm/dataset_coco.json", tmp_path / "coco")
    assert len(drafts("coco-itm", "train", raw=tmp_path)) == 6


def test_no_more_pictures_are_drawn_than_the_paper_has(instances, monkeypatch) -> None:
    monkeypatch.setitem(sources.load("coco-itm").published.counts, "train", 3)
    assert len({record.meta["group"] for record in instances("coco-itm", "train")}) == 3


def test_too_few_captions_and_damaged_rows_are_named(drafts, raw, tmp_path) -> None:
    (tmp_path / "coco-itm").mkdir()
    images = json.loads((raw / "coco-itm/dataset_coco.json").read_text())["images"][:4]
    images[0]["cocoid"] = "1001"
    (tmp_path / "coco-itm/dataset_coco.json").write_text(json.dumps({"images": images}))
    damaged, *few = drafts("coco-itm", "train", raw=tmp_path)
    assert (damaged.place, damaged.reason) == ("dataset_coco.json: images[0]", "wrong-type")
    assert [row.reason for row in few] == ["too-few-options"] * 3
    assert few[0].place == "COCO_train2014_000000001002.jpg"
