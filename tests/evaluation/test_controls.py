"""Controls and intervals."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from m3it_jax import errors, rng
from m3it_jax.evaluation import controls


def test_blank_has_the_size_of_the_picture(fakes) -> None:
    with Image.open(io.BytesIO(controls.blank(fakes.picture(7, size=13)))) as opened:
        assert opened.size == (13, 13)
        assert np.asarray(opened).min() == 255


def test_a_picture_that_asks_for_too_many_pixels_is_refused_before_it_is_made() -> None:
    def header(width: int, height: int) -> bytes:  # the IHDR chunk alone: nothing is decoded
        chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))

    for data in (header(20_000, 20_000), header(7_000, 7_000), b"no picture"):
        with pytest.raises(errors.UserError, match="picture"):
            controls.blank(data)


def test_shuffled_keeps_the_kind_and_changes_the_group() -> None:
    kinds = ["a", "b"] * 50
    groups = [f"g{number // 4}" for number in range(100)]
    ids = [str(number) for number in range(100)]
    partners = controls.shuffled(kinds, groups, ids, seed=0)
    assert all(kinds[other] == kinds[number] for number, other in enumerate(partners))
    assert all(groups[other] != groups[number] for number, other in enumerate(partners))
    assert len(set(partners)) > 30  # not all with the same one
    assert partners == controls.shuffled(kinds, groups, ids, seed=0)
    assert partners != controls.shuffled(kinds, groups, ids, seed=1)


def test_shuffled_finds_the_only_other_group_and_gives_none_without_one() -> None:
    groups = ["same"] * 400 + ["other"]
    partners = controls.shuffled(["a"] * 401, groups, [str(number) for number in range(401)], seed=0)
    assert set(partners[:400]) == {400}
    assert controls.shuffled(["a", "a", "b"], ["g", "g", "h"], ["1", "2", "3"], seed=0) == [None] * 3


def test_majority_prefers_the_question_then_the_skill() -> None:
    rows = [("s", "q1", "yes"), ("s", "q1", "no"), ("s", "q1", "no"), ("s", "q2", "yes"), ("s", "q3", "yes")]
    majority = controls.Majority.count(rows)
    assert majority.answer("s", "q1") == "no"
    assert majority.answer("s", "never asked") == "yes"
    assert majority.answer("another", "q1") == ""


def test_equally_frequent_answers_do_not_depend_on_their_order() -> None:
    rows = [("s", "q", "b"), ("s", "q", "a")]
    assert controls.Majority.count(rows).answer("s", "q") == controls.Majority.count(rows[::-1]).answer("s", "q") == "a"


def interval(values, groups, **changed) -> tuple[float, float]:
    settings = {"seed": 0, "resamples": 1000, "confidence": 0.95, **changed}
    return controls.Resamples(groups, **settings).interval(values, groups)


def test_interval_agrees_with_the_normal_approximation() -> None:
    values = np.array([100.0] * 280 + [0.0] * 120)
    low, high = interval(values, [str(number) for number in range(400)])
    half = 1.96 * values.std() / np.sqrt(400)
    assert low == pytest.approx(70 - half, abs=0.6)
    assert high == pytest.approx(70 + half, abs=0.6)


def test_rows_of_one_picture_count_as_one() -> None:
    values = [100.0, 0.0] * 50
    alone = interval(values, [str(number) for number in range(100)])
    together = interval([value for value in values for _ in range(8)], [str(number // 8) for number in range(800)])
    assert together == pytest.approx(alone, abs=0.5)  # eight times the rows, not one bit more evidence


def test_interval_needs_no_luck() -> None:
    low, high = interval([100.0] * 5, list("abcde"))
    assert (round(low, 2), high) == (56.55, 100.0), "five of five right answers say no more (Wilson)"
    assert interval([0.0, 100.0], ["a", "b"]) == interval([0.0, 100.0], ["a", "b"])


def test_wilson_is_the_published_interval() -> None:
    # R. G. Newcombe, Statistics in Medicine 17 (1998), Table I, method 3: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    for right, count, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert controls.wilson(right / count, count, 0.95) == pytest.approx((low, high), abs=5e-5)


def test_the_interval_of_a_share_holds_what_it_promises_at_five_pictures() -> None:
    chance = np.random.default_rng(0)
    for share in (0.5, 0.8, 0.95):
        found = 0
        for _ in range(400):
            low, high = interval((chance.random(5) < share) * 100.0, list("abcde"), resamples=10)
            found += low <= 100 * share <= high
        assert found / 400 > 0.9, share


def test_scores_that_are_no_shares_have_the_resampled_interval_where_there_are_enough() -> None:
    values = np.random.default_rng(0).uniform(40, 60, 200)
    low, high = interval(values, [str(number) for number in range(200)])
    assert high - low < 2.5
    low, high = interval(values[:5], list("abcde"))
    assert high - low > 40, "five pictures: as wide as a share could be"


def test_a_control_with_fewer_rows_is_judged_on_the_groups_it_has() -> None:
    resamples = controls.Resamples(list("abcd"), seed=0, resamples=200, confidence=0.95)
    low, high = resamples.interval([100.0], ["c"])
    assert low < 25 and high == 100.0, "one picture says hardly anything"


def test_an_interval_is_that_of_resampled_groups_in_order_of_name() -> None:
    """The same in every process, whatever the order in which a set of names is gone through."""
    groups = [f"picture {number * 7919 % 1000}" for number in range(40)] * 2
    values = np.random.default_rng(0).uniform(0, 100, 80)
    names = sorted(set(groups))
    drawn = rng.generator(5, "bootstrap").multinomial(40, [1 / 40] * 40, size=300)
    rows = [[value for value, group in zip(values, groups, strict=True) if group == name] for name in names]
    means = [sum(times * sum(row) for times, row in zip(draw, rows, strict=True)) / (2 * draw.sum()) for draw in drawn]
    wanted = np.percentile(means, [10.0, 90.0])
    assert interval(values, groups, seed=5, resamples=300, confidence=0.8) == pytest.approx(tuple(wanted))


@pytest.mark.parametrize("number", [29, 30, 200])
def test_a_share_has_wilsons_interval_however_many_pictures_there_are(number: int) -> None:
    names = [str(place) for place in range(number)]
    low, high = controls.wilson(1.0, number, 0.95)
    assert interval([100.0] * number, names) == pytest.approx((100 * low, 100 * high)) and low < 1.0
    low, high = controls.wilson(0.0, number, 0.95)
    assert interval([0.0] * number, names) == pytest.approx((100 * low, 100 * high))
