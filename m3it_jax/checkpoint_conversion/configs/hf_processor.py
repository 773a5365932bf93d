"""The processor's files of a Hugging Face folder: every field is used, known to change nothing, or refused by name.

    preprocessor_config.json   how pictures are prepared (transformers 4, and the hub's older folders)
    processor_config.json      what a text gets for a picture; since transformers 5 the others too, as `image_processor`

Where both have the picture's values, transformers 5 reads one file and transformers 4 the other, so they must agree.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from m3it_jax import errors
from m3it_jax.checkpoint_conversion.configs.hf_values import Values
from m3it_jax.models.variants import CLIP_MEAN, CLIP_STD, Variant
from m3it_jax.models.vit import ViTConfig

PICTURES_FILE, PROCESSOR_FILE = "preprocessor_config.json", "processor_config.json"
_INSIDE = "image_processor"

CUBIC = 3  # PIL's number of bicubic resampling, which every family's processor uses

# Edges of the pictures of a file that names none: models/{blip,clip}/image_processing_*.py of transformers 5.24.
_BLIP_EDGE, _CLIP_EDGE = 384, 224

# Classes that do what a family's own does with the same values. Their names end in Fast or Pil for other engines.
_CLASSES = {
    "stretch": ("BlipImageProcessor", "BlipFeatureExtractor"),
    "crop": ("CLIPImageProcessor", "CLIPFeatureExtractor", "LlavaImageProcessor"),
}
# Fields about engines, formats of arrays and classes of Python, which leave the numbers alone.
_HARMLESS = {
    "_processor_class",
    "_valid_processor_keys",
    "auto_map",
    "data_format",
    "device",
    "disable_grouping",
    "image_seq_length",
    "input_data_format",
    "pad_size",  # of pictures that are padded, which are refused
    "processor_class",
    "return_tensors",
    "tokenizer_class",
    "transformers_version",
    "use_fast",
}
_PICTURE_FIELDS = {
    "crop_size",
    "default_to_square",
    "do_center_crop",
    "do_convert_rgb",
    "do_normalize",
    "do_pad",
    "do_rescale",
    "do_resize",
    "feature_extractor_type",
    "image_mean",
    "image_processor_type",
    "image_std",
    "resample",
    "rescale_factor",
    "size",
}
# Of processor_config.json: what a chat looks like is told elsewhere.
_TEXT_HARMLESS = {"chat_template", "image_token", "qformer_tokenizer", "tokenizer"}
_TEXT_FIELDS = {"num_additional_image_tokens", "num_query_tokens", "patch_size", "vision_feature_select_strategy"}


@dataclasses.dataclass(frozen=True)
class Processor:
    """What the files of a folder say.

    Attributes:
      pictures: How pictures are prepared, None where no file says it.
      pictures_file: The file that says it.
      texts: What a text gets for a picture; empty where no file says it.
      texts_file: The file that says it.
    """

    pictures: Mapping[str, Any] | None
    pictures_file: Path
    texts: Mapping[str, Any]
    texts_file: Path


def of_files(folder: Path, pictures: Mapping[str, Any] | None, texts: Mapping[str, Any]) -> Processor:
    """Returns what the processor's files of a folder say.

    Args:
      folder: The folder.
      pictures: The values of `PICTURES_FILE`, None where it has none.
      texts: The values of `PROCESSOR_FILE`, empty where it has none.

    Raises:
      UserError: the files prepare pictures in two ways.
    """
    old, new = folder / PICTURES_FILE, folder / PROCESSOR_FILE
    inside = texts.get(_INSIDE)
    texts = {name: value for name, value in texts.items() if name != _INSIDE}
    if inside is None:
        return Processor(pictures, old, texts, new)
    if not isinstance(inside, Mapping):
        raise errors.UserError(f"{new}: {_INSIDE}={inside!r} is no object; fetch the file again")
    for name in sorted(_PICTURE_FIELDS & (pictures or {}).keys() & inside.keys()):
        if pictures is not None and pictures[name] != inside[name] and not name.endswith("_type"):
            raise errors.UserError(
                f"{new}: {_INSIDE}.{name} is {inside[name]!r}, and {old.name} beside it has {pictures[name]!r}; "
                "transformers 5 reads the first and transformers 4 the second, so keep one"
            )
    return Processor({**(pictures or {}), **inside}, new, texts, new)


def applied(variant: Variant, processor: Processor) -> Variant:
    """Returns the model with its pixels as the processor prepares them.

    Raises:
      UserError: pictures are prepared, or stand in a text, in another way than the model's; or a field is not known.
    """
    _check_texts(variant, Values(processor.texts, str(processor.texts_file)))
    if processor.pictures is None:
        return variant
    vit = with_pixels(variant.vit, Values(processor.pictures, str(processor.pictures_file)))
    return dataclasses.replace(variant, vit=vit)


def with_pixels(vit: ViTConfig, values: Values) -> ViTConfig:
    """Returns the tower with the mean and deviation of the values; the rest must be what the family does.

    Raises:
      UserError: pictures are prepared in another way, or a field is not known.
    """
    values.must_know(_PICTURE_FIELDS, _HARMLESS)
    own = _CLASSES[vit.image_fit]
    for name in ("image_processor_type", "feature_extractor_type"):
        kind = str(values.get(name, own[0]))
        if kind.removesuffix("Fast").removesuffix("Pil") not in own:
            values.refuse(name, kind, " or ".join(own))
    crops = vit.image_fit == "crop"
    for name in ("do_resize", "do_rescale", "do_normalize", "do_convert_rgb", *(("do_center_crop",) if crops else ())):
        values.must_hold(name)
    for name in ("size", "resample", "rescale_factor", "image_mean", "image_std", *(("crop_size",) if crops else ())):
        values.must_not_be_null(name)
    values.must_be("do_pad", False)  # to a square, which transformers' LLaVA processor offers
    values.must_be("do_center_crop", crops)
    values.must_be("resample", CUBIC)
    _check_size(vit, values)
    rescale = values.number("rescale_factor", 1 / 255)
    if abs(rescale * 255 - 1) > 1e-6:
        values.refuse("rescale_factor", rescale, "1/255")
    std = values.triple("image_std", CLIP_STD)
    if min(std) <= 0:
        values.refuse("image_std", list(std), "numbers above 0")
    return dataclasses.replace(vit, pixel_mean=values.triple("image_mean", CLIP_MEAN), pixel_std=std)


def _check_size(vit: ViTConfig, values: Values) -> None:
    """Refuses pictures of another size than the tower's; one that the file leaves out is its class's."""
    edge, crops = vit.image_size, vit.image_fit == "crop"
    square = {"height": edge, "width": edge}
    wanted = {"size": {"shortest_edge": edge}, "crop_size": square} if crops else {"size": square}
    for name, allowed in wanted.items():
        found = values.get(name, _CLIP_EDGE if crops else _BLIP_EDGE)
        if isinstance(found, int) and name == "size":  # the shortest edge for CLIP, both for BLIP
            values.must_be("default_to_square", not crops)
        if isinstance(found, bool) or found not in (allowed, edge):
            values.refuse(name, found, f"{allowed!r}, the size of the vision tower,")


def _check_texts(variant: Variant, values: Values) -> None:
    """Refuses a processor that gives a text other places for a picture than the model has vectors."""
    values.must_know(_TEXT_FIELDS, _TEXT_HARMLESS | _HARMLESS)
    vit, qformer = variant.vit, variant.qformer
    if qformer is not None:
        values.must_be("num_query_tokens", qformer.num_queries)
        return
    values.must_be("patch_size", vit.patch_size)
    values.must_be("vision_feature_select_strategy", "full" if vit.keeps_class_token else "default")
    values.must_be("num_additional_image_tokens", 1, also=0)  # 0 in folders before transformers 4.47
