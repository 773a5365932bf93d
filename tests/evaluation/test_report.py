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
