import pytest

from m3it_jax import errors
from m3it_jax.generation.request import Request, SamplingConfig


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_new_tokens", 0),
        ("max_new_tokens", 2.0),
        ("min_new_tokens", -1),
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("top_k", -1),
        ("top_p", 1.5),
        ("repetition_penalty", 0.0),
        ("num_beams", True),
        ("seed", -1),
        ("seed", "7"),
        ("top_k", 2**40),
        ("max_new_tokens", 2**31),
        ("num_beams", 2**31),
        ("temperature", 10**400),
        ("repetition_penalty", 1e31),
        ("length_penalty", -1e31),
    ],
)
def test_a_setting_that_means_nothing_is_refused_by_name(field, value):
    with pytest.raises(errors.ConfigError, match=f"{field}="):
        SamplingConfig(**{field: value})


def test_settings_that_contradict_each_other_are_refused():
    with pytest.raises(errors.ConfigError, match="min_new_tokens=9"):
        SamplingConfig(min_new_tokens=9, max_new_tokens=8)
    with pytest.raises(errors.ConfigError, match="num_beams=2"):
        SamplingConfig(num_beams=2, temperature=0.5)


def test_a_request_is_a_flat_dict():
    request = Request.of({"instruction": "What?", "images": [b"x"], "max_new_tokens": 3})
    assert (request.instruction, request.inputs, list(request.images)) == ("What?", "", [b"x"])
    assert request.sampling == SamplingConfig(max_new_tokens=3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"instruction": "x", "max_tokens": 3}, "'max_tokens'"),
        ({"instruction": " \n"}, "instruction: is empty"),
        ({}, "instruction: is empty"),
        ({"instruction": "x", "inputs": 3}, "inputs: must be text"),
        ({"instruction": "caf\udce9"}, "instruction: holds bytes that are no UTF-8"),
        ({"instruction": "x", "inputs": "\ud83d"}, "inputs: holds bytes that are no UTF-8"),
        (3, "request: must be a dict"),
    ],
)
def test_a_wrong_request_is_refused_in_one_line(values, message):
    with pytest.raises(errors.ConfigError, match=message) as caught:
        Request.of(values)
    assert "\n" not in str(caught.value)
