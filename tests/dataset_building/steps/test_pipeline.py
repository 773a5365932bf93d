import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from m3it_jax import errors
from m3it_jax.dataset_building.media import boxes, pictures
from m3it_jax.dataset_building.specification import Draft, SourceSpec
from m3it_jax.dataset_building.steps import instructions, pipeline

PICTURE = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
DRAFT = Draft("skill", "what?", "this", (PICTURE,), "group-1", ("a thing",), {"colour": "red"})


def spec(*drafts):
    return SourceSpec("toys", "vqa", "en", "vqa/question", lambda assets, split, seed: iter(drafts), {"train": 999})


def stream(*drafts, **options):
    return pipeline.Stream(spec(*drafts), {}, 0, **options)


def left_out(*drafts, **options):
    """The reasons of the rows that were left out, and the number of records."""
    reasons = []
    seen = stream(*drafts, on_rejected=lambda split, row: reasons.append(row.reason), **options)
    return reasons, len(list(seen.instances("train")))


def test_our_png_shows_the_same_pixels():
    decoded = Image.open(io.BytesIO(pictures.encode_png(PICTURE)))
    decoded.load()
    assert decoded.format == "PNG" and decoded.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(decoded), PICTURE)


def test_encoded_pictures_are_kept_byte_for_byte():
    data = pictures.encode_png(PICTURE)
    (record,) = stream(dataclasses.replace(DRAFT, images=(data,))).instances("train")
    assert record.images == (data,)


def test_a_box_is_drawn_into_the_first_picture():
    (record,) = stream(dataclasses.replace(DRAFT, boxes=((2, 3, 12, 13),))).instances("train")
    shown = np.asarray(Image.open(io.BytesIO(record.images[0])))
    np.testing.assert_array_equal(shown, boxes.draw_box(PICTURE, (2, 3, 12, 13)))
    assert record.meta["boxes"] == [[2, 3, 12, 13]]


def test_a_record_has_all_that_the_draft_says():
    (record,) = stream(dataclasses.replace(DRAFT, language="de")).instances("train")
    assert (record.source, record.task, record.language, record.inputs, record.outputs) == (
        "toys", "vqa", "de", "what?", "this",
    )  # fmt: skip
    assert record.instruction in instructions.pool("vqa/question")
    assert record.meta == {
        "group": "group-1",
        "skill": "skill",
        "captions": ["a thing"],
        "attributes": {"colour": "red"},
        "references": ["this"],
        "version": "1.0.0",
    }


def test_a_record_has_the_licence_of_its_source_unless_it_brings_its_own():
    own = dataclasses.replace(DRAFT, outputs="that", licence="CC0")
    licensed = dataclasses.replace(spec(DRAFT, own), licence="CC BY 4.0")
    told = {record.outputs: record.meta["licence"] for record in pipeline.Stream(licensed, {}, 0).instances("train")}
    assert told == {"this": "CC BY 4.0", "that": "CC0"}


def test_ids_come_from_content_not_from_order():
    other = dataclasses.replace(DRAFT, outputs="that")
    forward = [record.id for record in stream(DRAFT, other).instances("train")]
    backward = [record.id for record in stream(other, DRAFT).instances("train")]
    assert forward == backward[::-1] and len(set(forward)) == 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, "duplicate-id"),
        ({"outputs": " "}, "empty-output"),
        ({"images": (b"GIF89a",)}, "picture-format"),
        ({"images": (b"\x89PNG\r\n\x1a\nrest",)}, "picture-unreadable"),
        ({"boxes": ((90, 90, 99, 99),)}, "box-outside"),
        ({"attributes": {"share": float("nan")}}, "bad-meta"),
        ({"attributes": {"name": "\ud800"}}, "bad-text"),
    ],
)
def test_an_unsound_draft_is_left_out_and_counted(change, reason):
    assert left_out(DRAFT, dataclasses.replace(DRAFT, **change)) == ([reason], 1)


@pytest.mark.parametrize(("bad", "stops"), [(20, False), (21, True)])
def test_a_build_of_which_too_much_is_bad_stops(bad, stops):
    rows = [dataclasses.replace(DRAFT, outputs=str(number)) for number in range(100)]
    rows += [dataclasses.replace(DRAFT, outputs=" ")] * bad
    if stops:
        with pytest.raises(
            errors.UserError,
            match="toys, split train: 21 of the first 121 rows are bad .empty-output 21.*--max-bad 0.1",
        ):
            left_out(*rows, max_bad=0.1)
    else:
        assert left_out(*rows, max_bad=0.1) == (["empty-output"] * 20, 100)


def test_a_row_without_instruction_in_a_source_without_any_is_left_out():
    spec = SourceSpec("toys", "vqa", "en", "", lambda *_: iter([DRAFT]), {})
    (row,) = (pipeline.Stream(spec, {}, 0).finished(row) for row in spec.drafts({}, "train", 0))
    assert row.reason == "empty-instruction"


def test_duplicates_are_no_reason_to_stop():
    assert left_out(*[DRAFT] * 50, max_bad=0.1) == (["duplicate-id"] * 49, 1)


def test_a_split_without_one_sound_row_stops():
    with pytest.raises(errors.UserError, match="3 of the first 3 rows are bad"):
        left_out(*[dataclasses.replace(DRAFT, outputs=" ")] * 3, max_bad=0.5)


def test_rows_whose_licence_does_not_allow_it_are_left_out():
    rows = [dataclasses.replace(DRAFT, licence=text, outputs=text) for text in ("MIT", "Non-commercial", "Unknown")]
    assert left_out(*rows, allow=("commercial",)) == (["licence", "licence"], 1)
    assert left_out(*rows, allow=("research",), max_bad=0.1) == (["licence"], 2)


def test_slots_of_the_instruction_are_filled_and_tell_records_apart(monkeypatch):
    monkeypatch.setattr(instructions, "pool", lambda name: ("Does [HYPO] hold?",))
    rows = [dataclasses.replace(DRAFT, slots={"HYPO": text}) for text in ("rain [X]", "sun")]
    first, second = stream(*rows).instances("train")
    assert (first.instruction, second.instruction) == ("Does rain [X] hold?", "Does sun hold?")
    assert first.id != second.id and first.meta["slots"] == {"HYPO": "rain [X]"}


def test_limit_takes_the_first_records():
    drafts = [dataclasses.replace(DRAFT, outputs=str(number)) for number in range(9)]
    every = [record.id for record in stream(*drafts).instances("train")]
    assert [record.id for record in stream(*drafts, limit=4).instances("train")] == every[:4]


def test_progress_counts_records():
    counted = []
    list(stream(DRAFT, on_record=lambda: counted.append(1)).instances("train"))
    assert counted == [1]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"x"])
def test_no_record_is_made_of_a_meta_that_is_no_json(value):
    draft = dataclasses.replace(DRAFT, attributes={"share": value})
    with pytest.raises(pipeline.RowError, match="meta is no JSON object") as caught:
        pipeline.instance_of(draft, (b"",), spec=spec(draft), seed=0, changes=[])
    assert caught.value.reason == "bad-meta"
