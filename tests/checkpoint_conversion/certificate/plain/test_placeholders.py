import json

import pytest
from checkpoint_conversion import small_folders
from checkpoint_conversion.small_folders import STORED

from m3it_jax.checkpoint_conversion.certificate.plain import placeholders, settings


def read(folder):
    return placeholders.read(folder, settings.read(folder))


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | values), "utf-8")


@pytest.mark.parametrize(
    ("family", "token_id", "count"),
    [
        ("blip2_opt", 370, 5),
        ("blip2_t5", 108, 5),
        ("instructblip_llama", 393, 5),
        ("llava", 392, 16),
        ("ying_vlm", 392, 5),
    ],
)
def test_what_the_processors_of_transformers_write(family, token_id, count):
    # Ying-VLM's vocabulary has none: the processor adds it behind all others.
    assert read(STORED / family) == placeholders.Placeholders("<image>", token_id, count)


def test_files_that_say_less_or_something_else(tmp_path):
    folder = small_folders.copy("llava", tmp_path / "llava")
    change(folder / "processor_config.json", num_additional_image_tokens=0)
    assert read(folder).count == 15
    (folder / "processor_config.json").unlink()
    assert read(folder).count is None
    change(folder / "tokenizer_config.json", extra_special_tokens={"image_token": "</s>"})
    assert read(folder) == placeholders.Placeholders("</s>", 2, None)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    assert read(folder).token_id == 392  # of tokenizer.model, behind its pieces
    (folder / "tokenizer.model").unlink()
    assert read(folder).token_id is None
