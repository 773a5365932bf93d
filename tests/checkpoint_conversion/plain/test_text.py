"""The tokenizers of the stored folders, used directly, give the ids that their wrappers in `transformers` gave."""

import json
import pathlib
import shutil

import numpy as np
import pytest

from m3it_jax.checkpoint_conversion.plain import text

HF = pathlib.Path(__file__).parents[2] / "golden" / "hf"


@pytest.mark.parametrize(("family", "own"), [("llama", slice(1, None)), ("opt", slice(1, None)), ("t5", slice(-1))])
def test_ids_are_those_of_the_wrapper_without_its_special_ones(family, own):
    encode = text.read_encoder(HF / family)
    notes = json.loads((HF / family / "golden.json").read_text("utf-8"))
    for words, padded in zip(notes["texts"], np.load(HF / family / "golden.npz")["token_ids"], strict=True):
        assert encode(words) == padded[padded >= 0][own].tolist()


def test_a_special_tokens_spelling_is_text():
    encode = text.read_encoder(HF / "llama")
    assert not {0, 1, 2} & set(encode("</s> <s>"))


def test_a_folder_without_tokenizer_json_is_read_from_its_sentencepiece_file(tmp_path):
    assert text.read_encoder(tmp_path) is None
    shutil.copy(HF / "t5" / "spiece.model", tmp_path)
    assert text.read_encoder(tmp_path)("Hello 3 dogs") == text.read_encoder(HF / "t5")("Hello 3 dogs")
