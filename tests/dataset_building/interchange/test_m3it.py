import base64
import collections
import io
import json
import random

import numpy as np
import pytest
from PIL import Image

from m3it_jax import errors, prompts
from m3it_jax.dataset_building import export, interchange, sources
from m3it_jax.dataset_building.interchange import m3it, request
from m3it_jax.dataset_building.interchange.m3it_rules import RELEASED
from m3it_jax.dataset_building.steps import pipeline


def specs(*paths, **given):
    return {spec.name: spec for spec in m3it.specs(interchange.Request(paths, **given))}


def names(spec):
    return [name for name, _, _ in spec.settings["imported"]["files"]]


@pytest.mark.parametrize("key", m3it.IMAGE_KEYS)
@pytest.mark.parametrize("form", ["text", "list", "url"])
def test_every_image_key_as_text_list_or_url(imported, lines, tmp_path, jpeg, text_of, key, form):
    picture = {"text": text_of(1), "list": [text_of(1)], "url": "data:image/jpeg;base64," + text_of(1)}[form]
    file = lines(tmp_path / "vqa" / "gqa" / "train.jsonl", {key: picture, "input": "q", "output": "a"})
    found, rejected = imported("m3it", file)
    (record,) = found["train"]
    assert record.images == (jpeg(1),) and not rejected
    assert (record.source, record.task, record.inputs, record.outputs) == ("gqa", "vqa", "q", "a")
    assert record.meta["origin"] == "train.jsonl:1" and record.meta["origin_split"] == "train"
    assert record.meta["group"] == request.group_of([jpeg(1)])


def test_several_pictures_keep_their_order(imported, lines, tmp_path, jpeg, text_of):
    row = {"images": [text_of(3), text_of(1), text_of(2)], "sentences": ["One.", "Two."]}
    found, _ = imported("m3it", lines(tmp_path / "vist" / "val.jsonl", row))
    assert found["validation"][0].images == (jpeg(3), jpeg(1), jpeg(2))


def test_a_large_picture_passes_untouched(imported, lines, tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 300, 3), np.uint8)).save(buffer, "JPEG")
    row = {"image": base64.b64encode(buffer.getvalue()).decode(), "question": "q", "answer": "a"}
    found, _ = imported("m3it", lines(tmp_path / "gqa" / "test.jsonl", row))
    assert found["test"][0].images == (buffer.getvalue(),)


def test_an_instruction_comes_from_beside_the_rows_or_else_from_our_bank(imported, lines, tmp_path, text_of):
    rows = [{"image": text_of(n), "input": "q", "output": "a"} for n in range(12)]
    file = lines(tmp_path / "gqa" / "train.jsonl", *rows)
    found, _ = imported("m3it", file)
    bank = pipeline.instructions.pool(sources.load("gqa").pool)
    assert {record.instruction for record in found["train"]} <= set(bank)
    (tmp_path / "gqa" / "instructions.json").write_text(json.dumps(["First. ", "Second."]))
    again, _ = imported("m3it", file)
    assert {record.instruction for record in again["train"]} == {"First.", "Second."}
    assert [record.id for record in again["train"]] == [record.id for record in found["train"]]
    assert specs(file)["gqa"].instructions == ("First.", "Second.")


def test_the_slot_of_an_instruction_beside_the_rows_is_filled(imported, lines, tmp_path, text_of):
    row = {"image_base64_str": text_of(1), "hypothesis": "It [A_B] rains.", "label": "neutral", "explanation": "Dry."}
    file = lines(tmp_path / "snli-ve" / "esnlive_dev.jsonl", row)
    (tmp_path / "snli-ve" / "instruction.json").write_text('["Does \\"[HYPO]\\" follow?"]')
    found, _ = imported("m3it", file)
    (record,) = found["validation"]
    assert record.instruction == 'Does "It [A_B] rains." follow?' and record.outputs == "maybe\nDry."
    assert prompts.SLOT.search("Does [HYPO] follow?")


@pytest.mark.parametrize("content", ["{}", "[]", '["a", ""]', '["a", 7]', "no json"])
def test_a_file_of_instructions_that_is_none_is_told(lines, tmp_path, content):
    file = lines(tmp_path / "gqa" / "train.jsonl", {})
    (tmp_path / "gqa" / "instructions.json").write_text(content)
    with pytest.raises(errors.UserError, match="instructions.json"):
        specs(file)


def test_the_whole_hub_folder_gives_every_source(lines, tmp_path, text_of):
    row = {"image": text_of(1), "output": "a"}
    for name, released in list(RELEASED.items())[:40]:
        lines(tmp_path / "data" / released.folder / f"{name.replace('-', '_')}_train.jsonl", row)
    found = specs(tmp_path / "data")
    assert tuple(sorted(found)) == tuple(sorted(sources.NAMES))
    for name, spec in found.items():
        ledger = sources.load(name)
        assert (spec.task, spec.language, spec.licence) == (ledger.task, ledger.language, ledger.licence or "unknown")
    assert set(specs(tmp_path / "data" / "vqa")) == {n for n in sources.NAMES if RELEASED[n].folder.startswith("vqa/")}


@pytest.mark.parametrize(
    ("present", "taken"),
    [
        (["okvqa_train.jsonl", "okvqa_train_v2.jsonl", "okvqa_val.jsonl"], ["okvqa_train_v2.jsonl", "okvqa_val.jsonl"]),
        (["train.jsonl", "para_train.jsonl", "para_val.jsonl"], ["para_train.jsonl", "para_val.jsonl"]),
        (["train.jsonl", "train_2023-10-07.jsonl", "test_2023-10-09.jsonl"], ["train.jsonl"]),
        (["train.large.jsonl", "train.tiny.jsonl", "test.jsonl"], ["test.jsonl", "train.large.jsonl"]),
        (["train.jsonl", "validation.jsonl"], ["train.jsonl", "validation.jsonl"]),
    ],
)
def test_of_a_folder_the_papers_edition_is_taken(lines, tmp_path, text_of, present, taken):
    for name in present:
        lines(tmp_path / "okvqa" / name, {"image": text_of(1), "answer": "a"})
    spec = specs(tmp_path / "okvqa")["okvqa"]
    assert names(spec) == sorted(taken)
    for name in set(present) - set(taken):
        assert name in spec.known_problems
    for name in present:  # what is named is taken
        assert names(specs(tmp_path / "okvqa" / name)["okvqa"]) == [name]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("captioning/image_paragraph_captioning/image_paragraph_captioning_val.jsonl", "image-paragraph-captioning"),
        ("classification/itm/train.jsonl", "coco-itm"),
        ("downloads/esnlive_train.jsonl", "snli-ve"),
        ("downloads/science_qa_validation.jsonl", "science-qa"),
        ("downloads/winoground_test.jsonl", "winoground"),
        ("imagenet/train.jsonl", "imagenet"),
    ],
)
def test_folder_or_file_name_tells_the_source(tmp_path, path, source):
    assert m3it.source_of(tmp_path / path) == source


def test_an_unknown_source_or_split_asks_for_it(lines, tmp_path, text_of):
    file = lines(tmp_path / "somewhere" / "train.jsonl", {"image": text_of(1), "answer": "a"})
    with pytest.raises(errors.UserError, match="--source"):
        specs(file)
    with pytest.raises(errors.UserError, match="instructions.json"):
        specs(file, source="mine")
    assert set(specs(file, source="okvqa")) == {"okvqa"}
    other = lines(tmp_path / "gqa" / "rows.jsonl", {"image": text_of(1), "answer": "a"})
    with pytest.raises(errors.UserError, match="--split"):
        specs(other)
    assert specs(other, split="test")["gqa"].settings["imported"]["files"][0][2] == "test"


def test_imagenets_classes_come_from_the_mapping_beside_it(imported, lines, tmp_path, text_of):
    file = lines(tmp_path / "imagenet" / "train.jsonl", {"img_str": text_of(1), "output": "n01440764"})
    mapping = "\n".join(f"n{1440764 + n:08d} fish {n}" for n in range(12))
    (tmp_path / "imagenet" / "mapping.txt").write_text(mapping)
    found, _ = imported("m3it", file)
    (record,) = found["train"]
    assert record.outputs.endswith(") fish 0") and record.outputs in record.inputs.splitlines()
    assert record.meta["changes"] == ["options drawn"] and len(record.meta["options"]) == 10


def test_the_original_answer_and_the_publishers_meta_stay(imported, lines, tmp_path, text_of):
    row = {"img_str": text_of(1), "question": "q", "answer": "red", "paraphrased_answer": "sorry"}
    row["meta"] = {"kilt_id": "qw_1", "image_id": 17}
    found, _ = imported("m3it", lines(tmp_path / "viquae" / "test.jsonl", row))
    (record,) = found["test"]
    assert record.outputs == "The answer is red." and record.meta["original_answer"] == "red"
    assert record.meta["changes"] and record.meta["group"] == "17"
    assert record.meta["released_meta"] == {"kilt_id": "qw_1", "image_id": 17}


def test_what_we_export_as_json_lines_comes_back(imported, lines, tmp_path, text_of):
    rows = [{"image": text_of(n), "input": f"q{n}", "output": "a", "meta": {"id": n}} for n in range(5)]
    found, _ = imported("m3it", lines(tmp_path / "gqa" / "train.jsonl", *rows))
    file = tmp_path / "elsewhere" / "train.jsonl"
    file.parent.mkdir()
    export.FORMATS["jsonl"].write(file, iter(found["train"]))
    again, rejected = imported("m3it", file)
    assert again == found and not rejected


MUTANTS = 10_000


def mutants(row, dice):
    """Yields lines that were right once."""
    whole = json.dumps(row).encode()
    odd = [None, 0, -1, 1e308, True, [], {}, [[]], [None], "", " ", "\ud800", "x" * 5000, {"a": {"b": 1}}, 10**30]
    keys = [*row, "images", "instruction", "output", "options", "targets", "label", "meta"]
    for number in range(MUTANTS):
        kind = number % 10
        if kind == 0:
            yield whole[: dice.randrange(len(whole))]
        elif kind == 1:
            yield json.dumps(row | {dice.choice(keys): dice.choice(odd)}).encode()
        elif kind == 2:
            line = bytearray(whole)
            for _ in range(dice.randrange(1, 4)):
                line[dice.randrange(len(line))] = dice.randrange(256)
            yield bytes(line).replace(b"\n", b" ").replace(b"\r", b" ")
        elif kind == 3:
            yield whole[:-1] + b', "' + dice.choice(keys).encode() + b'": 1}'
        elif kind == 4:
            yield json.dumps(row | {"image": row["image"][: dice.randrange(len(row["image"]))]}).encode()
        elif kind == 5:
            yield dice.choice([b"NaN", b"[" * 9999, b"{" * 9999, b'{"a":' * 500, b"null", b'"text"', b"1e999", b"\x00"])
        elif kind == 6:
            yield b"\xef\xbb\xbf" * dice.randrange(3) + whole.replace(b": ", b":\t")
        elif kind == 7:
            yield json.dumps(row | {"meta": {"deep": json.loads("[" * 40 + "]" * 40), "n": dice.choice(odd)}}).encode()
        elif kind == 8:
            yield whole.replace(b'"answer": "', b'"answer": "\\ud8%02x' % dice.randrange(256))
        else:
            yield json.dumps({key: dice.choice([row.get(key), *odd]) for key in dice.sample(keys, 4)}).encode()


@pytest.mark.parametrize("source", ["vqa-v2", "coco", "snli-ve", "imagenet", "a-okvqa"])
def test_no_fuzzed_line_gets_through_uncounted(imported, tmp_path, text_of, source):
    dice = random.Random(source)
    folder = tmp_path / source
    folder.mkdir()
    (folder / "mapping.txt").write_text("\n".join(f"n{n} red {n}" for n in range(12)))
    row = {"image": text_of(1), "question": "q", "answer": "red 3", "meta": {"targets": ["red"]}}
    every = [line for number, line in enumerate(mutants(row, dice)) if number % 5 == len(source) % 5]
    end = dice.choice
    with open(folder / "train.jsonl", "wb") as file:
        for line in every:
            file.write(line + end([b"\n", b"\r\n", b"\r"]))
    found, rejected = imported("m3it", folder / "train.jsonl", source=source)
    places = collections.Counter(record.meta["origin"] for record in found.get("train", []))
    places.update(row.place if ":" in row.place else row.instance.meta["origin"] for row in rejected)
    lines = {f"train.jsonl:{number}" for number, line in enumerate(every, start=1) if line.strip(b"\t \xef\xbb\xbf")}
    assert lines <= set(places) and len(rejected) > len(every) / 3 and found["train"]
    if source != "coco":  # whose rows are many records
        assert sum(places.values()) == len(lines)
    assert all(row.reason and row.text for row in rejected)
