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
    assert lines[0].split() == "task metric n score [low, high] blank shuffled majority".split()
    assert lines[1].split() == ["digit", "exact_match", "10", "100.0", "[100.0,", "100.0]", "0.0", "-", "100.0"]
    assert set(lines[2]) == {"-"}
    assert lines[3].split()[0] == "vqa"
    assert lines[4] == "not above these controls outside the intervals: vqa (majority)"
    assert len({len(line) for line in lines[:4]}) == 1


def test_a_win_is_said_and_no_controls_claim_nothing(fakes, store) -> None:
    store.claim({})
    store.append(fakes.prediction(number, "3") for number in range(10))
    assert table(store)[-1].startswith("vqa")
    store.append(fakes.prediction(number, "4", variant=controls.BLANK) for number in range(10))
    assert table(store)[-1] == "every family is above all its controls outside the intervals"
