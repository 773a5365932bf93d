import dataclasses

import pytest
import reference_goldens
import tiny_assistant

from m3it_jax import errors, prompts, schema, tokenizer
from m3it_jax.generation import pictures
from m3it_jax.generation.assistant import Assistant
from m3it_jax.generation.request import SamplingConfig
from m3it_jax.generation.sampler import Sampler
from m3it_jax.input_pipeline.rows import transforms
from m3it_jax.models import vlm
from m3it_jax.serving.conversation import Conversation


def begin(history=0, **sampling):
    return Conversation(
        tiny_assistant.make(), history=history, sampling=SamplingConfig(**{"max_new_tokens": 5, **sampling})
    )


def say(conversation, text):
    return "".join(conversation.ask(text)).strip()


def test_without_history_each_turn_is_answered_as_a_request_of_its_own():
    conversation, picture = begin(), tiny_assistant.png(1)
    conversation.show(pictures.read([picture]))
    for text in ("What colour is the circle?", "left or right", "What colour is the circle?"):
        alone = tiny_assistant.make().generate(text, images=[picture], max_new_tokens=5)
        assert say(conversation, text).rstrip("\ufffd") == alone.rstrip("\ufffd")


def test_with_history_earlier_turns_change_the_answer():
    talked, fresh = begin(history=4), begin(history=4)
    say(talked, "a handwritten seven stands left of a small three")
    answers = say(talked, "What colour?"), say(fresh, "What colour?")
    assert answers[0] != answers[1]
    talked.clear()
    assert say(talked, "What colour?") == answers[1]


def test_turns_that_do_not_fit_are_forgotten_from_the_oldest():
    conversation = begin(history=100)
    for _ in range(8):
        say(conversation, "qz" * 60)  # more than 512 tokens in all
    with pytest.raises(errors.UserError, match="512"):
        say(conversation, "qz" * 300)


def test_pictures_that_cannot_be_shown_are_not_kept():
    conversation = begin()
    for images in ([b"broken"], [tiny_assistant.png()] * 90):
        with pytest.raises(errors.UserError):
            conversation.show(pictures.read(images))
    assert conversation.num_pictures == 0


def test_a_cut_picture_stays_cut_when_another_is_shown_and_its_turn_is_forgotten():
    assistant = tiny_assistant.make(tiles=4)
    first, second = (tiny_assistant.png(number, size=100, width=200) for number in (1, 2))
    for history in (0, 3):
        conversation = Conversation(assistant, history=history, sampling=SamplingConfig(max_new_tokens=4))
        conversation.show(pictures.read([first]))
        say(conversation, "What colour?")
        conversation.show(pictures.read([second]))
        (turn, said) = conversation._turns[0]
        assert turn.new_pictures == 1
        prepared = conversation._asked(schema.Turn("Which?", new_pictures=1), conversation._pictures)
        assert len(prepared.pictures) == 6
        if history:
            turns = (turn, schema.Turn("Which?", new_pictures=1))
            cut = assistant.sampler.cut(pictures.read([first, second]), turns)
            wanted = assistant.sampler.lay_out_turns(turns, cut, SamplingConfig(), said=[said])
            assert prepared.row["token_ids"].tolist() == wanted.row["token_ids"].tolist()
            assert [one.key for one in prepared.pictures] == [one.key for one in wanted.pictures]
        say(conversation, "Which?")
        conversation.replace(pictures.read([first, second]))  # together in one turn, so both are whole
        assert len(conversation._asked(schema.Turn("Which?", new_pictures=2), conversation._pictures).pictures) == 2


def test_beam_search_and_empty_lines_are_refused():
    with pytest.raises(errors.ConfigError, match="num_beams=2"):
        begin(num_beams=2)
    with pytest.raises(errors.ConfigError, match="instruction"):
        say(begin(), "  ")


FAMILIES = {"llava": "llava", "minigpt4": "llama", "blip2_opt": "blip2_opt", "instructblip_llama": "instructblip_llama"}


def assistant_of(family):
    """Returns an assistant of a stored checkpoint with the tokenizer of its folder."""
    variant, params = reference_goldens.parameters_of(family)
    path = reference_goldens.STORED / FAMILIES[family] / "tokenizer.json"
    qformer = tokenizer.find_qformer(path)
    sampler = Sampler(
        vlm.make_vlm(variant),
        params,
        tokenizer.Tokenizer.load(path),
        max_rows=4,
        # The published sentence before the first turn is longer than these models.
        prompt_format=dataclasses.replace(prompts.FORMATS[variant.prompt], system="A chat. "),
        qformer_tokenizer=tokenizer.Tokenizer.load(qformer) if qformer.is_file() else None,
    )
    return Assistant(sampler, {}, 0)


@pytest.mark.parametrize(
    "family", ["llava", *(pytest.param(family, marks=pytest.mark.slow) for family in FAMILIES if family != "llava")]
)
def test_turns_of_every_format_are_those_of_the_whole_prompt(family):
    assistant = assistant_of(family)
    sampler, sampling = assistant.sampler, SamplingConfig(max_new_tokens=4)
    conversation = Conversation(assistant, history=3, sampling=sampling)
    shown, ids = [], []
    inside = sampler.layout.format.has_pictures_inside
    for number, text in enumerate(("What?", "Why?")):
        new = pictures.read([tiny_assistant.png(number)])
        conversation.show(new)
        shown += new
        turn = schema.Turn(text, new_pictures=len(new))
        ids += transforms.turn_ids(sampler.layout, sampler.tokenizer, turn, is_first=not number)
        assert ids.count(transforms.PICTURE) == (len(shown) if inside else 0)
        prepared = sampler.lay_out(ids, sampler.beside(shown, text), sampling)
        new_ids = next(sampler.answers([prepared]))[1]
        said = "".join(conversation.ask(text))
        # A byte that fits no character takes those before it along, which are said by then: weights are at random.
        assert said.strip() == assistant.text(new_ids) or "\ufffd" in assistant.text(new_ids)
        assert conversation._turns[-1][1] == conversation._answer_ids(new_ids)
        ids += conversation._answer_ids(new_ids)
