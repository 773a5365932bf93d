import hashlib
import json
import pathlib
import shutil

import pytest

from m3it_jax import errors, tokenizer
from m3it_jax.tokenizer import settings

HF = pathlib.Path(__file__).parents[1] / "golden" / "hf"


@pytest.fixture
def folder(tmp_path):
    """Holds LLaVA's SentencePiece model alone, as older folders do."""
    shutil.copyfile(HF / "llava/tokenizer.model", tmp_path / "tokenizer.model")
    return tmp_path


def write(folder, name, values):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(values), encoding="utf-8")
    return tokenizer.Tokenizer.load(folder / "tokenizer.model")


def test_without_files_beside_it_the_vocabulary_speaks_for_itself(folder):
    alone = tokenizer.Tokenizer.load(folder / "tokenizer.model")
    assert (alone.bos_id, alone.eos_id, alone.pad_id, alone.vocab_size) == (1, 2, 0, 392)


@pytest.mark.parametrize("place", [settings.CONFIG, f"hf/{settings.CONFIG}", settings.MAP])
@pytest.mark.parametrize("token", ["</s>", {"content": "</s>", "lstrip": False}])
def test_the_begin_token_may_be_another_as_in_instructblip(folder, place, token):
    before = tokenizer.Tokenizer.load(folder / "tokenizer.model")
    loaded = write(folder, place, {"bos_token": token})
    assert (loaded.bos_id, loaded.eos_id) == (2, 2)
    assert loaded.fingerprint != before.fingerprint


def test_the_configuration_goes_before_the_map(folder):
    write(folder, settings.MAP, {"bos_token": "<unk>", "pad_token": "</s>"})
    loaded = write(folder, settings.CONFIG, {"bos_token": "<s>"})
    assert (loaded.bos_id, loaded.pad_id) == (1, 2)


def test_what_files_repeat_changes_no_fingerprint(folder):
    before = tokenizer.Tokenizer.load(folder / "tokenizer.model").fingerprint
    loaded = write(folder, settings.CONFIG, {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"})
    assert loaded.fingerprint == before


def test_added_tokens_have_ids_behind_the_vocabulary(folder):
    special = {"content": "<image>", "special": True}
    loaded = write(folder, settings.CONFIG, {"added_tokens_decoder": {"392": special}})
    loaded = write(folder, settings.ADDED, {"<human>": 393})
    assert loaded.vocab_size == 394 and loaded.piece(392) == "<image>"
    assert 392 not in loaded.encode("a <image> b") and loaded.decode([5, 392]) == loaded.decode([5])
    ids = loaded.encode("the <human> dog")
    assert ids.count(393) == 1 and "<human>" in loaded.decode(ids)
    assert loaded.token_bytes(393) == b"<human>" and loaded.token_bytes(392) == b""


def test_a_space_behind_a_mark_is_as_the_configuration_says(folder):
    old = tokenizer.Tokenizer.load(folder / "tokenizer.model")
    new = write(folder, settings.CONFIG, {"legacy": False})
    assert old.encode("cat", "after_mark") == old.encode("cat") == new.encode("cat")
    assert new.encode("cat", "after_mark") == new.encode("cat", "inside") == old.encode("cat", "inside")
    assert new.fingerprint != old.fingerprint


def test_a_copy_with_what_lies_beside_it_is_the_same_tokenizer(tmp_path):
    for number, source in enumerate(
        ("llava/tokenizer.json", "instructblip_llama/tokenizer.model", "blip2_t5/spiece.model")
    ):
        run = tmp_path / str(number)
        run.mkdir()
        for name, path in tokenizer.files(HF / source).items():
            shutil.copyfile(path, run / name)
        copied = tokenizer.find(run)
        assert copied.name == ("tokenizer.json" if source.endswith("json") else "tokenizer.model")
        assert tokenizer.Tokenizer.load(copied).fingerprint == tokenizer.Tokenizer.load(HF / source).fingerprint
        assert tokenizer.find_qformer(copied).is_file() == source.startswith("instructblip")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (settings.CONFIG, "{"),
        (settings.MAP, "[]"),
        (settings.CONFIG, '{"bos_token": 3}'),
        (settings.CONFIG, '{"added_tokens_decoder": {"x": {"content": "a"}}}'),
        (settings.CONFIG, '{"added_tokens_decoder": [1]}'),
        (settings.ADDED, '{"a": "b"}'),
    ],
)
def test_a_damaged_file_beside_it_is_told_in_one_line(folder, name, content):
    (folder / name).write_text(content)
    with pytest.raises(errors.UserError) as caught:
        tokenizer.Tokenizer.load(folder / "tokenizer.model")
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_without_a_tokenizer_has_the_place_of_one_of_ours(folder, tmp_path):
    assert tokenizer.find(folder) == folder / "tokenizer.model"
    (folder / "tokenizer.json").write_text("{}")
    assert tokenizer.find(folder) == folder / "tokenizer.json"
    assert tokenizer.find(tmp_path / "none") == tmp_path / "none/tokenizer.model"
    assert tokenizer.find_qformer(folder / "x.model") == folder / "qformer_tokenizer.json"
    (folder / "qformer_tokenizer").mkdir()
    (folder / "qformer_tokenizer/tokenizer.json").write_text("{}")
    assert tokenizer.find_qformer(folder / "x.model") == folder / "qformer_tokenizer/tokenizer.json"


def test_text_around_an_added_token_comes_back_in_order(folder):
    loaded = write(folder, settings.CONFIG, {"added_tokens_decoder": {"392": {"content": "<b>", "special": False}}})
    plain = loaded.encode("cat", "inside")
    assert loaded.decode([*plain, 392, *plain, 392, 392, *plain]) == "cat<b>cat<b><b>cat"
    assert loaded.decode(plain) == "cat" and loaded.decode([]) == ""
    assert loaded.piece(999) == ""


def test_a_fingerprint_is_the_files_own_where_nothing_beside_it_changes_anything(folder):
    digest = hashlib.sha256((folder / "tokenizer.model").read_bytes()).hexdigest()
    assert tokenizer.Tokenizer.load(folder / "tokenizer.model").fingerprint == digest
    assert write(folder, settings.CONFIG, {"bos_token": "<s>"}).fingerprint == digest
    assert write(folder, settings.CONFIG, {"bos_token": "</s>"}).fingerprint != digest
