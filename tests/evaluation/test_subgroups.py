"""Parts that cut across tasks."""

import pytest

from m3it_jax.evaluation import subgroups, tasks

PROTOCOL = tasks.Protocol(resamples=50)


def test_parts_by_language_length_and_wording(fakes):
    rows = [
        fakes.prediction(
            number, "3", language="en" if number % 2 else "zh", instruction="Seen?" if number < 30 else "New"
        )
        for number in range(40)
    ]
    rows += [fakes.prediction(100, "a red car today", references=["a red bus today"], language="en")]
    found = subgroups.score(rows, PROTOCOL, is_seen=subgroups.wording([["Seen?", "Which digit?"], []]))
    assert {name: (part["value"], part["n"]) for name, part in found["language"].items()} == {
        "en": (pytest.approx(100 * 20 / 21), 21),
        "zh": (100.0, 20),
    }
    assert {name: part["n"] for name, part in found["length"].items()} == {"1": 40, "4 to 7": 1}
    assert {name: part["n"] for name, part in found["wording"].items()} == {"seen": 31, "unseen": 10}
    part = found["wording"]["unseen"]
    assert part["metric"] == "exact_match" and part["low"] < part["value"] == 100.0
    assert any(line.startswith("exact_match by wording: seen ") for line in subgroups.table(found))


def test_a_kind_of_one_part_says_nothing_and_wording_needs_a_run(fakes):
    rows = [fakes.prediction(number, "3") for number in range(4)]
    assert subgroups.score(rows, PROTOCOL) == {}
    assert subgroups.score(rows, PROTOCOL, is_seen=subgroups.wording([["Which digit?"]])) == {}


@pytest.mark.parametrize(
    ("instruction", "wanted"),
    [
        ("Does it show [HYPO]?", "seen"),
        ("Does it show a (red) car?", "seen"),
        ("Does it show ?", "unseen"),
        ("Does this show a car?", "unseen"),
        ("From English to French.", "seen"),
    ],
)
def test_a_slot_stands_for_any_text(instruction, wanted):
    label = subgroups.wording([["Does it show [HYPO]?"], ["From [SOURCE] to [TARGET]."]])
    assert label({"instruction": instruction}) == wanted
