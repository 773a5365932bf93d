"""The table in the terminal."""

from m3it_jax.evaluation import controls, report, scores, tasks

PROTOCOL = tasks.Protocol(resamples=50)


def table(store) -> list[str]:
    return report.table(scores.score(store, PROTOCOL)).splitlines()


def test_columns_and_verdict(fakes, store) -> None:
    store.claim({})
    store.append(fakes.prediction(number, "3") for number in range(10))
    store.append(fakes.prediction(number, "4", variant=controls.BLANK) for number in range(10))
    store.append(fakes.prediction(number, "3", variant=controls.MAJORITY) for number in range(10))
    lines = table(store)
    assert lines[0].split() == "task metric n score [low, high] blank shuffled majority does not beat".split()
    cells = ["digit", "exact_match", "10", "100.0", "[72.2,", "100.0]", "0.0", "-", "100.0", "majority"]
    assert lines[1].split() == cells
    assert set(lines[2]) == {"-"}
    assert lines[3].split()[0] == "vqa"
    told = "(the 95 % intervals do not overlap); these do not"
    assert lines[4] == f"0 of 1 families beat every control {told}: vqa (majority)"
    assert lines[5] == f"0 of 1 skills beat every control {told}: digit (majority)"


def test_a_win_is_said_and_no_controls_claim_nothing(fakes, store) -> None:
    store.claim({})
    store.append(fakes.prediction(number, "3") for number in range(10))
    assert table(store)[-1].startswith("vqa")
    store.append(fakes.prediction(number, "4", variant=controls.BLANK) for number in range(10))
    assert table(store)[-1] == "1 of 1 skills beat every control (the 95 % intervals do not overlap)"


def test_columns_stand_below_one_another_in_a_terminal_where_a_chinese_letter_takes_two(fakes, store) -> None:
    store.claim({})
    for skill in ("图片描述", "digit"):
        store.append(fakes.prediction(number, "3", id=f"{skill}-{number}", skill=skill) for number in range(10))
    header, *rows = table(store)
    place = header.index("metric")
    for row in rows:
        if not row.startswith("-"):
            columns = "".join(letter * (1 + (letter >= "\u4e00")) for letter in row)
            assert columns[place:].startswith("exact_match") and columns[place - 2 : place] == "  "


def test_controls_that_were_not_asked_everything_are_named_with_their_numbers(fakes, store) -> None:
    store.claim({})
    store.append(fakes.prediction(number, "3") for number in range(10))
    for variant, count in ((controls.BLANK, 7), (controls.MAJORITY, 4)):
        store.append(fakes.prediction(number, "3", variant=variant) for number in range(count))
    assert (
        "digit: left out, for want of answers: blank (3), majority (6); the same command with --controls adds them"
        in table(store)
    )
