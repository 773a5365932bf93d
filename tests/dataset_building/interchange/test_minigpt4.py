import json

import pytest

from m3it_jax import errors


@pytest.fixture
def folder(tmp_path, jpeg):
    (tmp_path / "cc_sbu_align" / "image").mkdir(parents=True)
    (tmp_path / "cc_sbu_align" / "image" / "2.jpg").write_bytes(jpeg(2))
    (tmp_path / "cc_sbu_align" / "image" / "5.jpg").write_bytes(jpeg(5))
    rows = [{"image_id": "2", "caption": " The picture shows noise. "}, {"image_id": 5, "caption": "More noise."}]
    rows += [{"image_id": "9", "caption": "gone"}, {"image_id": "../../x", "caption": "x"}, {"caption": "x"}, None]
    (tmp_path / "cc_sbu_align" / "filter_cap.json").write_text(json.dumps({"annotations": rows}))
    return tmp_path / "cc_sbu_align"


def test_detailed_captions_with_the_pictures_beside(imported, folder, jpeg):
    found, rejected = imported("minigpt4", folder)
    assert [(each.outputs, each.images) for each in found["train"]] == [
        ("The picture shows noise.", (jpeg(2),)),
        ("More noise.", (jpeg(5),)),
    ]
    assert found["train"][0].instruction and found["train"][0].task == "captioning"
    assert [row.reason for row in rejected] == ["picture-missing", "path-outside", "missing-field", "wrong-type"]


@pytest.mark.parametrize("text", ["", "[]", '{"annotations": {}}', "{" * 5000])
def test_another_file_is_refused(imported, folder, text):
    (folder / "filter_cap.json").write_text(text)
    with pytest.raises(errors.UserError, match="is no JSON object with a list"):
        imported("minigpt4", folder)


def test_the_captions_must_be_there(imported, tmp_path):
    with pytest.raises(errors.UserError, match="filter_cap.json: is missing"):
        imported("minigpt4", tmp_path)
