import shutil


def test_both_pictures_of_an_example_get_both_captions(instances, raw) -> None:
    records = {record.meta["origin"]: record for record in instances("winoground", "test")}
    assert set(records) == {"0/0", "0/1", "1/0", "1/1"}
    first, second = records["0/0"], records["0/1"]
    assert first.inputs == second.inputs == "Options:\n(A) a red ball on a blue box\n(B) a blue ball on a red box"
    assert first.outputs == "(A) a red ball on a blue box" and second.outputs == "(B) a blue ball on a red box"
    assert first.images == ((raw / "winoground/data/images/ex_3081_img_0.png").read_bytes(),)
    assert second.images == ((raw / "winoground/data/images/ex_3081_img_1.png").read_bytes(),)


def test_there_is_a_test_split_only(instances) -> None:
    assert instances("winoground", "train") == instances("winoground", "validation") == []


def test_damaged_rows_are_named(drafts, raw, tmp_path) -> None:
    folder = shutil.copytree(raw / "winoground", tmp_path / "winoground")
    lines = (folder / "data/examples.jsonl").read_text().splitlines()
    (folder / "data/examples.jsonl").write_text(lines[0].replace('"caption_1"', '"caption"') + "\n" + lines[1] + "\n")
    found = drafts("winoground", "test", raw=tmp_path)
    bad = ("data/examples.jsonl:1", "missing-field")
    assert [(row.place, row.reason) for row in found if hasattr(row, "reason")] == [bad, bad]
    assert len(found) == 4
