import hypothesis
import pytest
from hypothesis import strategies as st

from m3it_jax import errors, prompts, tokenizer

TEXTS = [
    prompts.YING_VLM.prompt("What is this?", f"is there a {colour} circle?")
    + prompts.YING_VLM.response(f"a {colour} circle")
    for colour in ("red", "blue", "green")
] + ["<Img>\na red circle at column 3 row 4\n</Img>", "图中是什么形状？\n圆形", "这是什么颜色？\n蓝色"]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    tokenizer.train(TEXTS * 20, path, 600)
    return path


@pytest.fixture(scope="module")
def loaded(path):
    return tokenizer.Tokenizer.load(path)


@hypothesis.given(st.text())
@hypothesis.settings(deadline=None, max_examples=300)
def test_any_text_comes_back_and_has_no_special_id(loaded, text):
    ids = loaded.encode(text)
    assert loaded.decode(ids) == text
    assert not {loaded.bos_id, loaded.eos_id, loaded.pad_id, tokenizer.UNK_ID} & set(ids)


@pytest.mark.parametrize(
    "text", ["<s>", "</s>", "<pad>", "<unk>", "<0x0A>", "\u2581", " \u2581 ", "a\tb", "x\0y", "  "]
)
def test_spellings_of_marks_are_ordinary_text(loaded, text):
    ids = loaded.encode(text)
    assert loaded.decode(ids) == text
    assert min(ids) > loaded.pad_id


def test_special_ids_stand_where_llama_has_them(loaded):
    assert (tokenizer.UNK_ID, loaded.bos_id, loaded.eos_id, loaded.pad_id) == (0, 1, 2, 3)


def test_special_ids_are_not_decoded(loaded):
    ids = loaded.encode("red circle")
    assert loaded.decode([loaded.bos_id, *ids, loaded.eos_id, loaded.pad_id, 0]) == "red circle"


def test_newline_is_one_byte_piece_so_lines_may_be_encoded_apart(loaded):
    assert len(loaded.encode("\n")) == 1
    whole = loaded.encode("is there a red circle?\na blue circle\n")
    assert whole == [i for part in ("is there a red circle?", "\n", "a blue circle", "\n") for i in loaded.encode(part)]


def test_common_words_of_templates_are_whole_pieces(loaded):
    # Each has one neighbour only, wherever it stands; without care the trainer cuts such words up.
    for text in ("<human>:", "<bot>:", "<Img>", " column", " circle"):
        assert len(loaded.encode(text)) == 1, text


def test_the_same_texts_give_the_same_bytes(path, tmp_path):
    tokenizer.train(TEXTS * 20, tmp_path / "again.model", 600)
    assert (tmp_path / "again.model").read_bytes() == path.read_bytes()


def test_a_mapping_counts_like_repetition(path, tmp_path):
    tokenizer.train(dict.fromkeys(TEXTS, 20), tmp_path / "counted.model", 600)
    assert (tmp_path / "counted.model").read_bytes() == path.read_bytes()


def test_fingerprint_follows_the_vocabulary(loaded, tmp_path):
    other = tokenizer.train([*TEXTS * 20, "something else entirely"] * 2, tmp_path / "other.model", 600)
    assert other.fingerprint != loaded.fingerprint


@pytest.mark.parametrize("content", [None, b"", b"no model"])
def test_a_file_that_is_no_vocabulary_is_told_in_one_line(tmp_path, content):
    path = tmp_path / "tokenizer.model"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(errors.UserError) as caught:
        tokenizer.Tokenizer.load(path)
    assert "tokenizer.model" in str(caught.value) and "\n" not in str(caught.value)
