"""Every file of configs/weights, run on small folders with the names, files and rows of what is published."""

import dataclasses
import json
import pathlib
import re
import subprocess

import numpy as np
import pytest
import small_models

from m3it_jax import checkpointing, errors, parameter_paths, safetensors_files
from m3it_jax.checkpoint_conversion.configs import hf_export
from m3it_jax.checkpoint_conversion.files import pickles
from m3it_jax.checkpoint_conversion.folders import importing
from m3it_jax.checkpoint_conversion.names import families, mapping
from m3it_jax.models import abstract, variants
from m3it_jax.models.projection import ProjectionConfig

RECIPES = sorted((pathlib.Path(__file__).parents[2] / "configs" / "weights").glob("*.json"))
IDS = hf_export.TokenIds(bos=1, eos=(2,), pad=0, image=None)

# Canonical names -> those of the authors' files; LAVIS' as convert_blip_2_original_to_pytorch.py reads them.
EVA = [
    (r"vision_model\.embeddings\.class_embedding", "cls_token"),
    (r"vision_model\.embeddings\.position_embedding", "pos_embed"),
    (r"vision_model\.embeddings\.patch_embedding\.(.+)", r"patch_embed.proj.\1"),
    (r"vision_model\.encoder\.layers\.(\d+)\.layer_norm([12])\.(.+)", r"blocks.\1.norm\2.\3"),
    (r"vision_model\.encoder\.layers\.(\d+)\.self_attn\.projection\.(.+)", r"blocks.\1.attn.proj.\2"),
    (r"vision_model\.encoder\.layers\.(\d+)\.self_attn\.(.+)", r"blocks.\1.attn.\2"),
    (r"vision_model\.encoder\.layers\.(\d+)\.(mlp\..+)", r"blocks.\1.\2"),
]
LAVIS = [
    (r"vision_model\.post_layernorm\.(.+)", r"ln_vision.\1"),
    (r"qformer\.encoder\.(layer\.\d+\.(?:cross)?attention)\.attention\.(.+)", r"Qformer.bert.encoder.\1.self.\2"),
    (r"qformer\.encoder\.(.+)", r"Qformer.bert.encoder.\1"),
    (r"qformer\.(?:embeddings\.)?layernorm\.(.+)", r"Qformer.bert.embeddings.LayerNorm.\1"),
    (r"query_tokens", "query_tokens"),
]
LLAMA = [(r"language_model\.(.+)", r"\1")]
CLIP = [(r"vision_tower\.(.+)", r"\1")]
LLAVA = [
    (r"multi_modal_projector\.linear_1\.(.+)", r"model.mm_projector.0.\1"),
    (r"multi_modal_projector\.linear_2\.(.+)", r"model.mm_projector.2.\1"),
    *LLAMA,
]


def named(tensors, rules):
    """Returns the tensors that a rule names, under those names."""
    found = {}
    for key, array in tensors.items():
        for pattern, replacement in rules:
            match = re.fullmatch(pattern, key)
            if match:
                found[match.expand(replacement)] = array
                break
    return found


class Place:
    """Makes what a recipe names: folders and files below `root`, and the model that must come out."""

    def __init__(self, root, variant, python):
        self.root, self.variant, self.python = root, variant, python
        self.rng = np.random.default_rng(3)
        shapes = abstract.parameters(variant)
        self.params = {path: self.draw(leaf.shape) for path, leaf in shapes.items()}
        self.tensors = mapping.to_hf(families.entries(variant), self.params)
        self.config = hf_export.config_json(variant, IDS, dtype="float32")

    def draw(self, shape):
        return self.rng.normal(size=shape).astype(np.float32)

    def folder(self, name, tensors, config):
        (self.root / name).mkdir(parents=True)
        safetensors_files.write(self.root / name / "model.safetensors", tensors)
        (self.root / name / "config.json").write_text(json.dumps(config))

    def file(self, name, tensors):
        """Writes a pickled file where an interpreter has torch; the same tensors as safetensors elsewhere."""
        self.root.mkdir(parents=True, exist_ok=True)
        stored = (self.root / name).with_suffix(".safetensors")
        safetensors_files.write(stored, tensors)
        if self.python:
            script = "import sys, torch, safetensors.torch as s\ntorch.save({'model': s.load_file(sys.argv[1]), "
            script += "'epoch': 1}, sys.argv[2])"
            subprocess.run([self.python, "-c", script, stored, self.root / name], check=True)
            stored.unlink()

    def delta(self, name, base, *, rows, embeddings):
        """Writes a language model as its difference to a base of `rows` words, and the base."""
        final = named(self.tensors, LLAMA)
        words = [key for key in final if "embed_tokens" in key or "lm_head" in key]
        theirs = {key: self.draw(array.shape)[: rows if key in words else None] for key, array in final.items()}
        delta = {}
        for key, array in final.items():
            delta[key] = array.copy()
            if key not in words or embeddings == "added":
                delta[key][: len(theirs[key])] -= theirs[key]
        self.folder(name, delta, self.config["text_config"])
        self.folder(base, theirs, {**self.config["text_config"], "vocab_size": rows})


def eva_file(place):
    """eva_vit_g.pth: timm's names, biases of queries and values apart, EVA-CLIP's own norm and head, one block more."""
    found = named({key: array for key, array in place.tensors.items() if "post_layernorm" not in key}, EVA)
    for key in [key for key in found if key.endswith("attn.qkv.bias")]:
        query, _, value = np.split(found.pop(key), 3)
        found |= {key.replace("qkv.bias", "q_bias"): query, key.replace("qkv.bias", "v_bias"): value}
    last = place.variant.vit.num_layers
    found |= {key.replace("blocks.0.", f"blocks.{last}."): one for key, one in found.items() if "blocks.0." in key}
    width = place.variant.vit.embed_dim
    found |= {"norm.weight": place.draw(width), "norm.bias": place.draw(width)}
    return found | {"head.weight": place.draw((7, width)), "head.bias": place.draw(7)}


def ying_vlm(place):
    text = {"model_type": "opt", "hidden_size": 24, "num_attention_heads": 4, "word_embed_proj_dim": 24}
    seen = {key: one for key, one in place.tensors.items() if not key.startswith("language_")}
    other = {"language_model.model.decoder.embed_tokens.weight": place.draw((9, 24))}
    other |= {"language_projection.weight": place.draw((24, 16)), "language_projection.bias": place.draw(24)}
    place.folder("blip2-opt-2.7b", seen | other, {**place.config, "text_config": text})
    place.delta("Ziya-LLaMA-13B-v1", "llama-13b", rows=70, embeddings="replaced")


def instructblip(place):
    grown = {"language_model.model.embed_tokens.weight": place.draw((79, 20))}  # with the word for padding
    place.folder("instructblip-vicuna-7b", place.tensors | grown, place.config)
    place.delta("vicuna-7b-delta-v1.1", "llama-7b", rows=78, embeddings="added")


def minigpt4(size):
    def make(place):
        place.file("eva_vit_g.pth", eva_file(place))
        reader = named(place.tensors, LAVIS) | {"t5_proj.weight": place.draw((20, 16)), "t5_proj.bias": place.draw(20)}
        place.file("blip2_pretrained_flant5xxl.pth", reader)
        names = [(r"language_projection\.(.+)", r"llama_proj.\1")]
        place.file(f"pretrained_minigpt4_{size}.pth", named(place.tensors, names))
        place.delta(f"vicuna-{size}-delta-v0", f"llama-{size}", rows=77, embeddings="added")

    return make


def clip_folder(place):
    """openai/clip-*: both towers, all blocks, and the sizes under either spelling."""
    vit = place.config["vision_config"]
    blocks = place.variant.vit.num_layers
    tower = named(place.tensors, CLIP)
    last = {key.replace("layers.0.", f"layers.{blocks}."): one for key, one in tower.items() if "layers.0." in key}
    width = vit["hidden_size"]
    other = {f"vision_model.post_layernorm.{name}": place.draw(width) for name in ("weight", "bias")}
    other |= {"text_model.embeddings.position_embedding.weight": place.draw((7, 6))}
    other |= {"text_model.encoder.layers.0.layer_norm1.weight": place.draw(6)}
    other |= {"visual_projection.weight": place.draw((5, width)), "text_projection.weight": place.draw((5, 6))}
    other |= {"logit_scale": place.draw(()), "text_model.embeddings.position_ids": np.arange(7)[None]}
    sizes = {**vit, "num_hidden_layers": blocks + 1}
    config = {"model_type": "clip", "vision_config": {**sizes, "hidden_size": 99}, "vision_config_dict": sizes}
    place.folder("clip-vit-large-patch14-336", tower | last | other, config | {"text_config": {}})


def llava(place):
    clip_folder(place)
    place.folder("llava-1.5-7b-hf", place.tensors, place.config)


LLAVA_SMALL = dataclasses.replace(small_models.SMALL["llava"], projection=ProjectionConfig(20, "gelu"))
MINIGPT4_SMALL = dataclasses.replace(small_models.SMALL["ying_vlm"], prompt="minigpt4")
KINDS = {
    "ying_vlm_13b": (small_models.SMALL["ying_vlm"], ying_vlm),
    "instructblip_vicuna_7b": (small_models.SMALL["instructblip"], instructblip),
    "minigpt4_vicuna_7b": (MINIGPT4_SMALL, minigpt4("7b")),
    "minigpt4_vicuna_13b": (MINIGPT4_SMALL, minigpt4("13b")),
    "llava_1.5_7b": (LLAVA_SMALL, llava),
}


@pytest.fixture
def torch_python(monkeypatch):
    """The interpreter with torch where there is one, else none: then pickled files are taken as safetensors."""
    import os

    path = os.environ.get("M3IT_REFERENCE_PYTHON", "")
    monkeypatch.setenv(pickles.PYTHON_VARIABLE, path)
    return path


def recipe_of(path, root, variant, *, has_pickles):
    """Writes a recipe for a small variant in place of its row; everything else is its own text."""
    text = path.read_text()
    if not has_pickles:
        text = text.replace(".pth", ".safetensors")
    values = {**json.loads(text), "variant": "../../small"}
    (root / "small").mkdir(parents=True)
    variants.write(variant, root / "small")
    (root / "configs" / "weights").mkdir(parents=True)
    made = root / "configs" / "weights" / path.name
    made.write_text(json.dumps(values))
    return made


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_gives_the_model(path, tmp_path, torch_python):
    variant, make = KINDS[path.stem]
    place = Place(tmp_path / "weights", variant, torch_python)
    make(place)
    row = variant
    if path.stem == "instructblip_vicuna_7b":  # its row has one word more than the delta
        row = dataclasses.replace(row, decoder=dataclasses.replace(row.decoder, vocab_size=79))
    found = importing.convert(recipe_of(path, tmp_path, row, has_pickles=bool(torch_python)), tmp_path / "out")
    ours = parameter_paths.flatten(checkpointing.restore_params(tmp_path / "out")[0])
    assert found.variant == variant and ours.keys() == place.params.keys()
    for name, wanted in place.params.items():
        if f"{name.split('/')[0]}" in found.origins and found.origins[name.split("/")[0]] == "fresh":
            continue
        if name.endswith("attn/key/bias") and name.startswith("vit") and "minigpt4" in path.stem:
            wanted = np.zeros_like(wanted)  # EVA's keys have no bias
        np.testing.assert_allclose(ours[name], wanted, rtol=0, atol=2e-6, err_msg=name)


def authors_config(place):
    text = {key: one for key, one in place.config["text_config"].items() if key != "model_type"}
    return text | {
        "architectures": ["LlavaLlamaForCausalLM"],
        "model_type": "llava",
        "mm_vision_tower": "openai/clip-vit-large-patch14-336",
        "mm_projector_type": "mlp2x_gelu",
        "mm_hidden_size": 24,
        "mm_vision_select_layer": -2,
        "mm_vision_select_feature": "patch",
        "mm_use_im_start_end": False,
        "mm_use_im_patch_token": False,
        "image_aspect_ratio": "pad",
        "freeze_mm_mlp_adapter": False,
    }


def test_llava_as_its_authors_publish_it_may_stand_for_the_folder_of_transformers(tmp_path):
    place = Place(tmp_path / "weights", LLAVA_SMALL, "")
    clip_folder(place)
    place.folder("llava-1.5-7b-hf", named(place.tensors, LLAVA), authors_config(place))
    path = next(path for path in RECIPES if path.stem == "llava_1.5_7b")
    found = importing.convert(recipe_of(path, tmp_path, LLAVA_SMALL, has_pickles=False), tmp_path / "out")
    ours = parameter_paths.flatten(checkpointing.restore_params(tmp_path / "out")[0])
    for name, wanted in place.params.items():
        np.testing.assert_array_equal(ours[name], wanted, err_msg=name)
    assert any("image_aspect_ratio='pad'" in note for note in found.notes)


def test_llava_as_its_authors_publish_it_is_a_whole_model_where_the_tower_is_in_it(tmp_path, monkeypatch):
    from m3it_jax.checkpoint_conversion.configs import llava_config

    place = Place(tmp_path / "weights", LLAVA_SMALL, "")
    blocks = LLAVA_SMALL.vit.num_layers + 1
    sizes = {**place.config["vision_config"], "num_hidden_layers": blocks}
    monkeypatch.setitem(llava_config._TOWERS, "clip-vit-large-patch14-336", sizes)
    tower = named(place.tensors, [(r"vision_tower\.(.+)", r"model.vision_tower.vision_tower.\1")])
    place.folder("whole", named(place.tensors, LLAVA) | tower, authors_config(place))
    importing.convert(tmp_path / "weights" / "whole", tmp_path / "out")
    ours = parameter_paths.flatten(checkpointing.restore_params(tmp_path / "out")[0])
    for name, wanted in place.params.items():
        np.testing.assert_array_equal(ours[name], wanted, err_msg=name)
    place.folder("language", named(place.tensors, LLAVA), authors_config(place))
    with pytest.raises(errors.UserError, match=r"language: has no vision tower.*clip-vit-large-patch14-336"):
        importing.describe(tmp_path / "weights" / "language")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"mm_vision_tower": "google/siglip-so400m-patch14-384"}, "mm_vision_tower"),
        ({"mm_projector_type": "linear"}, "mm_projector_type"),
        ({"mm_use_im_start_end": True}, "mm_use_im_start_end"),
        ({"image_aspect_ratio": "anyres"}, "image_aspect_ratio"),
        ({"mm_vision_select_feature": "cls"}, "mm_vision_select_feature"),
        ({"mm_vision_select_layer": [-2, -5]}, "mm_vision_select_layer"),
        ({"mm_patch_merge_type": "spatial_unpad"}, "mm_patch_merge_type"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
    ],
)
def test_what_its_authors_can_do_and_we_cannot_is_refused(tmp_path, change, field):
    place = Place(tmp_path / "weights", LLAVA_SMALL, "")
    place.folder("whole", named(place.tensors, LLAVA), authors_config(place) | change)
    with pytest.raises(errors.UserError, match=field):
        importing.describe(tmp_path / "weights" / "whole")
