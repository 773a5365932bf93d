"""Every field of a processor's files is used, known to change nothing, or refused by its name."""

import pathlib

import pytest
import reference_goldens

from m3it_jax import errors
from m3it_jax.checkpoint_conversion.configs import hf_processor
from m3it_jax.models.variants import VARIANTS

HERE = pathlib.Path("folder")


def _files(family):
    folder = reference_goldens.STORED / family
    return tuple(
        reference_goldens.read_json(folder / name) for name in ("preprocessor_config.json", "processor_config.json")
    )


def _applied(family, pictures, texts):
    processor = hf_processor.of_files(HERE, pictures, texts)
    return hf_processor.applied(reference_goldens.variant_of(family), processor)


@pytest.mark.parametrize("family", ["blip2_opt", "instructblip_t5", "llava"])
def test_the_pictures_values_are_the_same_in_either_file(family):
    pictures, texts = _files(family)
    changed = pictures | {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.25, 1.5]}
    for variant in (
        _applied(family, changed, texts),
        _applied(family, None, texts | {"image_processor": changed}),
        _applied(family, changed, texts | {"image_processor": changed}),
    ):
        assert variant.vit.pixel_mean == (0.1, 0.2, 0.3) and variant.vit.pixel_std == (0.5, 0.25, 1.5)
    assert _applied(family, None, {}) == reference_goldens.variant_of(family)


def test_files_that_disagree_are_both_named():
    pictures, texts = _files("llava")
    other = {"image_processor": pictures | {"image_mean": [0.5, 0.5, 0.5]}}
    with pytest.raises(
        errors.UserError, match=r"processor_config.json: image_processor.image_mean.*preprocessor_config"
    ):
        _applied("llava", pictures, texts | other)
    with pytest.raises(errors.UserError, match=r"processor_config.json: image_processor=3 is no object"):
        _applied("llava", pictures, texts | {"image_processor": 3})


REFUSED = [
    ("blip2_opt", "do_pad", True),
    ("blip2_opt", "do_convert_rgb", False),
    ("blip2_opt", "resample", 2),
    ("blip2_opt", "size", {"height": 28, "width": 56}),
    ("blip2_opt", "size", None),  # the class's own, 384
    ("blip2_opt", "do_center_crop", True),
    ("blip2_opt", "image_processor_type", "CLIPImageProcessor"),
    ("blip2_opt", "image_std", [0.5, 0.0, 0.5]),
    ("blip2_opt", "do_flip", True),
    ("blip2_opt", "sharpness", 2),
    ("llava", "crop_size", None),
    ("llava", "crop_size", 27),
    ("llava", "image_processor_type", "SiglipImageProcessor"),
    ("llava", "default_to_square", True),
]


@pytest.mark.parametrize("inside", [False, True], ids=["preprocessor", "processor"])
@pytest.mark.parametrize(("family", "name", "value"), REFUSED, ids=[f"{one[1]}={one[2]}" for one in REFUSED])
def test_pictures_that_are_prepared_otherwise_are_refused(family, name, value, inside):
    pictures, texts = _files(family)
    changed = pictures | {name: value}
    if name == "default_to_square":
        changed["size"] = 28
    given = (None, texts | {"image_processor": changed}) if inside else (changed, texts)
    with pytest.raises(errors.UserError, match=f"/{'processor' if inside else 'preprocessor'}_config.json: {name}="):
        _applied(family, *given)


@pytest.mark.parametrize(
    ("family", "name", "value"),
    [
        ("blip2_opt", "num_query_tokens", 6),
        ("llava", "patch_size", 14),
        ("llava", "vision_feature_select_strategy", "full"),
        ("llava", "num_additional_image_tokens", 2),
        ("llava", "tiles", 4),
    ],
)
def test_other_places_for_a_picture_are_refused(family, name, value):
    pictures, texts = _files(family)
    with pytest.raises(errors.UserError, match=f"/processor_config.json: {name}={value!r}"):
        _applied(family, pictures, texts | {name: value})


def test_what_changes_nothing_is_taken():
    pictures, texts = _files("llava")
    more = {"_valid_processor_keys": ["size"], "device": "cpu", "use_fast": True, "image_processor_type": None}
    clip = {"feature_extractor_type": "CLIPFeatureExtractor", "size": 28, "crop_size": 28}
    variant = _applied("llava", pictures | more | clip, texts | {"chat_template": "{{ x }}", "image_token": "<image>"})
    assert variant == reference_goldens.variant_of("llava")
    fast = _files("blip2_opt")[0] | {"image_processor_type": "BlipImageProcessorFast"}
    assert _applied("blip2_opt", fast, {}) == reference_goldens.variant_of("blip2_opt")
    assert hf_processor.applied(VARIANTS["tiny"], hf_processor.of_files(HERE, None, {})) == VARIANTS["tiny"]
