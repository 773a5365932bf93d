import pytest

from m3it_jax import errors
from m3it_jax.dataset_building.interchange import request, splits


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("train.jsonl", "train"),
        ("esnlive_val.jsonl", "validation"),
        ("science_qa_validation.jsonl", "validation"),
        ("train.large.jsonl", "train"),
        ("test_2023-10-09.jsonl", "test"),
        ("okvqa_train_v2.jsonl", "train"),
        ("dev.jsonl", "validation"),
        ("testdev_balanced.jsonl", "test"),
        ("default/test/0000.jsonl", "test"),
        ("Validation/rows.jsonl", "validation"),
        ("data/val2014/rows.jsonl", "validation"),
        ("my-eval-set/a/b/rows.jsonl", "test"),
        ("train/train-00000-of-00001.jsonl", "train"),
        ("contest/latest/devices.jsonl", "train"),  # words inside of words tell nothing
    ],
)
def test_names_of_folders_and_files_tell_the_split(tmp_path, lines, path, split):
    lines(tmp_path / "set" / path, {})
    for given in ("", "test"):
        asked = request.Request((tmp_path / "set",), split=given)
        (file,) = request.files(asked, suffixes=(".jsonl",), default_split="train")
        assert (file.split, file.name) == (given or split, path)


@pytest.mark.parametrize("path", ["train_test.jsonl", "train/val-0.jsonl", "test/train/rows.jsonl"])
def test_two_splits_in_a_name_are_refused(tmp_path, lines, path):
    lines(tmp_path / "set" / path, {})
    with pytest.raises(errors.UserError, match=r"tell several splits .*give --split"):
        request.files(request.Request((tmp_path / "set",)), suffixes=(".jsonl",), default_split="train")


def test_a_name_without_split_asks_for_one_where_there_is_no_default(tmp_path, lines):
    with pytest.raises(errors.UserError, match="does not tell which split it is; give --split"):
        request.files(request.Request((lines(tmp_path / "rows.jsonl", {}),)), suffixes=(".jsonl",))


@pytest.mark.parametrize(("folder", "split"), [("test", "test"), ("val2014", "validation"), ("test_of_mine", "train")])
def test_the_folder_that_was_given_counts_with_its_whole_name(tmp_path, lines, folder, split):
    path = lines(tmp_path / folder / "rows.jsonl", {})
    for given in (path, path.parent):
        (file,) = request.files(request.Request((given,)), suffixes=(".jsonl",), default_split="train")
        assert file.split == split


def test_our_words_hold_those_of_datasets():
    files = pytest.importorskip("datasets.data_files")
    for split, words in files.SPLIT_KEYWORDS.items():
        assert {splits.WORDS[word] for word in words} == {str(split)}
