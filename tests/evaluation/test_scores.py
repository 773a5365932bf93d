"""From predictions to scores, families, and who beats its controls."""

import pytest

from m3it_jax import metrics
from m3it_jax.evaluation import controls, output, report, scores, tasks

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
            id=f"options-{number}",
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
    alone = controls.wilson(0.5, 1, PROTOCOL.confidence)
    assert (entry["low"], entry["value"], entry["high"]) == (100 * alone[0], 50.0, 100 * alone[1]), "one observation"


def test_the_headline_of_options_is_multiple_choice(filled: output.EvalFolder) -> None:
    entry = scores.score(filled, PROTOCOL)["tasks"]["shapes-options"]
    assert next(iter(entry)) == "multiple_choice"
    assert entry["multiple_choice"]["value"] == 75.0
    assert entry["exact_match"]["value"] == 0.0
    assert entry["multiple_choice"]["controls"] == {}


def test_families_hold_all_their_skills_and_say_what_they_beat(fakes, filled: output.EvalFolder) -> None:
    for variant in (controls.OWN, controls.BLANK, controls.MAJORITY):
        filled.append([fakes.prediction(1000, "no", skill="digit-parity", variant=variant)])
    found = scores.score(filled, PROTOCOL)
    assert found["families"]["vqa"]["skills"] == ["digit", "digit-parity"]
    assert found["tasks"]["vqa"]["exact_match"]["n"] == 101
    assert found["families"]["vqa"]["beats"] == {"blank": True, "majority": False}
    assert found["families"]["classification"]["beats"] == {}
    assert "captioning" not in found["families"]


def test_each_skill_is_judged_and_what_was_not_answered_is_told(fakes, filled: output.EvalFolder) -> None:
    found = scores.score(filled, PROTOCOL, num_records=500)
    assert found["skills"]["digit"] == {"metric": "exact_match", "beats": {"blank": True, "majority": False}}
    assert found["skills"]["shapes-options"]["beats"] == {}
    assert found["coverage"] == {"answered": 104, "records": 500}
    assert report.coverage(found) == ["104 of 500 records of the split were answered; the scores hold for these alone"]
    assert report.coverage(scores.score(filled, PROTOCOL, num_records=104)) == []
    assert report.coverage(scores.score(filled, PROTOCOL)) == []


def test_some_of_the_answers_can_be_scored_alone(filled: output.EvalFolder) -> None:
    found = scores.score(filled, PROTOCOL, is_asked=lambda row: row["skill"] == "digit" and row["number"] < 10)
    assert set(found["skills"]) == {"digit"} and found["tasks"]["digit"]["exact_match"]["n"] == 10


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


def test_an_answer_that_stands_twice_counts_once_and_the_last_one_wins(fakes, filled: output.EvalFolder) -> None:
    before = scores.score(filled, PROTOCOL)
    lines = (filled.path / output.PREDICTIONS).read_bytes()
    (filled.path / output.PREDICTIONS).write_bytes(lines * 2)
    assert scores.score(filled, PROTOCOL) == before
    filled.append([fakes.prediction(99, "3")])
    entry = scores.score(filled, PROTOCOL)["tasks"]["digit"]["exact_match"]
    assert (entry["value"], entry["n"]) == (91.0, 100)


def test_a_control_of_fewer_questions_is_left_out_and_named(fakes, filled: output.EvalFolder) -> None:
    filled.append(fakes.prediction(number, "3") for number in range(100, 105))
    found = scores.score(filled, PROTOCOL)
    entry = found["tasks"]["digit"]["exact_match"]
    assert (entry["n"], entry["controls"], entry["control_intervals"]) == (105, {}, {})
    assert found["families"]["vqa"]["beats"] == {}
    assert found["left_out"] == {"digit": {"blank": 5, "majority": 5}, "vqa": {"blank": 5, "majority": 5}}
    assert "digit: left out, for want of answers: blank (5), majority (5)" in report.table(found)


def test_a_control_of_more_questions_is_scored_on_those_of_the_model(fakes, filled: output.EvalFolder) -> None:
    before = scores.score(filled, PROTOCOL)
    filled.append(fakes.prediction(number, "3", variant=controls.BLANK) for number in range(100, 150))
    assert scores.score(filled, PROTOCOL) == before


def test_a_question_without_a_partner_does_not_take_the_shuffled_control_away(fakes, store: output.EvalFolder) -> None:
    store.claim({})
    alone = {"skill": "flag-capital", "family": "vqa", "group": "one flag"}
    for variant in (controls.OWN, controls.SHUFFLED):
        store.append(fakes.prediction(number, "3", variant=variant) for number in range(4))
    store.append(fakes.prediction(number, "3", **alone) for number in range(10, 12))
    found = scores.score(store, PROTOCOL)
    assert found["left_out"] == {}
    assert found["tasks"]["vqa"]["exact_match"]["controls"] == {"shuffled": 100.0}
    assert found["tasks"]["flag-capital"]["exact_match"]["controls"] == {}
    store.append([fakes.prediction(12, "3", **{**alone, "group": "another flag"})])
    assert scores.score(store, PROTOCOL)["left_out"] == {"vqa": {"shuffled": 3}}


def test_metrics_that_are_no_mean_over_rows_are_of_all_rows_with_their_interval(
    fakes, store: output.EvalFolder
) -> None:
    texts = ["a man rides a brown horse", "two dogs play in the snow", "a red bus in the street", "a cat sleeps"]
    store.claim({})
    store.append(
        fakes.prediction(number, texts[number % 4] + " today", skill="mine", references=[texts[number % 4]])
        for number in range(60)
    )
    task = tasks.EvalTask("mine", "vqa", "en", ("bleu", "cider_captions", "anls"))
    found = scores.score(store, tasks.Protocol(resamples=100, suite={"mine": task}))["tasks"]["mine"]
    rows = store.predictions()
    targets, predictions = [row["references"] for row in rows], [row["prediction"] for row in rows]
    assert found["bleu"]["value"] == pytest.approx(metrics.bleu(targets, predictions)["bleu"])
    assert found["bleu"]["low"] < found["bleu"]["value"] < found["bleu"]["high"]
    cider = metrics.cider(targets, predictions, tokenize=metrics.caption_words)["CIDEr"]
    assert found["CIDEr"]["value"] == pytest.approx(cider)
    assert 0 < found["CIDEr"]["low"] < cider < found["CIDEr"]["high"] < 10
    assert found["anls"]["low"] < found["anls"]["value"] < found["anls"]["high"] < 1


def test_intervals_of_few_pictures_stay_in_the_range_of_the_metric(fakes, store: output.EvalFolder) -> None:
    store.claim({})
    store.append(
        fakes.prediction(number, f"a man {word} today", skill="mine", references=[f"a man {word}"])
        for number, word in enumerate(("sleeps", "eats", "reads", "sings"))
    )
    task = tasks.EvalTask("mine", "vqa", "en", ("cider_captions", "anls"))
    found = scores.score(store, tasks.Protocol(resamples=100, suite={"mine": task}))["tasks"]["mine"]
    assert 0.5 < found["anls"]["value"] < found["anls"]["high"] < 1
    assert 1 < found["CIDEr"]["value"] < found["CIDEr"]["high"] < 10


def test_a_metric_that_the_answers_do_not_allow_is_named(fakes, store: output.EvalFolder) -> None:
    store.claim({})
    store.append([fakes.prediction(0, "3", skill="vqa-v2")])
    found = scores.score(store, PROTOCOL)
    assert next(iter(found["tasks"]["vqa-v2"])) == "exact_match_normalised"
    assert "vqa-v2: without vqa_accuracy, which needs the answers" in report.table(found)
