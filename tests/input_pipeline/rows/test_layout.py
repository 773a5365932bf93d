"""Conversations laid out as the families' own code lays them out (tests/reference/make_conversations.py)."""

import dataclasses
import json
import pathlib
import subprocess

import numpy as np
import pytest

from m3it_jax import prompts, schema, tokenizer
from m3it_jax.input_pipeline.rows import transforms

GOLDEN = pathlib.Path(__file__).parents[2] / "golden"
STORED = json.loads((GOLDEN / "conversations.json").read_text(encoding="utf-8"))
PICTURE = -200  # as the stored ids have it


def conversations(name):
    """Parametrises a test over the stored conversations and what a family made of each."""
    rows = zip(STORED["conversations"], STORED[name]["rows"], strict=True)
    return pytest.mark.parametrize(("turns", "wanted"), [pytest.param(*row, id=str(n)) for n, row in enumerate(rows)])


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> tokenizer.Tokenizer:
    """The small vocabulary of LLaVA with the settings of the hub's file for LLaVA-1.5."""
    made = json.loads((GOLDEN / "hf/llava/tokenizer.json").read_text(encoding="utf-8")) | STORED["llava"]["tokenizer"]
    path = tmp_path_factory.mktemp("hub") / "tokenizer.json"
    path.write_text(json.dumps(made), encoding="utf-8")
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        (path.parent / name).write_bytes((GOLDEN / "hf/llava" / name).read_bytes())
    return tokenizer.Tokenizer.load(path)


def laid_out(asked: prompts.PromptFormat, words: tokenizer.Tokenizer, turns) -> transforms.Text:
    return transforms.lay_out(layout_of(asked, words), words, [schema.Turn(q, "", a, n) for q, a, n in turns])


def layout_of(asked: prompts.PromptFormat, words: tokenizer.Tokenizer) -> transforms.Layout:
    return transforms.Layout.of(words, asked, picture_len=1, max_text_len=4000, max_response_len=400)


def row_of(asked: prompts.PromptFormat, words: tokenizer.Tokenizer, turns) -> tuple[list[int], np.ndarray]:
    """Returns the ids of the row, PICTURE for a picture, and its loss mask."""
    text = laid_out(asked, words, turns)
    row = transforms.make_row(layout_of(asked, words), text, num_images=sum(number for *_, number in turns))
    return np.where(row["image_token_index"] >= 0, PICTURE, row["token_ids"]).tolist(), row["loss_mask"]


@conversations("llava")
def test_llava_is_laid_out_and_counted_as_its_own_training_does(published, turns, wanted):
    ids, loss_mask = row_of(prompts.FORMATS["llava"], published, turns)
    assert ids == wanted["ids"]
    np.testing.assert_array_equal(loss_mask, np.array(wanted["labels"]) != -100)


def check_chat_template(published, turns, wanted, placeholder):
    asked = dataclasses.replace(prompts.FORMATS["llava"], system="")  # the hub's template has no sentence of its own
    text = laid_out(asked, published, turns)
    ids = [published.bos_id, *(placeholder if index == transforms.PICTURE else index for index in text.prompt_ids)]
    assert ids == wanted["ended_ids"]
    assert len(turns) > 1 or ids == wanted["ids"]


@conversations("llava_chat_template")
def test_llava_is_asked_as_the_hubs_chat_template_but_for_the_end_between_turns(published, turns, wanted):
    check_chat_template(published, turns, wanted, STORED["llava_chat_template"]["placeholder"])


@pytest.mark.torch
def test_the_stored_chat_template_is_what_transformers_makes_of_it_today(published, reference_python):
    script = GOLDEN.parent / "reference" / "make_conversations.py"
    told = subprocess.run(
        [reference_python, script, "--chat-template"], capture_output=True, text=True, check=True
    ).stdout
    made = json.loads(told)
    for turns, wanted in zip(made["conversations"], made["rows"], strict=True):
        check_chat_template(published, turns, wanted, made["placeholder"])


@conversations("minigpt4")
def test_minigpt4_is_asked_as_its_own_chat_asks(turns, wanted):
    words = tokenizer.Tokenizer.load(GOLDEN / "hf/llama/tokenizer.json")
    asked, _ = row_of(prompts.FORMATS["minigpt4"], words, [*turns[:-1], [turns[-1][0], "", turns[-1][2]]])
    assert asked == wanted["ids"]


@conversations("blip2")
def test_blip2_is_asked_as_its_notebook_asks(turns, wanted):
    words = tokenizer.Tokenizer.load(GOLDEN / "hf/blip2_opt/tokenizer.json")
    assert [words.bos_id, *laid_out(prompts.FORMATS["blip2"], words, turns).prompt_ids] == wanted["ids"]


@conversations("ying_vlm")
def test_ying_vlm_asks_every_question_as_its_released_code_asks_one(turns, wanted):
    words = tokenizer.Tokenizer.load(GOLDEN / "hf/ying_vlm/tokenizer.json")
    ids = laid_out(prompts.FORMATS["ying_vlm"], words, turns).prompt_ids
    newline = words.encode("\n", "inside")
    expected = []
    for number, (asked, said) in enumerate(zip(wanted["asked"], wanted["said"], strict=True)):
        # A question is begin of all text only once: a vocabulary that puts a space before such a text has it there.
        expected += (
            asked if not number else [*newline, *words.encode(f"\n<human>:\n{turns[number][0]}\n\n<bot>:\n", "inside")]
        )
        expected += said if number < len(turns) - 1 else []
    assert ids == expected


@pytest.mark.parametrize("name", ["instructblip", "instructblip_t5", "blip2_t5"])
def test_every_other_format_has_its_words_between_an_answer_and_the_next_question(name):
    words = tokenizer.Tokenizer.load(
        GOLDEN / "hf" / {"instructblip": "instructblip_llama"}.get(name, name) / "tokenizer.json"
    )
    asked = prompts.FORMATS[name]
    text = words.decode(laid_out(asked, words, [["What?", "A car.", 1], ["Why?", "", 0]]).prompt_ids)
    first, second = asked.prompt("What?", ""), asked.segments(schema.Turn("Why?"), is_first=False)[0]
    assert "".join(text.split()) == "".join(f"{first}A car.{second}".split())
