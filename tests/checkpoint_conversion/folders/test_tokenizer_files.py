import json
import shutil

import pytest
import tiny_assistant
from checkpoint_conversion.small_folders import STORED
from tokenizers import Tokenizer as Fast

from m3it_jax.checkpoint_conversion.folders import importing, tokenizer_files
from m3it_jax.tokenizer import Tokenizer


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def read(path):
    return json.loads(path.read_text("utf-8"))


def test_a_vocabulary_of_ours_names_its_placeholder_in_both_files(tmp_path, out):
    (tmp_path / "run").mkdir()
    tiny_assistant.write_tokenizer(tmp_path / "run" / "tokenizer.model")
    own = tiny_assistant.words()
    tokenizer_files.give(tmp_path / "run", out)
    tokenizer_files.add_placeholder(out, own.image_id)
    assert own.image_id == own.vocab_size
    fast = Fast.from_file(str(out / "tokenizer.json"))
    assert fast.token_to_id("<image>") == own.image_id and fast.encode("<image>" * 3).ids[1:] == [own.image_id] * 3
    config = read(out / "tokenizer_config.json")
    assert config["added_tokens_decoder"][str(own.image_id)]["content"] == "<image>"
    assert config["model_input_names"] == ["input_ids", "attention_mask"]
    before = (out / "tokenizer.json").read_bytes()
    tokenizer_files.add_placeholder(out, own.image_id)
    assert (out / "tokenizer.json").read_bytes() == before
    assert Tokenizer.load(out / "tokenizer.json").image_id == own.image_id


def test_files_beside_a_vocabulary_go_along_and_a_token_that_is_there_stays(tmp_path, out):
    importing.convert(STORED / "instructblip_llama", tmp_path / "ours")
    run = tmp_path / "run"  # as training copies a tokenizer
    run.mkdir()
    for name in ("tokenizer.json", "qformer_tokenizer.json"):
        shutil.copyfile(tmp_path / "ours" / name, run / name)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        shutil.copyfile(STORED / "instructblip_llama" / name, run / name)
    tokenizer_files.give(run, out)
    tokenizer_files.add_placeholder(out, Tokenizer.load(run / "tokenizer.json").image_id)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        assert read(out / name) == read(STORED / "instructblip_llama" / name)
    questions = read(
        out / "qformer_tokenizer" / "tokenizer_config.json"
    )  # nothing lay beside it: it is told by its pieces
    assert questions["tokenizer_class"] == "PreTrainedTokenizerFast" and questions["pad_token"] == "[PAD]"


@pytest.mark.parametrize(
    ("source", "target", "kind"),
    [
        ("llama/tokenizer.model", "tokenizer.model", "LlamaTokenizer"),
        ("t5/spiece.model", "spiece.model", "T5Tokenizer"),
    ],
)
def test_a_bare_file_of_a_publisher_gets_the_class_that_reads_it(tmp_path, out, source, target, kind):
    (tmp_path / "run").mkdir()
    shutil.copyfile(STORED / source, tmp_path / "run" / "tokenizer.model")
    tokenizer_files.give(tmp_path / "run", out)
    tokenizer_files.add_placeholder(out, 400)
    config = read(out / "tokenizer_config.json")
    assert (out / target).read_bytes() == (STORED / source).read_bytes() and config["tokenizer_class"] == kind
    assert config["added_tokens_decoder"]["400"]["special"] and config["eos_token"] == "</s>"
