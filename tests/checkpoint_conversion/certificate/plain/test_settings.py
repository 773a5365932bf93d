"""A config.json is made complete, and what the plain models do not know is refused."""

import json

import pytest

from m3it_jax import errors
from m3it_jax.checkpoint_conversion.certificate.plain import settings


def _read(tmp_path, values):
    (tmp_path / "config.json").write_text(json.dumps(values))
    return settings.read(tmp_path)


def test_what_a_writer_left_out_is_the_librarys_default(tmp_path):
    blip2 = _read(tmp_path, {"model_type": "blip-2"})
    assert blip2["vision_config"]["num_hidden_layers"] == 39 and blip2["text_config"]["model_type"] == "opt"
    llava = _read(tmp_path, {"model_type": "llava", "text_config": {"num_attention_heads": 40, "hidden_size": 5_120}})
    assert llava["text_config"]["head_dim"] == 128 and llava["text_config"]["num_key_value_heads"] == 40
    assert llava["vision_config"]["hidden_act"] == "quick_gelu" and "qformer_config" not in llava


def test_a_t5s_feed_forward_and_head_follow_from_its_names(tmp_path):
    flan = {"model_type": "t5", "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "num_layers": 3}
    text = _read(tmp_path, flan)["text_config"]
    assert (text["is_gated_act"], text["dense_act_fn"]) == (True, "gelu_new") and not text["scale_decoder_outputs"]
    assert text["num_decoder_layers"] == 3
    text = _read(tmp_path, flan | {"dense_act_fn": "gelu"})["text_config"]
    assert (text["is_gated_act"], text["dense_act_fn"]) == (True, "gelu")
    text = _read(tmp_path, {"model_type": "t5"})["text_config"]
    assert (text["is_gated_act"], text["dense_act_fn"]) == (False, "relu") and text["scale_decoder_outputs"]
    assert not _read(tmp_path, {"model_type": "t5", "scale_decoder_outputs": False})["text_config"][
        "scale_decoder_outputs"
    ]


def test_the_base_of_rotary_positions_has_two_spellings(tmp_path):
    for field in ({"rope_theta": 5e5}, {"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}}):
        assert _read(tmp_path, {"model_type": "llama", **field})["text_config"]["rope_theta"] == 5e5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": {"variant": "tiny"}}, "model_type=None is not one of"),
        ({"model_type": "gpt2"}, "model_type='gpt2' is not one of"),
        ({"model_type": "blip-2", "text_config": {"model_type": "gpt_neox"}}, "text_config.model_type='gpt_neox'"),
        ({"model_type": "llama", "hidden_act": "mish"}, "hidden_act='mish' is not one of"),
        ({"model_type": "llama", "attention_bias": True}, "attention_bias=True is not known"),
        ({"model_type": "llama", "rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling="),
        ({"model_type": "llama", "rope_parameters": {"rope_type": "yarn"}}, "rope_type='yarn'"),
        ({"model_type": "opt", "do_layer_norm_before": False}, "do_layer_norm_before=False"),
    ],
)
def test_what_is_not_known_is_refused_by_name(tmp_path, values, message):
    with pytest.raises(errors.UserError, match="config.json: ") as raised:
        _read(tmp_path, values)
    assert message in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("scaling", [None, {}, {"type": "default"}, {"rope_type": "default"}])
def test_rotary_positions_that_are_not_scaled_may_be_said_to_be_so(tmp_path, scaling):
    found = _read(tmp_path, {"model_type": "llama", "rope_scaling": scaling})
    assert found["text_config"]["rope_theta"] == 10_000.0


ONLY = {
    "llama": [("attention_bias", False), ("mlp_bias", False)],
    "opt": [
        ("do_layer_norm_before", True),
        ("_remove_final_layer_norm", False),
        ("layer_norm_elementwise_affine", True),
    ],
}


@pytest.mark.parametrize("kind", ONLY)
def test_a_switch_may_stand_as_it_is_computed_and_not_the_other_way(tmp_path, kind):
    for name, value in ONLY[kind]:
        assert _read(tmp_path, {"model_type": kind, name: value})["text_config"][name] is value
        with pytest.raises(errors.UserError, match=name):
            _read(tmp_path, {"model_type": kind, name: not value})
