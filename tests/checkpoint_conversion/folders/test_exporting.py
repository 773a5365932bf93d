import json

import numpy as np
import pytest
import tiny_assistant
from checkpoint_conversion import runs, small_folders
from checkpoint_conversion.small_folders import STORED
from tokenizers import Tokenizer as Fast
from tokenizers import models

from m3it_jax import checkpointing, errors, parameter_paths, safetensors_files
from m3it_jax.checkpoint_conversion.folders import exporting, importing
from m3it_jax.models import variants

# Of the tokenizers of the stored folders: their own `<image>`, Ying-VLM's next id.
PLACEHOLDERS = {"ying_vlm": 392, "blip2_opt": 370, "llava": 392}


@pytest.mark.parametrize("family", ["ying_vlm", "blip2_opt", "llava"])
def test_a_run_is_written_from_its_variant(tmp_path, family):
    importing.convert(STORED / family, tmp_path / "ours")
    run = runs.as_run(tmp_path / "ours", tmp_path / "run")
    found = exporting.plan(run)
    exporting.convert(found, tmp_path / "hf")
    wanted, made = small_folders.arrays(STORED / family), small_folders.arrays(tmp_path / "hf")
    for key, array in made.items():
        if key in wanted and found.family == family and "post_layernorm" not in key:
            np.testing.assert_array_equal(array, wanted[key], err_msg=key)
    ours = tmp_path / "again"
    importing.convert(tmp_path / "hf", ours)
    theirs, again = (parameter_paths.flatten(checkpointing.restore_params(one)[0]) for one in (run, ours))
    assert theirs.keys() == again.keys()
    for path, leaf in theirs.items():
        np.testing.assert_array_equal(again[path], leaf, err_msg=path)
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["image_token_index"] == PLACEHOLDERS[family]
    assert "run, step 7" in (tmp_path / "hf" / "README.md").read_text()
    assert (tmp_path / "hf" / "generation_config.json").is_file()


def test_a_full_vocabulary_grows_by_the_placeholder(tmp_path):
    run = tiny_assistant.write_run(tmp_path / "run", variant="tiny")
    size = variants.VARIANTS["tiny"].decoder.vocab_size
    (run / "tokenizer.model").unlink()
    pieces = {f"w{number}": number for number in range(size - 4)} | {"<unk>": size - 4, "<s>": size - 3}
    pieces |= {"</s>": size - 2, "<pad>": size - 1}
    fast = Fast(models.WordLevel(pieces, unk_token="<unk>"))
    fast.save(str(run / "tokenizer.json"))
    found = exporting.plan(run)
    exporting.convert(found, tmp_path / "hf")
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert config["image_token_index"] == size and config["text_config"]["vocab_size"] == size + 1
    made = small_folders.arrays(tmp_path / "hf")
    params = parameter_paths.flatten(checkpointing.restore_params(run)[0])
    embedding, head = (made[f"language_model.{name}.weight"] for name in ("model.embed_tokens", "lm_head"))
    np.testing.assert_array_equal(embedding[:size], params["decoder/token_embedding/embedding"])
    np.testing.assert_array_equal(head[:size], params["decoder/head/kernel"].T)
    assert len(embedding) == len(head) == size + 1
    hidden = np.random.default_rng(0).normal(size=(200, head.shape[1])).astype(np.float32)
    assert (hidden @ head.T).argmax(axis=1).max() < size
    importing.convert(tmp_path / "hf", tmp_path / "again")  # what was written is read


def test_shards_hold_no_more_than_asked_and_the_index_names_all(tmp_path):
    importing.convert(STORED / "ying_vlm", tmp_path / "ours")
    found = exporting.plan(tmp_path / "ours", shard_bytes=20_000)
    exporting.convert(found, tmp_path / "hf")
    listed = json.loads((tmp_path / "hf" / "model.safetensors.index.json").read_text())
    sizes = {}
    for name, group in found.shards.items():
        header = safetensors_files.read_header(tmp_path / "hf" / name)
        assert [listed["weight_map"][key] for key in header] == [name] * len(header) and len(header) == len(group)
        sizes[name] = sum(one.num_bytes for one in header.values())
        assert sizes[name] <= 20_000 or len(header) == 1
    assert listed["metadata"]["total_size"] == sum(sizes.values()) and len(sizes) > 3


def test_a_checkpoint_that_lacks_a_parameter_is_refused(tmp_path):
    importing.convert(STORED / "ying_vlm", tmp_path / "ours")
    (tmp_path / "ours" / "params" / "projection.safetensors").unlink()
    with pytest.raises(errors.UserError, match=r"ours: parameter projection/\w+ is missing, the model needs"):
        exporting.plan(tmp_path / "ours")
    with pytest.raises(errors.UserError, match="no checkpoint here"):
        exporting.plan(tmp_path / "none")


def test_the_certificate_goes_along(tmp_path):
    importing.convert(STORED / "ying_vlm", tmp_path / "ours")
    (tmp_path / "ours" / exporting.CERTIFICATE).write_text("{}")
    exporting.convert(exporting.plan(tmp_path / "ours"), tmp_path / "hf")
    assert (tmp_path / "hf" / exporting.CERTIFICATE).read_text() == "{}"
    with pytest.raises(errors.UserError, match="hf: exists already"):
        exporting.convert(exporting.plan(tmp_path / "ours"), tmp_path / "hf")
