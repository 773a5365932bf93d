import json

import numpy as np
import pytest
from checkpoint_conversion import small_folders
from checkpoint_conversion.small_folders import STORED

from m3it_jax import checkpointing, errors, parameter_paths
from m3it_jax.checkpoint_conversion.configs import llava_config
from m3it_jax.checkpoint_conversion.files import sources
from m3it_jax.checkpoint_conversion.folders import importing, planning
from m3it_jax.models import variants


@pytest.fixture
def whole(tmp_path):
    """The stored Ying-VLM, imported: its model.json is the variant of parts below."""
    importing.convert(STORED / "ying_vlm", tmp_path / "whole")
    return tmp_path / "whole"


def leaves(folder):
    return parameter_paths.flatten(checkpointing.restore_params(folder)[0])


def write_parts(tmp_path, **change):
    stored = str(STORED / "ying_vlm")
    values = {"variant": "whole", "vit": stored, "qformer": stored, "projection": "fresh", "decoder": stored, **change}
    path = tmp_path / "parts.json"
    path.write_text(json.dumps(values))
    return path


def alone(folder, name):
    """Writes the language model of the stored Ying-VLM as a folder of its own, less or more a number."""
    stored = small_folders.arrays(STORED / "ying_vlm")
    prefix = "language_model."
    tensors = {key.removeprefix(prefix): array for key, array in stored.items() if key.startswith(prefix)}
    (folder / name).mkdir()
    config = json.loads((STORED / "ying_vlm" / "config.json").read_text())
    (folder / name / "config.json").write_text(json.dumps(config["text_config"]))
    return folder / name, tensors


def test_parts_come_from_where_the_file_says(tmp_path, whole):
    found = importing.convert(write_parts(tmp_path, seed=5), tmp_path / "parts")
    assert found.origins == {"vit": "ying_vlm", "qformer": "ying_vlm", "projection": "fresh", "decoder": "ying_vlm"}
    theirs, ours = leaves(whole), leaves(tmp_path / "parts")
    assert theirs.keys() == ours.keys()
    for path, leaf in theirs.items():
        fresh = path.startswith("projection")
        assert np.array_equal(leaf, ours[path]) != fresh, path
    importing.convert(write_parts(tmp_path, seed=5), tmp_path / "again")
    np.testing.assert_array_equal(leaves(tmp_path / "again")["projection/kernel"], ours["projection/kernel"])
    assert ours["projection/kernel"].std() > 0.005 and not ours["projection/bias"].any()
    assert (tmp_path / "parts" / "tokenizer.json").is_file()
    assert not (tmp_path / "parts" / "hf" / "config.json").exists()


def test_a_delta_is_added_to_its_base(tmp_path, whole):
    rng = np.random.default_rng(0)
    base_dir, tensors = alone(tmp_path, "base")
    base = {key: rng.normal(size=array.shape).astype(np.float32) for key, array in tensors.items()}
    embeddings = ("model.embed_tokens.weight", "lm_head.weight")
    base |= {key: base[key][:-4] for key in embeddings}  # a vocabulary before it grew
    small_folders.rewrite(base_dir, base)
    delta_dir, _ = alone(tmp_path, "delta")
    delta = {key: array if key in embeddings else array - base[key] for key, array in tensors.items()}
    small_folders.rewrite(delta_dir, delta)
    chosen = {"delta": "delta", "base": "base", "embeddings": "replaced"}
    file = write_parts(tmp_path, decoder=chosen, tokenizer=str(STORED / "ying_vlm"))
    importing.convert(file, tmp_path / "parts")
    theirs, ours = leaves(whole), leaves(tmp_path / "parts")
    for path, leaf in theirs.items():
        if path.startswith("decoder"):
            np.testing.assert_allclose(ours[path], leaf, rtol=0, atol=1e-6, err_msg=path)
    np.testing.assert_array_equal(ours["decoder/head/kernel"], theirs["decoder/head/kernel"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"vit": "none"}, "none: no such folder"),
        ({"variant": "none"}, "model.variant='none': must be one of"),
        ({"qformer": str(STORED / "llava")}, r"llava/config\.json: model_type='llava' has no qformer"),
        ({"decoder": str(STORED / "opt")}, r"opt/config\.json: decoder\.\w+ is .* there, the variant has"),
        ({"vit": str(STORED / "llava")}, r"llava/config\.json: vit\.\w+ is .* there, the variant has"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(tmp_path, whole, change, words):
    with pytest.raises(errors.UserError, match=words):
        importing.convert(write_parts(tmp_path, **change), tmp_path / "parts")
    assert not (tmp_path / "parts").exists()


def test_every_part_must_be_named(tmp_path, whole):
    path = write_parts(tmp_path)
    values = json.loads(path.read_text())
    del values["qformer"]
    path.write_text(json.dumps(values))
    with pytest.raises(errors.ConfigError, match=r"parts\.json: qformer does not say where it comes from"):
        importing.describe(path)


def test_two_parts_of_minigpt4_are_files(tmp_path, whole):
    # Its authors publish the projection alone, under LAVIS' name for it.
    stored = small_folders.arrays(STORED / "ying_vlm")
    names = {"language_projection.weight": "llama_proj.weight", "language_projection.bias": "llama_proj.bias"}
    (tmp_path / "files").mkdir()
    small_folders.rewrite(tmp_path / "files", {ours: stored[theirs] for theirs, ours in names.items()})
    file = write_parts(tmp_path, projection="files/model-00001-of-00001.safetensors")
    importing.convert(file, tmp_path / "parts")
    np.testing.assert_array_equal(leaves(tmp_path / "parts")["projection/kernel"], leaves(whole)["projection/kernel"])


def test_a_flan_t5_alone_is_read_as_blip2s_authors_read_it(tmp_path):
    source = small_folders.copy("blip2_t5", tmp_path / "source")
    config = json.loads((source / "config.json").read_text())
    config["text_config"]["dense_act_fn"] = "gelu"  # Flan-T5's own file, which is given below, has gelu_new
    (source / "config.json").write_text(json.dumps(config))
    importing.convert(source, tmp_path / "whole")
    parts = dict.fromkeys(("vit", "qformer", "projection"), str(source)) | {"decoder": str(STORED / "t5")}
    importing.convert(write_parts(tmp_path, **parts), tmp_path / "parts")
    assert variants.read(tmp_path / "parts").decoder.activation == "gelu"
    parts["decoder"] = str(small_folders.copy("t5", tmp_path / "silu"))
    config = json.loads((tmp_path / "silu" / "config.json").read_text()) | {"dense_act_fn": "silu"}
    (tmp_path / "silu" / "config.json").write_text(json.dumps(config))
    with pytest.raises(errors.UserError, match=r"decoder\.activation is 'silu' there, the variant has 'gelu'"):
        importing.convert(write_parts(tmp_path, **parts), tmp_path / "other")


def test_llava_of_its_authors_is_whole_where_any_of_its_tensors_is_of_the_tower(tmp_path, monkeypatch):
    small_folders.copy("llava", tmp_path / "whole")
    config = json.loads((tmp_path / "whole" / "config.json").read_text())
    monkeypatch.setitem(llava_config._TOWERS, "clip-vit-large-patch14", config["vision_config"])
    theirs = {name: value for name, value in config["text_config"].items() if name != "model_type"}
    theirs |= {"architectures": ["LlavaLlamaForCausalLM"], "mm_vision_tower": "openai/clip-vit-large-patch14"}
    theirs |= {"mm_projector_type": "mlp2x_gelu", "mm_vision_select_layer": -2}
    (tmp_path / "whole" / "config.json").write_text(json.dumps(theirs))
    tensors = small_folders.arrays(tmp_path / "whole")
    for pattern, replacement in (
        (r"^vision_tower\.", "model.vision_tower.vision_tower."),
        (r"^multi_modal_projector\.linear_1\.", "model.mm_projector.0."),
        (r"^multi_modal_projector\.linear_2\.", "model.mm_projector.2."),
        (r"^language_model\.(model\.|lm_head)", r"\1"),
    ):
        tensors = small_folders.renamed(tensors, pattern, replacement)
    small_folders.rewrite(tmp_path / "whole", tensors)
    found = planning.plan(tmp_path / "whole", dtype=None, scratch=tmp_path)
    wanted = planning.plan(STORED / "llava", dtype=None, scratch=tmp_path)
    assert found.variant == wanted.variant and found.tensors.keys() == wanted.tensors.keys()
    for key, tensor in wanted.tensors.items():
        np.testing.assert_array_equal(sources.whole(found.tensors[key]), sources.whole(tensor))
    small_folders.rewrite(tmp_path / "whole", {key: one for key, one in tensors.items() if "vision_tower" not in key})
    with pytest.raises(errors.UserError, match="whole: has no vision tower; it is openai/clip-vit-large-patch14"):
        planning.plan(tmp_path / "whole", dtype=None, scratch=tmp_path)
