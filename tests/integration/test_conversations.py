"""A stored conversation is the same tokens in training, in evaluation, through `generate` and in `chat`."""

import types

import numpy as np
import pytest
import tiny_assistant

from m3it_jax import config, prompts, schema, tokenizer
from m3it_jax.evaluation import output, runner, tasks
from m3it_jax.generation import pictures
from m3it_jax.generation.assistant import Assistant
from m3it_jax.generation.request import Request, SamplingConfig
from m3it_jax.generation.sampler import Sampler
from m3it_jax.input_pipeline import pipeline
from m3it_jax.input_pipeline.rows import transforms
from m3it_jax.serving.conversation import Conversation

TURNS = (
    {"instruction": "What is this?", "outputs": "a picture with number 3"},
    {"instruction": "And this?", "inputs": "hint 4", "outputs": "a picture with number 4", "new_pictures": 1},
)
SAMPLING = SamplingConfig(max_new_tokens=8)


@pytest.fixture(params=prompts.FORMATS)
def family(request, tiny, tmp_path) -> types.SimpleNamespace:
    """One record in a data folder, and an assistant of the tiny model that is asked in the form of a family."""
    meta = {"turns": [*TURNS], "captions": []}
    made = [tiny.instance("pairs", n, instruction="And its number?", inputs="", meta=meta) for n in range(2)]
    folder = tiny.write_folder(tmp_path, {"pairs": made})
    words = tokenizer.Tokenizer.load(folder.tokenizer_path)
    sampler = Sampler(*tiny_assistant.tiny(), words, max_rows=4, prompt_format=prompts.FORMATS[request.param])
    return types.SimpleNamespace(
        folder=folder, record=made[0], words=words, sampler=sampler, assistant=Assistant(sampler, {}, 0)
    )


def training_row(family, **changes) -> dict[str, np.ndarray]:
    """Returns the row that training sees of the record, without padding."""
    data = config.DataConfig(global_batch_size=2, max_text_len=500, max_response_len=40, **changes)
    layout = transforms.Layout.of(
        family.words,
        family.sampler.layout.format,
        picture_len=family.sampler.num_queries,
        max_text_len=data.max_text_len,
        max_response_len=data.max_response_len,
    )
    made = pipeline.Pipeline(
        data,
        objective="response",
        layout=layout,
        image_size=16,
        seed=0,
        data_folder=family.folder,
        tokenizer=family.words,
    )
    place = made.record_ids(0).index(family.record.id)
    batch = made.batch(0)
    names = ("token_ids", "image_token_index", "segment_ids", "positions", "loss_mask")
    row = {name: batch[name][place][batch["segment_ids"][place] > 0] for name in names}
    first = row["image_token_index"][row["image_token_index"] >= 0].min()
    row["image_token_index"] = np.where(row["image_token_index"] < 0, -1, row["image_token_index"] - first)
    return row


def asked_in_evaluation(family, tmp_path) -> dict[str, np.ndarray]:
    asked = []

    class Model:
        def generate_batch(self, requests):
            asked.extend(requests)
            return ["x"] * len(requests)

    protocol = tasks.Protocol(split="train", max_new_tokens=8)
    store = output.EvalFolder(tmp_path / "eval")
    runner.predict(Model(), family.folder, store, identity={"checkpoint": 1}, protocol=protocol)
    assert store.predictions()[0]["turns"] == [*TURNS]
    request = next(each for each in asked if each["images"] == list(family.record.images))
    return family.sampler.prepare(Request.of(request)).row


def asked_in_chat(family) -> dict[str, np.ndarray]:
    """Returns the last row of a chat in which a model gives the stored answers, token by token."""
    sampler, rows = family.sampler, []
    answers = iter([turn.outputs for turn in schema.turns_of(family.record)])

    def stream_row(prepared):
        rows.append(prepared.row)
        yield from transforms.response_ids(sampler.layout, sampler.tokenizer, next(answers))

    conversation = Conversation(family.assistant, history=9, sampling=SAMPLING)
    conversation._session = types.SimpleNamespace(stream_row=stream_row)
    shown = iter(pictures.read(family.record.images))
    for turn in schema.turns_of(family.record):
        conversation.show([next(shown) for _ in range(turn.new_pictures)])
        "".join(conversation.ask(turn.instruction, turn.inputs))
    return rows[-1]


def test_training_evaluation_generate_and_chat_ask_with_the_same_tokens(family, tmp_path):
    taught = training_row(family)
    record = family.record
    request = {"instruction": record.instruction, "inputs": record.inputs, "images": record.images, "turns": TURNS}
    rows = {
        "evaluation": asked_in_evaluation(family, tmp_path),
        "generate": family.sampler.prepare(Request.of({**request, "max_new_tokens": 8})).row,
        "chat": asked_in_chat(family),
    }
    for name, row in rows.items():
        length = len(row["token_ids"])
        for field in ("token_ids", "image_token_index", "segment_ids", "positions"):
            np.testing.assert_array_equal(row[field], taught[field][:length], err_msg=f"{name}: {field}")
        # What is left of the row is the last answer and what ends it.
        assert taught["loss_mask"][length:].all() and not taught["loss_mask"][length - 1]


def test_each_answer_is_learned_and_nothing_else_or_the_last_alone(family):
    taught = training_row(family)
    runs = np.split(taught["token_ids"], np.flatnonzero(np.diff(taught["loss_mask"])) + 1)[1::2]
    decoded = [family.words.decode(run).strip(" \n#") for run in runs]
    assert decoded == ["a picture with number 3", "a picture with number 4", "a picture with number 0"]
    last = training_row(family, supervised_answers="last")
    np.testing.assert_array_equal(last["token_ids"], taught["token_ids"])
    np.testing.assert_array_equal(last["loss_mask"], _last(taught))


def _last(taught) -> np.ndarray:
    """Returns the loss mask with its last run alone."""
    begin = np.flatnonzero(taught["loss_mask"] == 0)[-1] + 1
    return (np.arange(len(taught["loss_mask"])) >= begin).astype(np.float32)
