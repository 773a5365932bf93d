import json

import numpy as np
import pytest
from checkpoint_conversion import small_folders

import m3it_jax
from m3it_jax import checkpointing, errors
from m3it_jax.checkpoint_conversion.folders import importing
from m3it_jax.generation.request import Request


def changed(folder, name, **values):
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_every_end_id_of_a_folder_ends_an_answer_and_what_is_not_used_is_told(tmp_path):
    folder = small_folders.copy("ying_vlm", tmp_path / "hf")
    importing.convert(folder, tmp_path / "one")
    plain = m3it_jax.load(tmp_path / "one")
    assert plain.sampler.stop_ids == (2,)
    request = {"instruction": "Describe.", "images": [np.zeros((3, 28, 28), np.float32)], "max_new_tokens": 12}
    ((_, whole),) = plain.sampler.answers([plain.sampler.prepare(Request.of(request))])
    stop = next(one for one in whole[2:] if one not in whole[:2])
    changed(folder, "generation_config.json", eos_token_id=[2, stop], num_beams=5)
    found = importing.convert(folder, tmp_path / "two")
    assert found.stop_ids == (2, stop) and importing.told(found)["notes"] == list(found.notes)
    assert any("num_beams=5 would change answers" in note for note in found.notes)
    assert "num_beams=5" in (tmp_path / "two" / "README.md").read_text()
    two = m3it_jax.load(tmp_path / "two")
    ((_, cut),) = two.sampler.answers([two.sampler.prepare(Request.of(request))])
    assert cut == whole[: whole.index(stop) + 1] and len(cut) < len(whole)


def test_the_files_of_byte_pairs_alone_are_told(tmp_path):
    folder = small_folders.copy("blip2_opt", tmp_path / "hf")
    assert not any("answers;" in note for note in importing.describe(folder).notes)
    (folder / "tokenizer.json").unlink()
    (note,) = [note for note in importing.describe(folder).notes if "answers;" in note]
    assert "vocab.json and merges.txt are not read as a tokenizer" in note and "AutoTokenizer" in note
    (folder / "merges.txt").unlink()
    (note,) = [note for note in importing.describe(folder).notes if "answers;" in note]
    assert "there is no tokenizer" in note


def test_ends_that_leave_out_the_tokenizers_are_told(tmp_path):
    folder = small_folders.copy("ying_vlm", tmp_path / "hf")
    assert importing.describe(folder).notes == ()
    changed(folder, "generation_config.json", eos_token_id=[9, 11])
    (note,) = importing.describe(folder).notes
    assert "answers end at id 9, 11" in note and "not at the tokenizer's end id 2" in note
    changed(folder, "generation_config.json", eos_token_id=10**9)
    with pytest.raises(errors.UserError, match="eos_token_id=1000000000"):
        importing.describe(folder)


def test_an_adapter_beside_the_weights_is_told(tmp_path):
    folder = small_folders.copy("ying_vlm", tmp_path / "hf")
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(b"x")
    (note,) = importing.describe(folder).notes
    assert note.startswith("adapter_config.json: the adapter beside the weights is not read")


def test_a_byte_order_mark_in_any_json_is_no_part_of_it(tmp_path):
    folder = small_folders.copy("llava", tmp_path / "hf")
    for path in folder.glob("*.json"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    importing.convert(folder, tmp_path / "ours")
    assert m3it_jax.load(tmp_path / "ours").sampler.image_token_id == 392
    for path in (tmp_path / "ours").rglob("*.json"):
        assert not path.read_bytes().startswith(b"\xef\xbb\xbf"), path  # transformers reads none with it


def test_a_pointer_of_git_lfs_in_place_of_any_file_is_told(tmp_path):
    for name in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer.model", "model.safetensors"):
        folder = small_folders.copy("llava", tmp_path / name)
        (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5\n")
        with pytest.raises(errors.UserError, match=rf"{name}: is a Git LFS pointer"):
            importing.describe(folder)


def test_a_tied_t5_without_scaling_computes_with_its_embedding(tmp_path):
    folder = small_folders.copy("blip2_t5", tmp_path / "hf")
    stored = small_folders.arrays(folder)
    stored.pop("language_model.lm_head.weight", None)
    small_folders.rewrite(folder, stored)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"] |= {"tie_word_embeddings": True, "scale_decoder_outputs": False}
    (folder / "config.json").write_text(json.dumps(config))
    importing.convert(folder, tmp_path / "ours")
    params = checkpointing.restore_params(tmp_path / "ours")[0]["decoder"]
    np.testing.assert_array_equal(params["head"]["kernel"].T, params["token_embedding"]["embedding"])
