import pytest

from m3it_jax import errors
from m3it_jax.checkpoint_conversion.configs import generation_values

TEXT = {"text_config": {"eos_token_id": 7}}


def read(file, config=TEXT):
    return generation_values.read(file, config, vocab_size=50, where="here")


@pytest.mark.parametrize(
    ("file", "config", "wanted"),
    [
        ({"eos_token_id": 2}, TEXT, (2,)),
        ({"eos_token_id": [2, 13, 2]}, TEXT, (2, 13)),
        ({"eos_token_id": []}, TEXT, ()),
        ({"eos_token_id": None}, TEXT, ()),
        ({}, TEXT, ()),
        (None, TEXT, (7,)),
        (None, {"eos_token_id": [3, 4], **TEXT}, (3, 4)),
        (None, {"text_config": 3}, ()),
    ],
)
def test_the_ids_that_end_an_answer_are_those_of_transformers(file, config, wanted):
    assert read(file, config).stop_ids == wanted


@pytest.mark.parametrize("value", [50, -1, "2", [2, 50], [2, None], True, {"a": 1}, 2.0])
def test_what_is_no_id_is_refused(value):
    with pytest.raises(errors.UserError, match=r"here/generation_config\.json: eos_token_id=.* from 0 to 49"):
        read({"eos_token_id": value})
    with pytest.raises(errors.UserError, match=r"here/config\.json: eos_token_id="):
        read(None, {"eos_token_id": value})


def test_an_encoder_decoder_model_begins_with_the_files_id():
    assert read({"decoder_start_token_id": 4}).start_id == 4 and read({}).start_id is None
    with pytest.raises(errors.UserError, match="decoder_start_token_id=50"):
        read({"decoder_start_token_id": 50})


def test_what_would_change_answers_is_told_and_the_rest_is_not():
    usual = {"_from_model_config": True, "bos_token_id": 1, "pad_token_id": 0, "max_length": 4_096, "num_beams": 1}
    usual |= {"do_sample": False, "temperature": 0.9, "top_p": 0.6, "transformers_version": "4.31.0", "use_cache": True}
    assert read(usual).notes == ()
    (note,) = read(usual | {"num_beams": 5, "repetition_penalty": 1.5, "suppress_tokens": [1, 2]}).notes
    assert "num_beams=5, repetition_penalty=1.5, suppress_tokens=[1, 2] would change" in note
    (note,) = read(usual | {"do_sample": True}).notes
    assert "do_sample=True, temperature=0.9, top_p=0.6 would change" in note
    (note,) = read({"a\nb": {"c": "d" * 99}}).notes
    assert "\n" not in note and len(note) < 300


def test_a_long_value_is_told_by_its_first_40_letters():
    for text, shown in (("a" * 38, f"'{'a' * 38}'"), ("a" * 39, f"'{'a' * 36}...")):
        (note,) = read({"forced": text}).notes
        assert note.startswith(f"generation_config.json: forced={shown} would change answers")
