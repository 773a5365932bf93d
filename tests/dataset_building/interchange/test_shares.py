import collections
import json

import pytest

from m3it_jax import errors, schema
from m3it_jax.dataset_building import interchange
from m3it_jax.dataset_building.interchange import Request, shares
from m3it_jax.dataset_building.specification import Draft, Rejected
from m3it_jax.dataset_building.steps import pipeline


@pytest.fixture
def split_up(tmp_path, jpeg):
    """split_up(rows, seed, **shares): ids of the pictures of each split, and what was left out by split."""

    def run(rows, seed=0, **shares):
        pics = tmp_path / "pics"
        pics.mkdir(exist_ok=True)
        for number in {n for row in rows for n in row}:
            (pics / f"{number}.jpg").write_bytes(jpeg(int(str(number).split("-")[0])))
        said = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
        made = [
            {"image": [f"{n}.jpg" for n in row], "conversations": [{**said[0], "value": f"q {place}"}, said[1]]}
            for place, row in enumerate(rows)
        ]
        (tmp_path / "rows.json").write_text(json.dumps(made))
        asked = Request((tmp_path / "rows.json",), images=pics)
        (spec,) = interchange.order("llava", asked, tmp_path / "out", shares=shares).specs
        left_out: list[tuple[str, Rejected]] = []
        stream = pipeline.Stream(spec, {}, seed, on_rejected=lambda *row: left_out.append(row))
        found = {split: list(stream.instances(split)) for split in ("train", "validation", "test")}
        return found, left_out

    return run


def pictures(records):
    return {image for record in records for image in record.images}


def test_a_share_is_by_picture_exact_and_of_the_seed(split_up):
    rows = [[n % 20] for n in range(60)]
    found, left_out = split_up(rows, test=0.25, validation=0.1)
    assert {split: len(pictures(each)) for split, each in found.items()} == {"train": 13, "validation": 2, "test": 5}
    assert sum(map(len, found.values())) == 60 and left_out == []
    again, other = split_up(rows, test=0.25, validation=0.1)[0], split_up(rows, seed=1, test=0.25)[0]
    assert again == found and pictures(other["test"]) != pictures(found["test"])
    assert len(split_up(rows, test=0.001)[0]["test"]) == 3  # one picture, with its three rows


def test_what_shows_a_picture_in_common_stays_together(split_up):
    rows = [[0, 1], [1, 2], [2], [3], ["3-copy"], [4], [5], [6], [7]]  # 3-copy has the bytes of 3
    for seed in range(4):
        found, _ = split_up(rows, seed=seed, test=0.4)
        assert not pictures(found["train"]) & pictures(found["test"]) and found["test"]
        of = collections.defaultdict(set)
        for split, records in found.items():
            for record in records:
                of[record.instruction].add(split)
        assert of["q 0"] == of["q 1"] == of["q 2"] and of["q 3"] == of["q 4"]


def test_what_cannot_be_set_apart_is_refused(split_up, tmp_path, lines, text_of):
    with pytest.raises(errors.UserError, match="linked by pictures that they share"):
        split_up([[0, 1], [1, 2]], test=0.5)
    with pytest.raises(errors.UserError, match="leaves none to train on"):
        split_up([[0], [1]], test=1.0)
    row = {"image": text_of(0), "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    lines(tmp_path / "set" / "test.jsonl", row)
    for words, asked in (
        ("has files of the split test", {"test": 0.1}),
        ("no file of the split train", {"validation": 0.1}),
    ):
        with pytest.raises(errors.UserError, match=words):
            interchange.order("messages", Request((tmp_path / "set",)), tmp_path / "out", shares=asked)


def test_a_row_that_is_left_out_is_told_with_the_training_rows():
    def inner(assets, split, seed):
        if split == "train":
            yield from (Draft("s", "", "a", (bytes([n]),), f"g{n}") for n in range(10))
            yield Rejected("rows.jsonl:11", "not-json", "x")

    shared = shares.Shared(inner, {"test": 0.5}, shares.by_number)
    found = {split: list(shared({}, split, 0)) for split in schema.SPLITS}
    assert {split: len(rows) for split, rows in found.items()} == {"train": 6, "validation": 0, "test": 5}
    assert isinstance(found["train"][-1], Rejected)
