"""What a model is asked: things of one size together, and the same thing once."""

import dataclasses

import pytest

from m3it_jax.evaluation import asking, controls, runner, tasks

PROTOCOL = tasks.Protocol(max_new_tokens=5)
VARIANTS = (controls.OWN, controls.BLANK, controls.SHUFFLED)


def request(number: int, instruction: str, inputs: str = "", **fields) -> asking.Request:
    question = asking.Question(
        *(str(number), "one", number, "digit", "vqa", "en", "g"), instruction, inputs, (), num_images=1, **fields
    )
    return asking.Request(question, controls.OWN, question)


def content(asked: asking.Request) -> dict:
    question = asked.question
    return {"instruction": question.instruction, "inputs": question.inputs, "images": [b"picture"], **question.before}


def numbers(chunk: list[asking.Asked]) -> list[list[int]]:
    return [[each.question.number for each in asked.requests] for asked in chunk]


def test_a_chunk_holds_questions_of_about_one_length_instruction_and_inputs_together() -> None:
    asked = [request(0, "a" * 9), request(1, "a", "b" * 20), request(2, "a" * 4, "b"), request(3, "a" * 30)]
    (chunk,) = asking.chunks(asked, content)
    assert numbers(chunk) == [[2], [0], [1], [3]]


@pytest.mark.parametrize(
    "other",
    [
        request(1, "b"),
        request(1, "a", "b"),
        request(1, "a", before={"system": "Be brief."}),
        request(1, "a", before={"turns": [{"instruction": "b", "outputs": "c"}]}),
        request(1, "a", before={"turns": [], "new_pictures": 1}),
    ],
)
def test_what_differs_in_one_thing_is_asked_twice(other) -> None:
    (chunk,) = asking.chunks([request(0, "a"), other, request(2, "a"), other], content)
    assert sorted(numbers(chunk)) == [[0, 2], [1, 1]]


def test_other_pictures_are_another_question() -> None:
    shown = {0: [b"1"], 1: [b"2"], 2: [b"1"], 3: [b"1", b"2"], 4: [b"2", b"1"]}
    ask = lambda asked: content(asked) | {"images": shown[asked.question.number]}  # noqa: E731
    (chunk,) = asking.chunks([request(number, "a") for number in shown], ask)
    assert numbers(chunk) == [[0, 2], [1], [3], [4]]


def test_answers_are_those_of_asking_each_question(fakes, folder, store, tmp_path, monkeypatch) -> None:
    """The fakes' records show five pictures and ask the same of all: each variant is asked once for a picture."""

    def answers(place: str) -> tuple[list, int]:
        model, kept = fakes.Reader(), type(store)(tmp_path / place)
        runner.predict(model, folder, kept, identity={}, protocol=PROTOCOL, variants=VARIANTS)
        return sorted((row["source"], row["id"], row["variant"], row["prediction"]) for row in kept.predictions()), len(
            model.asked
        )

    found, num_asked = answers("once")
    serial = iter(range(1000))
    plain = asking.asked
    monkeypatch.setattr(asking, "asked", lambda *args: plain(*args) | {"seed": next(serial)})  # nothing is the same
    each, num_each = answers("each")
    assert found == each and len(found) == num_each == 90
    assert num_asked <= 2 * 10 + 2  # five pictures, or pairs of them, and a white one, for each source


def test_a_broken_record_is_told_when_it_is_read(fakes, folder, store) -> None:
    from m3it_jax import errors

    table = folder.tables["one", "test"]
    table[7] = dataclasses.replace(table[7], images=(b"no picture",))
    with pytest.raises(errors.UserError, match="record one-7 of one"):
        runner.predict(fakes.Reader(), folder, store, identity={}, protocol=PROTOCOL, variants=(controls.BLANK,))
