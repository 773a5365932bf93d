import dataclasses

import pytest
import reference_goldens

from m3it_jax import errors
from m3it_jax.checkpoint_conversion.configs import hf_config, hf_export
from m3it_jax.models.variants import VARIANTS

IDS = hf_export.TokenIds(bos=1, eos=(2,), pad=0, image=9)


@pytest.mark.parametrize("name", VARIANTS)
def test_what_is_written_is_read_as_the_same_model(name):
    variant = VARIANTS[name]
    files = hf_export.export_files(variant, IDS, dtype="float32")
    preprocessor = files["preprocessor_config.json"]
    family, found = hf_config.recognise(files["config.json"], where="here", preprocessor=preprocessor)
    assert family == hf_export.export_family(variant)
    for part in ("vit", "qformer", "decoder"):
        assert getattr(found, part) == getattr(variant, part)


def test_the_ids_stand_where_transformers_reads_them():
    files = hf_export.export_files(VARIANTS["blip2_flan_t5_xl"], dataclasses.replace(IDS, bos=None), dtype="bfloat16")
    assert files["generation_config.json"] == {"decoder_start_token_id": 0, "eos_token_id": 2, "pad_token_id": 0}
    assert files["config.json"]["image_token_index"] == 9 and files["config.json"]["torch_dtype"] == "bfloat16"
    assert files["processor_config.json"] == {"num_query_tokens": 32, "processor_class": "Blip2Processor"}


@pytest.mark.parametrize(("keeps", "strategy"), [(False, "default"), (True, "full")])
def test_llavas_processor_is_told_how_many_tokens_a_picture_takes(keeps, strategy):
    """transformers 5.24.0 processing_llava.py counts (side / patch_size)^2 + additional ones, less one by default."""
    variant = VARIANTS["llava_1.5_7b"]
    variant = dataclasses.replace(variant, vit=dataclasses.replace(variant.vit, keeps_class_token=keeps))
    processor = hf_export.export_files(variant, IDS, dtype="float32")["processor_config.json"]
    assert processor == {
        "image_token": "<image>",
        "num_additional_image_tokens": 1,
        "patch_size": 14,
        "processor_class": "LlavaProcessor",
        "vision_feature_select_strategy": strategy,
    }
    assert (336 // 14) ** 2 + 1 - (strategy == "default") == variant.vit.num_tokens


def test_several_ends_are_a_list_everywhere():
    files = hf_export.export_files(VARIANTS["tiny"], dataclasses.replace(IDS, eos=(2, 13)), dtype="float32")
    assert files["generation_config.json"]["eos_token_id"] == files["config.json"]["text_config"]["eos_token_id"]
    assert files["generation_config.json"]["eos_token_id"] == [2, 13]


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("vit", {"has_final_norm": False}),
        ("vit", {"image_fit": "crop"}),
        ("vit", {"has_input_norm": True}),
        ("decoder", {"norm": "layer"}),
        ("decoder", {"mlp": "plain"}),
        ("decoder", {"has_biases": True}),
    ],
)
def test_a_model_that_transformers_cannot_compute_is_refused_by_its_field(part, changes):
    tiny = VARIANTS["tiny"]
    variant = dataclasses.replace(tiny, **{part: dataclasses.replace(getattr(tiny, part), **changes)})
    with pytest.raises(errors.UserError, match=f"{part}.{next(iter(changes))}|preprocessor"):
        hf_export.export_family(variant)


def test_llava_gets_the_norm_that_transformers_asks_for():
    variant = reference_goldens.variant_of("llava")
    assert {*hf_export.fillers(variant)} == {
        f"vision_tower.vision_model.post_layernorm.{name}" for name in ("weight", "bias")
    }
    assert not hf_export.fillers(VARIANTS["tiny"])
