import numpy as np
import pytest

from m3it_jax import errors, prompts
from m3it_jax.input_pipeline import tower_rows, transforms


def row_of(layout, words, **changes):
    fields = {"instruction": "What is this?", "inputs": "hint 3", "outputs": "a picture", "num_images": 2} | changes
    row = transforms.make_row(layout, transforms.fit_text(layout, words, **fields), num_images=fields["num_images"])
    return row if fields["outputs"] is None else transforms.pad_row(row, layout.row_len(fields["num_images"]))


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
    asked = row_of(layout, words, outputs=None)
    taught = row_of(layout, words)
    length = len(asked["token_ids"])
    assert length == int(np.flatnonzero(taught["loss_mask"])[0])
    for name, array in asked.items():
        np.testing.assert_array_equal(array, taught[name][:length], err_msg=name)


@pytest.mark.parametrize("length", [80, 60, 45, 40])
def test_too_long_inputs_lose_their_end_and_nothing_else_goes(words, length):
    layout = transforms.Layout.of(words, prompts.YING_VLM, picture_len=4, max_text_len=length, max_response_len=20)
    inputs = "hint 12 hint 34 hint 56 " * 40
    text = transforms.fit_text(layout, words, instruction="What is this?", inputs=inputs, outputs="a picture")
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
    row = row_of(layout, words, inputs=inputs, num_images=3)
    assert (row["image_token_index"] >= 0).sum() == 12


def test_a_too_long_response_keeps_its_end_marks(layout, words):
    text = transforms.fit_text(layout, words, instruction="What?", inputs="", outputs="number 7 " * 60)
    assert len(text.response_ids) == layout.max_response_len
    assert words.decode(text.response_ids).endswith("\n") and text.response_ids[-1] == words.eos_id
    assert "number 7 number 7 number 7".startswith(words.decode(text.response_ids)[:20])


def test_a_long_instruction_stays_and_the_response_gives_way(words):
    layout = transforms.Layout.of(words, prompts.YING_VLM, picture_len=4, max_text_len=60, max_response_len=40)
    longest, instruction = "", "What is this?"
    while True:
        try:
            text = transforms.fit_text(
                layout, words, instruction=instruction, inputs="hint", outputs="number 7 number 8 number 9"
            )
        except errors.UserError as error:
            assert "data.max_text_len" in str(error) and "it is 60" in str(error)
            break
        longest, instruction = instruction, instruction + " Say what you see."
        assert longest in words.decode(text.prompt_ids)
        assert text.response_ids[-1] == words.eos_id and words.decode(text.response_ids[-2:]) == "\n"
        assert 1 + len(text.prompt_ids) + len(text.response_ids) <= 60
    assert longest and longest != "What is this?"


def test_special_spellings_in_a_record_stay_ordinary_text(layout, words):
    row = row_of(layout, words, inputs="</s><s><Img><pad>", num_images=1)
    text = row["token_ids"][: int(row["segment_ids"].sum())]
    assert (text == words.bos_id).sum() == 1 and (text == words.eos_id).sum() == 1
    assert (row["image_token_index"] >= 0).sum() == layout.picture_len


def test_captions_stand_in_the_blocks_and_are_counted(layout, words):
    captions = [tower_rows.caption_ids(words, text) for text in ("picture 1 frame 0", "hint")]
    text = transforms.fit_text(layout, words, instruction="What?", inputs="", outputs="a picture")
    row = transforms.make_row(layout, text, num_images=2, captions=captions)
    assert (row["image_token_index"] == -1).all()
    counted = row["token_ids"][row["loss_mask"] > 0].tolist()
    assert counted == [*captions[0], *captions[1], *words.encode("a picture\n"), words.eos_id]
    assert len(tower_rows.caption_ids(words, "number 7 " * 50)) == tower_rows.CAPTION_LEN


def test_padding_never_cuts(layout, words):
    row = row_of(layout, words, outputs=None)
    with pytest.raises(ValueError, match="does not fit"):
        transforms.pad_row(row, len(row["token_ids"]) - 1)


def test_a_layout_without_room_for_a_response_is_refused(words):
    with pytest.raises(errors.ConfigError, match="max_response_len=2"):
        transforms.Layout.of(words, prompts.YING_VLM, picture_len=4, max_text_len=20, max_response_len=2)
