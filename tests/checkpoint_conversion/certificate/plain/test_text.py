"""The tokenizers of the stored folders, used directly, give the ids that their wrappers in `transformers` gave."""

import json
import pathlib
import shutil

import numpy as np
import pytest

from m3it_jax import errors
from m3it_jax.checkpoint_conversion.certificate.plain import text

HF = pathlib.Path(__file__).parents[3] / "golden" / "hf"


@pytest.mark.parametrize(("family", "own"), [("llama", slice(1, None)), ("opt", slice(1, None)), ("t5", slice(-1))])
def test_ids_are_those_of_the_wrapper_without_its_special_ones(family, own):
    encode = text.read_tokenizer(HF / family).encode
    notes = json.loads((HF / family / "golden.json").read_text("utf-8"))
    for words, padded in zip(notes["texts"], np.load(HF / family / "golden.npz")["token_ids"], strict=True):
        assert encode(words) == padded[padded >= 0][own].tolist()


def test_a_special_tokens_spelling_is_text():
    plain = text.read_tokenizer(HF / "llama")
    assert {1, 2} <= plain.special_ids and plain.special_ids.isdisjoint(plain.encode("</s> <s>"))


def test_a_folder_without_tokenizer_json_is_read_from_its_sentencepiece_file(tmp_path):
    assert text.read_tokenizer(tmp_path) is None
    shutil.copy(HF / "t5" / "spiece.model", tmp_path)
    words = "Hello 3 dogs"
    assert text.read_tokenizer(tmp_path).encode(words) == text.read_tokenizer(HF / "t5").encode(words)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer.model"])
def test_a_damaged_file_is_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(errors.UserError, match=f"{name}: is no "):
        text.read_tokenizer(tmp_path)


def test_a_q_formers_text_has_its_special_ids():
    folder = HF / "instructblip_t5"
    notes = json.loads((folder / "golden.json").read_text("utf-8"))
    for words, ids in zip(notes["processor_texts"], notes["processor_qformer_input_ids"], strict=True):
        assert text.encode_with_specials(folder / "qformer_tokenizer" / "tokenizer.json", words) == ids
