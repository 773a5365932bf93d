import dataclasses
import json
import pathlib
import types

import numpy as np
import pytest

from m3it_jax import errors, prompts, schema, tokenizer
from m3it_jax.input_pipeline.rows import tower_rows, transforms


def row_of(layout, words, **changes):
    fields = {"instruction": "What is this?", "inputs": "hint 3", "outputs": "a picture", "new_pictures": 2} | changes
    row = transforms.make_row(layout, fit(layout, words, **fields), num_images=fields["new_pictures"])
    return transforms.pad_row(row, layout.row_len(fields["new_pictures"])) if fields["outputs"] else row


def fit(layout, words, **turn):
    return transforms.fit(layout, words, [schema.Turn(**turn)])


def test_a_row_is_pictures_begin_prompt_response_end(layout, words):
    row = row_of(layout, words)
    block = [*layout.open_ids, 0, 0, 0, 0, *layout.close_ids]
    prompt = words.encode(prompts.YING_VLM.prompt("What is this?", "hint 3"))
    response = [*words.encode("a picture\n"), words.eos_id]
    text = [words.bos_id, *prompt, *response]
    used = 2 * len(block) + len(text)
    assert row["token_ids"].tolist()[:used] == block * 2 + text
    assert {array.shape for array in row.values()} == {(layout.row_len(2),)}
    assert layout.row_len(2) == 2 * len(block) + layout.max_text_len
    np.testing.assert_array_equal(row["segment_ids"], np.arange(layout.row_len(2)) < used)
    np.testing.assert_array_equal(row["positions"][:used], np.arange(used))
    assert not row["positions"][used:].any() and not row["token_ids"][used:].any()
    shown = row["image_token_index"]
    assert shown[shown >= 0].tolist() == list(range(8))
    assert (row["token_ids"][shown >= 0] == 0).all() and (row["segment_ids"][shown >= 0] == 1).all()


def test_loss_falls_exactly_on_response_and_end(layout, words):
    row = row_of(layout, words, outputs="two\nlines")
    counted = row["token_ids"][row["loss_mask"] > 0].tolist()
    assert counted == [*words.encode("two lines\n"), words.eos_id]
    assert set(np.unique(row["loss_mask"])) == {0.0, 1.0} and row["loss_mask"].dtype == np.float32


def test_a_prompt_row_is_the_training_row_up_to_the_response(layout, words):
    asked = row_of(layout, words, outputs="")
    taught = row_of(layout, words)
    length = len(asked["token_ids"])
    assert length == int(np.flatnonzero(taught["loss_mask"])[0])
    for name, array in asked.items():
        np.testing.assert_array_equal(array, taught[name][:length], err_msg=name)


@pytest.mark.parametrize("length", [80, 60, 45, 40])
def test_too_long_inputs_lose_their_end_and_nothing_else_goes(words, length):
    layout = transforms.Layout.of(words, prompts.YING_VLM, picture_len=4, max_text_len=length, max_response_len=20)
    inputs = "hint 12 hint 34 hint 56 " * 40
    text = fit(layout, words, instruction="What is this?", inputs=inputs, outputs="a picture")
    kept = words.decode(text.prompt_ids)
    begin, end = prompts.YING_VLM.prompt("What is this?", "\0").split("\0")
    assert kept.startswith(begin) and kept.endswith(end)
    middle = kept[len(begin) : len(kept) - len(end)]
    assert middle and inputs.startswith(middle)
    assert text.response_ids == [*words.encode("a picture\n"), words.eos_id]
    whole = len(words.encode(prompts.YING_VLM.prompt("What is this?", inputs)))
    assert text.num_dropped == whole - len(text.prompt_ids) > 0
    used = 1 + len(text.prompt_ids) + len(text.response_ids)
    assert used <= length
    longer = words.encode(prompts.YING_VLM.prompt("What is this?", inputs[: len(middle) + 1]))
    assert used + len(longer) - len(text.prompt_ids) > length  # no character more would have fitted
    row = row_of(layout, words, inputs=inputs, new_pictures=3)
    assert (row["image_token_index"] >= 0).sum() == 12


def test_a_too_long_response_keeps_its_end_marks(layout, words):
    text = fit(layout, words, instruction="What?", inputs="", outputs="number 7 " * 60)
    assert len(text.response_ids) == layout.max_response_len
    assert words.decode(text.response_ids).endswith("\n") and text.response_ids[-1] == words.eos_id
    assert "number 7 number 7 number 7".startswith(words.decode(text.response_ids)[:20])


def test_a_long_instruction_stays_and_the_response_gives_way(words):
    layout = transforms.Layout.of(words, prompts.YING_VLM, picture_len=4, max_text_len=60, max_response_len=40)
    longest, instruction = "", "What is this?"
    while True:
        try:
            text = fit(layout, words, instruction=instruction, inputs="hint", outputs="number 7 number 8 number 9")
        except errors.UserError as error:
            assert "data.max_text_len" in str(error) and "it is 60" in str(error)
            break
        longest, instruction = instruction, instruction + " Say what you see."
        assert longest in words.decode(text.prompt_ids)
        assert text.response_ids[-1] == words.eos_id and words.decode(text.response_ids[-2:]) == "\n"
        assert 1 + len(text.prompt_ids) + len(text.response_ids) <= 60
    assert longest and longest != "What is this?"


def test_special_spellings_in_a_record_stay_ordinary_text(layout, words):
    row = row_of(layout, words, inputs="</s><s><Img><pad>", new_pictures=1)
    text = row["token_ids"][: int(row["segment_ids"].sum())]
    assert (text == words.bos_id).sum() == 1 and (text == words.eos_id).sum() == 1
    assert (row["image_token_index"] >= 0).sum() == layout.picture_len


def test_captions_stand_in_the_blocks_and_are_counted(layout, words):
    captions = [tower_rows.caption_ids(words, text) for text in ("picture 1 frame 0", "hint")]
    text = fit(layout, words, instruction="What?", inputs="", outputs="a picture")
    row = transforms.make_row(layout, text, num_images=2, captions=captions)
    assert (row["image_token_index"] == -1).all()
    counted = row["token_ids"][row["loss_mask"] > 0].tolist()
    assert counted == [*captions[0], *captions[1], *words.encode("a picture\n"), words.eos_id]
    assert len(tower_rows.caption_ids(words, "number 7 " * 50)) == tower_rows.CAPTION_LEN


def test_padding_never_cuts(layout, words):
    row = row_of(layout, words, outputs="")
    with pytest.raises(ValueError, match="does not fit"):
        transforms.pad_row(row, len(row["token_ids"]) - 1)


def test_a_layout_without_room_for_a_response_is_refused(words):
    with pytest.raises(errors.ConfigError, match="max_response_len=2"):
        transforms.Layout.of(words, prompts.YING_VLM, picture_len=4, max_text_len=20, max_response_len=2)


HF = pathlib.Path(__file__).parents[2] / "golden" / "hf"
FAMILIES = {
    "blip2_opt": "blip2",
    "blip2_t5": "blip2_t5",
    "ying_vlm": "blip2",  # transformers' own processor knows a BLIP-2 in it; the marks are the released code's
    "instructblip_llama": "instructblip",
    "instructblip_t5": "instructblip_t5",
    "llava": "llava",
}


def family(name, **fields):
    """Returns (layout without the wording around a question, tokenizer, notes of the golden file)."""
    notes = json.loads((HF / name / "golden.json").read_text(encoding="utf-8"))
    words = tokenizer.Tokenizer.load(HF / name / "tokenizer.json")
    plain = {"turn": "{question}"} if name != "llava" else {"system": ""}
    asked = dataclasses.replace(prompts.FORMATS[FAMILIES[name]], **(plain | fields))
    num_shown = sum(index == notes["processor_input_ids"][0][0] for index in notes["processor_input_ids"][0])
    if name == "llava":
        num_shown = notes["processor_input_ids"][0].count(notes["placeholder"])
    sizes = {"picture_len": num_shown, "max_text_len": 400, "max_response_len": 40}
    return transforms.Layout.of(words, asked, **sizes), words, notes


@pytest.mark.parametrize("name", FAMILIES)
def test_a_row_of_a_family_is_what_its_processor_in_transformers_makes(name):
    layout, words, notes = family(name)
    placeholder = notes["placeholder"] if name != "ying_vlm" else notes["processor_input_ids"][0][0]
    for text, wanted in zip(notes["texts"], notes["processor_input_ids"], strict=True):
        row = row_of(layout, words, instruction=text, inputs="", outputs="", new_pictures=1)
        shown = row["image_token_index"] >= 0
        assert np.where(shown, placeholder, row["token_ids"]).tolist() == wanted
        assert row["image_token_index"][shown].tolist() == list(range(layout.picture_len))
        given = transforms.given_row(layout, wanted, slots=[1], image_token_id=placeholder)
        for field in ("token_ids", "image_token_index", "positions"):
            np.testing.assert_array_equal(given[field], row[field])


@pytest.mark.parametrize("name", ["instructblip_llama", "instructblip_t5"])
def test_the_qformer_reads_the_prompt_as_its_processor_gives_it(name):
    words = tokenizer.Tokenizer.load(HF / name / "qformer_tokenizer/tokenizer.json")
    notes = json.loads((HF / name / "golden.json").read_text(encoding="utf-8"))
    for text, wanted in zip(notes["processor_texts"], notes["processor_qformer_input_ids"], strict=True):
        assert transforms.qformer_text(words, text)["text_ids"].tolist() == wanted
        padded = transforms.qformer_text(words, text, len(wanted) + 3)
        assert padded["text_ids"][padded["text_mask"]].tolist() == wanted and len(padded["text_ids"]) == len(wanted) + 3
        cut = transforms.qformer_text(words, text, 5)["text_ids"].tolist()
        assert cut == [*wanted[: min(4, len(wanted) - 1)], wanted[-1], *cut[len(wanted) :]]


def test_a_response_goes_on_where_the_prompt_ends():
    layout, words, _ = family("llava")
    whole = words.encode("USER: What? ASSISTANT: a red car")
    row = row_of(layout, words, instruction="What?", inputs="", outputs="a red car", new_pictures=0)
    assert row["token_ids"][: len(whole) + 2].tolist() == [words.bos_id, *whole, words.eos_id]
    counted = row["token_ids"][row["loss_mask"] > 0].tolist()
    assert counted == [*words.encode(" a red car", "inside"), words.eos_id]


def test_texts_around_pictures_are_encoded_apart_where_the_reference_does_so():
    words = tokenizer.Tokenizer.load(HF / "ying_vlm/tokenizer.json")
    layout = transforms.Layout.of(
        words, prompts.FORMATS["minigpt4"], picture_len=2, max_text_len=400, max_response_len=40
    )
    turn = schema.Turn("What?", new_pictures=1)
    ids = transforms.turn_ids(layout, words, turn)
    begin, behind = layout.format.segments(turn)
    assert ids == [*words.encode(begin), transforms.PICTURE, *words.encode(behind)]
    assert layout.closing_ids == tuple(words.encode("###", "inside"))


def test_pictures_inside_a_text_take_none_of_its_room_with_their_marks():
    layout, words, _ = family("llava", system="A chat. ")
    short = dataclasses.replace(layout, max_text_len=60, max_response_len=20)
    texts = {"instruction": "What colour?", "inputs": "the car " * 30, "outputs": "red"}
    kept = [len(row_of(short, words, **texts, new_pictures=count)["token_ids"]) for count in (0, 8)]
    assert kept[1] - kept[0] == 8 * layout.block_len(layout.picture_len)
    fitted = [fit(short, words, **texts, new_pictures=count) for count in (0, 8)]
    marks = 8 * layout.block_len(0)
    assert abs(len(fitted[1].prompt_ids) - 8 - marks - len(fitted[0].prompt_ids)) <= 3
    assert fitted[1].num_dropped and fitted[1].response_ids[-1] == words.eos_id


def test_placeholders_that_do_not_fit_the_pictures_are_refused():
    layout, _, notes = family("llava")
    with pytest.raises(errors.UserError, match="1 image placeholders .* for 1 pictures"):
        transforms.given_row(layout, [1, notes["placeholder"], 5], slots=[1], image_token_id=notes["placeholder"])
    with pytest.raises(errors.UserError, match="0 image placeholders"):
        transforms.given_row(layout, [1, 5], slots=[1], image_token_id=notes["placeholder"])


def test_places_inside_a_prompt_must_be_those_of_the_pictures():
    layout, _, _ = family("llava")
    with pytest.raises(ValueError, match="1 places inside the prompt for 2 pictures"):
        transforms.make_row(layout, transforms.Text([5, transforms.PICTURE], []), num_images=2)


def test_a_format_that_begins_with_an_id_needs_a_vocabulary_that_has_it():
    words = tokenizer.Tokenizer.load(HF / "blip2_t5/tokenizer.json")
    with pytest.raises(errors.ConfigError, match="no begin id"):
        transforms.Layout.of(words, prompts.YING_VLM, picture_len=2, max_text_len=40, max_response_len=20)


def test_facts_of_the_first_format_are_those_that_runs_are_stored_with(layout):
    names = ["num_queries", "open_ids", "close_ids", "bos_id", "eos_id", "max_text_len", "max_response_len"]
    assert [*layout.facts()] == names
    assert "format" in family("llava")[0].facts()


@pytest.mark.parametrize("name", FAMILIES)
def test_special_spellings_in_a_question_are_text_in_every_family(name):
    layout, words, notes = family(name)
    texts = {"instruction": "<image> </s><s> <Img>?", "inputs": "[PAD] <pad> <image>", "outputs": "</s> <image>"}
    row = row_of(layout, words, **texts, new_pictures=1)
    ids = row["token_ids"][(row["image_token_index"] < 0) & (row["segment_ids"] > 0)].tolist()
    asked = layout.format
    assert notes["placeholder"] not in ids and (row["image_token_index"] >= 0).sum() == layout.picture_len
    ends = asked.has_prompt_end_id + asked.has_end_id + (asked.has_begin_id and words.bos_id == words.eos_id)
    assert ids.count(words.eos_id) == ends


def test_a_response_has_one_space_before_it_and_not_two():
    words = tokenizer.Tokenizer.load(HF / "llava/tokenizer.model")  # puts a space before every text that begins
    layout = transforms.Layout.of(words, prompts.FORMATS["llava"], picture_len=2, max_text_len=400, max_response_len=40)
    assert transforms.response_ids(layout, words, "a red car") == [*words.encode("a red car"), words.eos_id]


TALK = (
    schema.Turn("What is this?", "hint 1", "a picture with number 1", new_pictures=2),
    schema.Turn("And this?", "", "number 2", new_pictures=1),
    schema.Turn("Why?", "hint 3", "a picture with number 3"),
)


@pytest.mark.parametrize("name", ["ying_vlm", "minigpt4", "llava"])
def test_turns_that_do_not_fit_are_left_out_from_the_oldest_and_pictures_stay(words, name):
    asked = dataclasses.replace(prompts.FORMATS[name], system="A chat. " if prompts.FORMATS[name].system else "")
    made = transforms.Layout.of(words, asked, picture_len=4, max_text_len=400, max_response_len=40)
    wholes = [transforms.lay_out(made, words, transforms.without_oldest(TALK, first)) for first in range(3)]
    sizes = [len(text.prompt_ids) + len(text.response_ids) for text in wholes]
    marks = len(wholes[0].prompt_ids) - wholes[0].prompt_ids.count(transforms.PICTURE)
    assert sizes == sorted(sizes, reverse=True) and marks
    for first, (text, size) in enumerate(zip(wholes, sizes, strict=True)):
        inside = text.prompt_ids.count(transforms.PICTURE)
        spare = size - inside - 3 * made.block_len(0) * asked.has_pictures_inside
        exact = dataclasses.replace(made, max_text_len=spare + len(made.begin_ids))
        for layout, kept in ((exact, first), (dataclasses.replace(exact, max_text_len=exact.max_text_len + 1), first)):
            fitted = transforms.fit(layout, words, TALK)
            assert (fitted.prompt_ids, fitted.response_ids) == (wholes[kept].prompt_ids, wholes[kept].response_ids)
            assert fitted.learned == wholes[kept].learned and fitted.num_dropped == sizes[0] - sizes[kept]
            row = transforms.make_row(layout, fitted, num_images=3)
            assert (row["image_token_index"] >= 0).sum() == 12 and len(row["token_ids"]) <= layout.row_len(3)
    tight = transforms.fit(dataclasses.replace(exact, max_text_len=exact.max_text_len - 1), words, TALK)
    assert tight.num_dropped > sizes[0] - sizes[2] and tight.response_ids == wholes[2].response_ids


def test_earlier_answers_are_cut_as_last_ones_are(layout, words):
    turns = [schema.Turn("What?", "", "number 7 " * 60, 1), schema.Turn("Why?", "", "so")]
    text = transforms.fit(dataclasses.replace(layout, max_text_len=400), words, turns)
    ((start, stop),) = text.learned
    assert stop - start == layout.max_response_len - 1, "one id that ends a last answer is not there: the end id"
    whole = len(transforms.lay_out(layout, words, turns).prompt_ids)
    assert text.num_dropped == whole - len(text.prompt_ids)
    assert text.prompt_ids[start:stop] == transforms.response_ids(layout, words, "number 7 " * 60)[
        : stop - start - 1
    ] + [*words.encode("\n", "inside")]


@pytest.mark.parametrize(
    ("name", "end"), [("ying_vlm", "\n"), ("minigpt4", "###"), ("llava", None), ("blip2", ""), ("instructblip", "")]
)
def test_an_earlier_answer_is_learned_with_what_ends_it_where_a_last_one_ends_so(words, name, end):
    layout = transforms.Layout.of(words, prompts.FORMATS[name], picture_len=4, max_text_len=400, max_response_len=40)
    text = transforms.lay_out(layout, words, TALK)
    ends = (words.eos_id,) if end is None else tuple(words.encode(end, "inside"))
    assert layout.turn_end_ids == ends
    for (start, stop), turn in zip(text.learned, TALK, strict=False):
        said = transforms.answer_ids(layout, words, turn.outputs)
        assert text.prompt_ids[start:stop] == [*said, *ends]


def test_what_was_said_before_all_turns_stays_when_turns_are_left_out(words):
    layout = transforms.Layout.of(words, prompts.YING_VLM, picture_len=4, max_text_len=40, max_response_len=30)
    text = transforms.fit(layout, words, TALK, system="Say what you see.")
    assert text.num_dropped and "Say what you see.\nWhy?" in words.decode(text.prompt_ids)
    assert "What is this?" not in words.decode(text.prompt_ids)


@pytest.mark.parametrize("name", sorted(prompts.FORMATS))
@pytest.mark.parametrize("num_images", [1, 3])
def test_a_text_that_is_too_long_fills_its_room_exactly(name, num_images):
    """Begin and end ids count, pictures and their marks do not, wherever the format puts them."""
    asked = prompts.FORMATS[name]
    words = tokenizer.Tokenizer.load(HF / "llava" / "tokenizer.json")
    layout = transforms.Layout.of(words, asked, picture_len=5, max_text_len=240, max_response_len=12)
    outputs = "a red car and a blue one " * 9
    # Letters that are pieces of their own, so that no cut leaves a place free.
    row = row_of(layout, words, instruction="Say.", inputs="? " * 600, outputs=outputs, new_pictures=num_images)
    marks = len(layout.open_ids) + len(layout.close_ids)
    assert row["segment_ids"].sum() - num_images * (5 + marks) in (239, 240)
    assert len(row["token_ids"]) == layout.row_len(num_images)
    assert row["loss_mask"].sum() == 12


def test_a_row_of_a_conversation_is_padded_to_the_length_of_its_pictures(layout, words):
    turns = [schema.Turn("What is this?", "", "a red circle", 2), schema.Turn("And this?", "look", "a blue one", 1)]
    row = transforms.training_row(layout, words, turns)
    length = layout.row_len(3)
    assert {array.shape for array in row.values()} == {(length,)} and length > row["segment_ids"].sum()
    assert (row["image_token_index"] >= 0).sum() == 3 * layout.picture_len
    learned = words.decode(row["token_ids"][row["loss_mask"] > 0].tolist())
    assert learned.split("\n")[:2] == ["a red circle", "a blue one"]


def test_a_begin_id_may_be_the_first_id_and_must_be_one():
    tokens = types.SimpleNamespace(bos_id=0, eos_id=2, encode=lambda text, place="start": [ord(sign) for sign in text])
    sizes = {"picture_len": 4, "max_text_len": 80, "max_response_len": 40}
    assert transforms.Layout.of(tokens, prompts.YING_VLM, **sizes).bos_id == 0
    tokens.bos_id = -1
    with pytest.raises(errors.ConfigError, match="has no begin id"):
        transforms.Layout.of(tokens, prompts.YING_VLM, **sizes)
