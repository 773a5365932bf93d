import pathlib

import hypothesis
import pytest
from hypothesis import strategies as st

from m3it_jax import errors, tokenizer

HF = pathlib.Path(__file__).parents[1] / "golden" / "hf"
LLAMA = tokenizer.Tokenizer.load(HF / "llava/tokenizer.model")
SPELLINGS = ["<s>", "</s>", "<unk>", "<image>", "<pad>", "<0x0A>", "\u2581", " "]


def test_a_space_before_the_text_is_left_out_inside_one():
    assert LLAMA.encode("Img>", "inside") == LLAMA.encode(" Img>", "inside")[1:]
    assert LLAMA.encode("cat") == LLAMA.encode(" cat", "inside")


@hypothesis.given(parts=st.lists(st.one_of(st.sampled_from(SPELLINGS), st.text(max_size=6)), max_size=8))
@hypothesis.settings(deadline=None, max_examples=200)
def test_spellings_of_special_tokens_are_ordinary_text(parts):
    text = "".join(parts)
    for place in ("start", "inside"):
        ids = LLAMA.encode(text, place)
        assert not {1, 2, 392, 393} & set(ids)
        joined = b"".join(map(LLAMA.token_bytes, ids)).decode()
        assert joined in (text, f" {text}") or 0 in ids  # a character that no piece covers


def test_the_vocabulary_in_both_forms_is_one():
    other = tokenizer.Tokenizer.load(HF / "llava/tokenizer.json")
    assert (other.bos_id, other.eos_id, other.pad_id, other.vocab_size) == (1, 2, 0, LLAMA.vocab_size)
    for text in ("A photo of two cats, next to a car.", "请根据我的指示", "Привет, мир!", "x = 456.789\n"):
        for place in ("start", "after_mark", "inside"):
            assert LLAMA.encode(text, place) == other.encode(text, place), (text, place)


def test_a_vocabulary_without_an_end_id_is_refused(tmp_path):
    model = (HF / "llava/tokenizer.model").read_bytes()
    (tmp_path / "tokenizer.model").write_bytes(model)
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": null}')
    with pytest.raises(errors.UserError, match="no end id"):
        tokenizer.Tokenizer.load(tmp_path / "tokenizer.model")
