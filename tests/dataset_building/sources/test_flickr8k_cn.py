import shutil


def test_the_first_of_five_captions_is_the_answer_and_all_are_right(instances, raw) -> None:
    first, _ = instances("flickr8k-cn", "train")
    assert first.outputs == "草地上有一个橙色的球。" and first.inputs == ""
    assert len(first.meta["references"]) == 5 and first.meta["references"][0] == first.outputs
    assert first.language == "zh" and "\u4e00" <= first.instruction[0] <= "\u9fff"
    assert first.meta["group"] == "1031_0a1b2c3d4e.jpg" and first.meta["origin"] == "1031_0a1b2c3d4e"
    assert first.images[0] == (raw / "flickr8k-cn/Flicker8k_Dataset/1031_0a1b2c3d4e.jpg").read_bytes()


def test_the_split_is_that_of_the_publishers_lists(instances) -> None:
    assert [record.meta["origin"] for record in instances("flickr8k-cn", "validation")] == ["1033_2c3d4e5f60"]
    assert [record.meta["origin"] for record in instances("flickr8k-cn", "test")] == ["1034_3d4e5f6071"]


def test_damaged_lines_and_pictures_without_a_caption_are_named(drafts, raw, tmp_path) -> None:
    shutil.copytree(raw / "flickr8k-cn/data", tmp_path / "flickr8k-cn/data")
    with open(tmp_path / "flickr8k-cn/data/flickr8kzhc.caption.txt", "a", encoding="utf-8") as file:
        file.write("1035_x.jpg#zhc#0\n")
    (tmp_path / "flickr8k-cn/data/flickr8ktest.txt").write_text("1035_x\n1034_3d4e5f6071.jpg\n")
    line, picture, sound = drafts("flickr8k-cn", "test", raw=tmp_path)
    assert (line.place, line.reason) == ("data/flickr8kzhc.caption.txt:21", "bad-line")
    assert (picture.place, picture.reason) == ("data/flickr8ktest.txt:1", "missing-caption")
    assert sound.origin == "1034_3d4e5f6071"
