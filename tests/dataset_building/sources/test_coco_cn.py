import shutil

FOLDER = "coco-cn/coco-cn-version1805v1.1"


def test_the_first_caption_is_the_answer_and_all_are_right(instances, raw) -> None:
    first, second = instances("coco-cn", "train")
    assert first.outputs == "一个橙色的球放在一本紫色的书旁边。" and first.inputs == ""
    assert first.meta["references"] == [first.outputs, "橙球上方飘着一只绿色的风筝。"]
    assert first.language == "zh" and "\u4e00" <= first.instruction[0] <= "\u9fff"
    assert first.images[0] == (raw / "coco/train2014/COCO_train2014_000000001001.jpg").read_bytes()
    assert second.images[0] == (raw / "coco/val2014/COCO_val2014_000000001009.jpg").read_bytes()


def test_the_split_is_that_of_the_publishers_lists(instances) -> None:
    assert [record.meta["group"] for record in instances("coco-cn", "validation")] == ["COCO_val2014_000000001010.jpg"]
    assert [record.meta["group"] for record in instances("coco-cn", "test")] == ["COCO_val2014_000000001015.jpg"]


def test_damaged_lines_are_named(drafts, raw, tmp_path) -> None:
    shutil.copytree(raw / FOLDER, tmp_path / FOLDER)
    with open(tmp_path / FOLDER / "imageid.human-written-caption.txt", "a", encoding="utf-8") as file:
        file.write("COCO_val2014_000000000007 没有编号\n1010#0\t名字不对。\n")
    (tmp_path / FOLDER / "coco-cn_val.txt").write_text("COCO_val2014_000000000007\n1010\nCOCO_val2014_000000001010\n")
    *rejected, sound = drafts("coco-cn", "validation", raw=tmp_path)
    assert [(row.place.split("/")[-1], row.reason) for row in rejected] == [
        ("imageid.human-written-caption.txt:6", "bad-line"),
        ("coco-cn_val.txt:1", "missing-caption"),
        ("coco-cn_val.txt:2", "bad-name"),
    ]
    assert sound.origin == "COCO_val2014_000000001010"
