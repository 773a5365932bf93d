"""Values of a foreign configuration: what is taken, to the last allowed one, and what is refused by its name."""

import pytest

from m3it_jax import errors
from m3it_jax.checkpoint_conversion.configs.hf_values import Values


def of(value) -> Values:
    return Values({"x": value}, "config.json")


@pytest.mark.parametrize(
    ("read", "taken", "refused"),
    [
        (lambda v: v.whole("x", 7), [1, 2**31 - 1], [0, -1, 2**31, True, 1.0, "1"]),
        (lambda v: v.whole("x", 2, low=0, high=3), [0, 3], [-1, 4]),
        (lambda v: v.number("x", 7.0), [1e-9, 1, 1e30], [0, 0.0, -1.0, 1.01e30, float("nan"), True, "1"]),
        (lambda v: v.number("x", 7.0, low=0.0), [0, 0.5], [-0.1, float("inf")]),
        (lambda v: v.flag("x", False), [True, False], [0, 1, "true"]),
        (lambda v: v.text("x", "b"), ["", "a"], [1, ["a"]]),
        (lambda v: v.choice("x", {"a": "a", "b": "b"}, "b"), ["a", "b"], ["c", "", 1, ["a"]]),
        (lambda v: v.triple("x", (7, 8, 9)), [(1.0, 2.0, 3.0)], [[1, 2], [1, 2, 3, 4], "123", [1, "2", 3], 3]),
        (lambda v: v.must_be("x", 3) or 3, [3], [4, 0, "3"]),
    ],
)
def test_what_is_allowed_is_taken_and_all_else_refused_by_name(read, taken, refused) -> None:
    for value in taken:
        assert read(of(value)) == value
    for value in refused:
        with pytest.raises(errors.UserError, match=r"config\.json: x=.*: only .* can be converted"):
            read(of(value))
    assert read(of(None)) == read(Values({}, "config.json"))  # null is the default


def test_a_null_that_absence_would_contradict_is_refused() -> None:
    with pytest.raises(errors.UserError, match="x=None: only true or false"):
        of(None).flag("x", True)
    assert Values({}, "").flag("x", True) is True


def test_a_part_is_an_object_whose_name_is_told() -> None:
    with pytest.raises(errors.UserError, match=r"config\.json: x: y=0: only a whole number from 1"):
        of({"y": 0}).part("x").whole("y", 1)
    with pytest.raises(errors.UserError, match="x=3: only an object"):
        of(3).part("x")
    assert Values({}, "").part("x").whole("y", 5) == 5


def test_a_long_value_is_cut_and_an_odd_one_spelled() -> None:
    for value, shown in (("a" * 78, f"'{'a' * 78}'"), ("a" * 79, f"'{'a' * 76}..."), ("\x1b[1m", r"'\x1b[1m'")):
        with pytest.raises(errors.UserError) as caught:
            of(value).flag("x", True)
        assert str(caught.value).startswith(f"config.json: x={shown}: only true or false can be converted; ")
