import json

import reference_goldens
import tiny_assistant

from m3it_jax.tokenizer import Tokenizer, conversion

PROBES = ("a blue circle", "  two spaces\tand a tab\n\nand lines", "蓝色的圆 ☢ ü", "<Img></Img> <0x0A> a\u2581b", "")


def test_a_vocabulary_trained_here_gives_the_same_ids_as_json(tmp_path):
    tiny_assistant.write_tokenizer(tmp_path / "tokenizer.model")
    ours = tiny_assistant.words()
    files = conversion.transformers_files((tmp_path / "tokenizer.model").read_bytes(), PROBES)
    assert files.keys() == {"tokenizer.json", "tokenizer_config.json"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(files["tokenizer.json"]), encoding="utf-8")
    theirs = Tokenizer.load(tmp_path / "tokenizer.json")
    for text in (*PROBES, *tiny_assistant.TEXTS):  # a literal U+2581 and the spelling of a byte among them
        assert theirs.encode(text) == ours.encode(text)
        assert theirs.decode(theirs.encode(text)) == text
    assert (theirs.bos_id, theirs.eos_id, theirs.pad_id) == (ours.bos_id, ours.eos_id, ours.pad_id)


def test_another_kind_of_model_is_told_by_its_ids():
    for name in ("llama/tokenizer.model", "t5/spiece.model"):
        model = (reference_goldens.STORED / name).read_bytes()
        assert conversion.transformers_files(model, PROBES) is None


def test_every_role_is_named_in_both_files_and_the_unknown_one_is_id_0(tmp_path):
    tiny_assistant.write_tokenizer(tmp_path / "tokenizer.model")
    files = conversion.transformers_files((tmp_path / "tokenizer.model").read_bytes(), PROBES)
    roles = {"unk": "<unk>", "bos": "<s>", "eos": "</s>", "pad": "<pad>"}
    config = files["tokenizer_config.json"]
    assert {name: config[f"{name}_token"] for name in roles} == roles
    added = {token["id"]: token["content"] for token in files["tokenizer.json"]["added_tokens"]}
    assert added == dict(enumerate(roles.values())) and not config["clean_up_tokenization_spaces"]
