"""From predictions to scores, families, and who beats its controls."""

import pytest

from m3it_jax.evaluation import controls, output, scores, tasks

PROTOCOL = tasks.Protocol(resamples=200)


@pytest.fixture
def filled(fakes, store: output.EvalFolder) -> output.EvalFolder:
    store.claim({"checkpoint": {"step": 7}})
    store.append(fakes.prediction(number, "3" if number < 90 else "4") for number in range(100))
    store.append(fakes.prediction(number, "3" if number < 20 else "4", variant=controls.BLANK) for number in range(100))
    store.append(
        fakes.prediction(number, "3" if number < 82 else "4", variant=controls.MAJORITY) for number in range(100)
    )
    store.append(
        fakes.prediction(
            number,
            "(B) red" if number else "(A)",
            skill="shapes-options",
            family="classification",
            references=["(B) blue"],
        )
        for number in range(4)
    )
    return store


def test_values_counts_and_controls(filled: output.EvalFolder) -> None:
    entry = scores.score(filled, PROTOCOL)["tasks"]["digit"]["exact_match"]
    assert (entry["value"], entry["n"]) == (90.0, 100)
    assert entry["controls"] == {"blank": 20.0, "majority": 82.0}
    assert 80 < entry["low"] < 90 < entry["high"] < 98
    assert entry["control_intervals"]["blank"][1] < entry["low"]


def test_a_control_must_be_beaten_outside_the_intervals(filled: output.EvalFolder) -> None:
    entry = scores.score(filled, PROTOCOL)["tasks"]["digit"]["exact_match"]
    assert entry["low"] < entry["control_intervals"]["majority"][1] < entry["value"]
    assert scores.beats(entry) == {"blank": True, "majority": False}


def test_rows_of_one_picture_are_drawn_together(fakes, store: output.EvalFolder) -> None:
    store.claim({})
    store.append(fakes.prediction(number, "34"[number % 2], group="the same") for number in range(10))
    entry = scores.score(store, PROTOCOL)["tasks"]["digit"]["exact_match"]
    assert (entry["low"], entry["value"], entry["high"]) == (50.0, 50.0, 50.0)


def test_the_headline_of_options_is_multiple_choice(filled: output.EvalFolder) -> None:
    entry = scores.score(filled, PROTOCOL)["tasks"]["shapes-options"]
    assert next(iter(entry)) == "multiple_choice"
    assert entry["multiple_choice"]["value"] == 75.0
    assert entry["exact_match"]["value"] == 0.0
    assert entry["multiple_choice"]["controls"] == {}


def test_families_hold_all_their_skills_and_say_what_they_beat(fakes, filled: output.EvalFolder) -> None:
    filled.append([fakes.prediction(1000, "no", skill="digit-parity")])
    found = scores.score(filled, PROTOCOL)
    assert found["families"]["vqa"]["skills"] == ["digit", "digit-parity"]
    assert found["tasks"]["vqa"]["exact_match"]["n"] == 101
    assert found["families"]["vqa"]["beats"] == {"blank": True, "majority": False}
    assert found["families"]["classification"]["beats"] == {}
    assert "captioning" not in found["families"]


def test_the_lock_is_copied(filled: output.EvalFolder) -> None:
    assert scores.score(filled, PROTOCOL)["lock"] == {"checkpoint": {"step": 7}}


def test_a_skill_without_a_row_is_scored_under_its_family(fakes, store: output.EvalFolder) -> None:
    store_rows = [fakes.prediction(0, "a red car", skill="my-own", family="captioning", references=["a red bus"])]
    store.claim({})
    store.append(store_rows)
    found = scores.score(store, PROTOCOL)
    assert found["tasks"]["my-own"]["rougeL"]["value"] == pytest.approx(200 / 3)
    assert found["families"]["captioning"]["skills"] == ["my-own"]


def test_nothing_to_score(store: output.EvalFolder) -> None:
    assert scores.score(store, PROTOCOL)["tasks"] == {}
