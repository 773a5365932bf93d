"""One damage a test: an export of a run, or the run, is changed in one place, and the certificate names the place."""

import json
import pathlib
import shutil

import numpy as np
import pytest
from checkpoint_conversion import runs, small_folders

from m3it_jax import errors, safetensors_files
from m3it_jax.checkpoint_conversion.certificate import certificate, findings, whole_program
from m3it_jax.checkpoint_conversion.folders import exporting, importing

SQUARE = "language_model.model.layers.0.self_attn.q_proj.weight"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An import from parts, whose files are made by the export, in three shards."""
    place = tmp_path_factory.mktemp("made")
    imported = runs.without_files(importing, small_folders.STORED / "ying_vlm", place / "ours")
    exporting.convert(exporting.plan(imported, shard_bytes=40_000), place / "hf")
    return place


@pytest.fixture
def sides(made, tmp_path, monkeypatch):
    """Copies of both sides that may be damaged, HF_DIR and CHECKPOINT; the slow greedy answer is left out."""
    monkeypatch.setattr(whole_program, "answer", lambda *_: "not asked")
    return tuple(pathlib.Path(shutil.copytree(made / name, tmp_path / name)) for name in ("hf", "ours"))


def change(path, edit):
    values = json.loads(path.read_text("utf-8"))
    edit(values)
    path.write_text(json.dumps(values), "utf-8")


def problems(sides):
    told = certificate.verify(*sides)
    assert json.dumps(told, allow_nan=False) and findings.table(told)
    return told["problems"]


def test_without_damage_it_holds_and_a_second_picture_is_seen(sides):
    told = certificate.verify(*sides)
    assert told["problems"] == []
    sight = told["sight"]
    assert sight["token_id"] == sight["image_token_index"] == 392 and sight["count"] == 5
    assert sight["between_pictures"] > 0.1 and sight["max_abs_diff"] < 1e-4
    assert told["endings"]["ids"] == {"config.json": [2, 13], "generation_config.json": [2, 13]}
    assert "another picture changes them by" in findings.table(told)


def test_a_wrong_placeholder_id(sides):
    change(sides[0] / "config.json", lambda values: values.update(image_token_index=391))
    found = problems(sides)
    assert found[0] == (
        "sight: config.json has image_token_index 391, but the tokenizer's <image> is 392: transformers would not see "
        "the picture"
    )
    assert any(line.startswith("sight: another picture changes HF_DIR's scores by 0.0e+00") for line in found)


def test_a_placeholder_left_out(sides):
    change(sides[0] / "config.json", lambda values: values.pop("image_token_index"))
    assert problems(sides)[0] == "sight: config.json has no image_token_index, <image> is 392"


def test_a_tokenizer_with_another_placeholder(sides):
    def edit(values):
        values["added_tokens"] = [one for one in values["added_tokens"] if one["content"] != "<image>"]
        values["added_tokens"].append({**values["added_tokens"][0], "id": 392, "content": "<picture>"})

    change(sides[0] / "tokenizer.json", edit)
    change(sides[0] / "tokenizer_config.json", lambda values: values.update(added_tokens_decoder={}))
    assert "sight: config.json has image_token_index 392, but the tokenizer's <image> is 393" in problems(sides)[0]


def test_another_number_of_placeholders(sides):
    change(sides[0] / "processor_config.json", lambda values: values.update(num_query_tokens=4))
    with pytest.raises(errors.UserError, match="processor_config.json: num_query_tokens=4: only 5"):
        certificate.verify(*sides)


def test_a_wrong_mean(sides):
    path = sides[0] / "preprocessor_config.json"
    change(path, lambda values: values.update(image_mean=[0.5, *values["image_mean"][1:]]))
    assert problems(sides)[0].startswith("model: vit.pixel_mean is (0.5, 0.457")


def test_a_wrong_mean_where_transformers_5_puts_it(sides):
    old, new = sides[0] / "preprocessor_config.json", sides[0] / "processor_config.json"
    inside = json.loads(old.read_text("utf-8")) | {"image_mean": [0.5, 0.5, 0.5]}
    old.unlink()
    change(new, lambda values: values.update(image_processor=inside))
    assert problems(sides)[0].startswith("model: vit.pixel_mean is (0.5, 0.5, 0.5) in HF_DIR")


def test_swapped_shards(sides):
    first, second = sorted(sides[0].glob("model-*.safetensors"))[:2]
    first.rename(sides[0] / "aside")
    second.rename(first)
    (sides[0] / "aside").rename(second)
    with pytest.raises(errors.UserError, match=r"model-0000[12]-of-\d+\.safetensors|index.json") as caught:
        certificate.verify(*sides)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("file", "kept"), [("config.json", 2), ("config.json", 13), ("generation_config.json", 2)])
def test_an_eos_left_out(sides, file, kept):
    part = (lambda values: values["text_config"]) if file == "config.json" else (lambda values: values)
    change(sides[0] / file, lambda values: part(values).update(eos_token_id=kept))
    assert problems(sides) == [
        f"endings: {file}: eos_token_id is [{kept}] in HF_DIR, and CHECKPOINT ends an answer at [2, 13]"
    ]


@pytest.mark.parametrize("side", [0, 1], ids=["hf_dir", "checkpoint"])
def test_one_nan(sides, side):
    edited = 0
    for path in sides[side].rglob("*.safetensors"):
        for key, one in safetensors_files.read_header(path).items():
            if key in (SQUARE, "decoder/final_norm/scale"):
                edited += 1
                with open(path, "r+b") as file:
                    file.seek(one.offset + 4)
                    file.write(np.float32(np.nan).tobytes())
    assert edited == 1
    name = SQUARE if side == 0 else "language_model.model.norm.weight"
    where = f"{name}[0, 1]" if side == 0 else f"{name}[1]"
    found = problems(sides)
    assert found[0] == f"tensors: {where} is nan in {('HF_DIR', 'CHECKPOINT')[side]}, which no weight may be"
    assert all(line.startswith(f"tensors: {where}") for line in found)  # and nothing is computed with it


def test_a_kernel_that_is_square_and_not_turned(sides):
    path = sides[1] / "params" / "qformer.safetensors"
    key = next(key for key in safetensors_files.read_header(path) if key.endswith("attn/query/kernel"))
    one = safetensors_files.read_header(path)[key]
    kernel = np.array(one.mapped()).reshape(2, 20, 20)  # [L, D, N H], so nothing but its numbers can tell
    with open(path, "r+b") as file:
        file.seek(one.offset)
        file.write(np.ascontiguousarray(np.swapaxes(kernel, -1, -2)).tobytes())
    found = problems(sides)
    assert found[0].startswith("tensors: qformer.encoder.layer.0.crossattention.attention.query.weight[0, 1] is ")
    assert any(line.startswith("layers: qformer differs in ") and "first in state 1" in line for line in found)
