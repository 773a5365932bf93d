import functools
import hashlib
import json
import os
import pathlib
import shutil

import hypothesis
import pytest
from hypothesis import strategies as st

from m3it_jax import errors, tokenizer

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
IDS = json.loads((GOLDEN / "token_ids.json").read_text(encoding="utf-8"))
SMALL = [*IDS["small"]]
PLACES = ("start", "after_mark", "inside")
SPELLINGS = ["<s>", "</s>", "<unk>", "<image>", "<pad>", "[PAD]", "[CLS]", "<extra_id_0>", "<0x0A>", "<Img>", "\u2581"]
ODD_TEXT = st.lists(st.one_of(st.sampled_from([*SPELLINGS, " ", "<", ">", "\n"]), st.text(max_size=8)), max_size=8)


@functools.cache
def load(name: str) -> tokenizer.Tokenizer:
    return tokenizer.Tokenizer.load(GOLDEN / "hf" / name / "tokenizer.json")


def special_ids(name: str) -> set[int]:
    added = json.loads((GOLDEN / "hf" / name / "tokenizer.json").read_text(encoding="utf-8"))["added_tokens"]
    return {token["id"] for token in added if token["special"]}


@pytest.mark.parametrize("name", SMALL)
def test_ids_are_those_of_transformers(name):
    for text, wanted in zip(IDS["texts"], IDS["small"][name], strict=True):
        assert load(name).encode(text) == wanted, text


@pytest.mark.parametrize("name", IDS["full"])
def test_ids_of_a_vocabulary_of_full_size_are_those_of_transformers(name):
    folder = os.environ.get("M3IT_VOCABULARIES")
    if not folder:
        pytest.skip("M3IT_VOCABULARIES names no folder with vocabularies of full size")
    digests = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in pathlib.Path(folder).iterdir()}
    loaded = tokenizer.Tokenizer.load(digests[IDS["full"][name]["sha256"]])
    for text, wanted in zip(IDS["texts"], IDS["full"][name]["ids"], strict=True):
        assert loaded.encode(text) == wanted, text


@pytest.mark.parametrize("name", SMALL)
@hypothesis.given(parts=ODD_TEXT)
@hypothesis.settings(deadline=None, max_examples=150)
def test_no_text_gives_a_special_id(name, parts):
    loaded, text = load(name), "".join(parts)
    unknown = {loaded.encode(sign)[-1] for sign in "\u2622" if loaded.encode(sign)}  # a character that no piece covers
    for place in ("start", "after_mark", "inside"):
        assert not set(loaded.encode(text, place)) & (special_ids(name) - unknown)


def test_a_spelling_that_only_normalising_makes_is_text_too(tmp_path):
    file = json.loads((GOLDEN / "hf/llava/tokenizer.json").read_text(encoding="utf-8"))
    file["normalizer"] = {"type": "NFKC"}
    image = next(token for token in file["added_tokens"] if token["content"] == "<image>")
    image["normalized"] = True
    (tmp_path / "tokenizer.json").write_text(json.dumps(file), encoding="utf-8")
    loaded = tokenizer.Tokenizer.load(tmp_path / "tokenizer.json")
    wide = "".join(chr(ord(letter) + 0xFEE0) for letter in "<image>")  # full-width letters, which NFKC makes plain
    assert image["id"] not in loaded.encode(f"a {wide} b")


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("blip2_opt", (2, 2, 1)),
        ("blip2_t5", (-1, 1, 0)),
        ("llava", (1, 2, 0)),  # its files have no padding token: the unknown one, and never -1
        ("instructblip_llama/qformer_tokenizer", (2, 3, 0)),  # CLS and SEP, not the [DEC] that its files call bos
    ],
)
def test_special_ids_are_those_that_the_files_beside_it_name(name, ids):
    loaded = load(name)
    assert (loaded.bos_id, loaded.eos_id, loaded.pad_id) == ids


def test_a_text_behind_a_mark_has_the_space_that_the_reference_puts_there():
    loaded = load("llava")
    assert loaded.encode("USER", "after_mark") == loaded.encode("USER", "inside") != loaded.encode("USER")
    assert loaded.encode("USER") == loaded.encode(" USER", "inside")


def test_a_space_before_every_text_is_left_out_inside_a_text_alone(tmp_path):
    file = json.loads((GOLDEN / "hf/llava/tokenizer.json").read_text(encoding="utf-8"))
    file["pre_tokenizer"] = None  # the older form of LLaMA's files
    prepend = {"type": "Prepend", "prepend": "\u2581"}
    steps = [prepend, {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]
    file["normalizer"] = {"type": "Sequence", "normalizers": steps}
    (tmp_path / "tokenizer.json").write_text(json.dumps(file), encoding="utf-8")
    old, new = tokenizer.Tokenizer.load(tmp_path / "tokenizer.json"), load("llava")
    assert old.encode("USER", "after_mark") == old.encode("USER") == new.encode("USER")
    assert old.encode("USER", "inside") == new.encode("USER", "inside")


@pytest.mark.parametrize("name", ["blip2_opt", "llava"])
@pytest.mark.parametrize("text", ["two cats", "图片里有一只猫", "emoji \U0001f600 and a rare sign \u2622"])
def test_bytes_of_pieces_joined_are_the_text(name, text):
    loaded = load(name)
    ids = loaded.encode(text)
    joined = b"".join(loaded.token_bytes(index) for index in [loaded.bos_id, *ids, loaded.eos_id])
    assert joined.decode().strip() == loaded.decode([loaded.bos_id, *ids, loaded.eos_id]).strip() == text


def test_every_byte_of_a_byte_level_vocabulary_comes_back():
    text = "".join(map(chr, [*range(0x800), *range(0x800, 0xD800, 0x400), *range(0xE000, 0x110000, 0x4000)]))
    loaded = load("blip2_opt")
    assert b"".join(map(loaded.token_bytes, loaded.encode(text))) == text.encode()


def test_wordpieces_have_their_bytes_and_special_ones_none():
    loaded = load("instructblip_llama/qformer_tokenizer")
    ids = loaded.encode("catblanket")
    assert b"".join(map(loaded.token_bytes, ids)) == b" catblanket" and loaded.token_bytes(loaded.eos_id) == b""
    assert "##" in "".join(map(loaded.piece, ids))


@pytest.mark.parametrize("content", [b"{", b"{}", b'{"model": {"type": "BPE"}}', b'{"model": 3}', b"[1]"])
def test_a_damaged_file_is_told_in_one_line(tmp_path, content):
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(errors.UserError) as caught:
        tokenizer.Tokenizer.load(tmp_path / "tokenizer.json")
    assert "tokenizer.json" in str(caught.value) and "\n" not in str(caught.value)


def test_a_token_that_would_get_another_id_is_refused(tmp_path):
    shutil.copytree(GOLDEN / "hf/llava", tmp_path / "hf", ignore=lambda *_: ["model.safetensors", "golden.npz"])
    config = json.loads((tmp_path / "hf/tokenizer_config.json").read_text())
    config["added_tokens_decoder"]["999"] = {"content": "<far>", "special": True}
    (tmp_path / "hf/tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(errors.UserError, match="'<far>' should have id 999"):
        tokenizer.Tokenizer.load(tmp_path / "hf/tokenizer.json")


def llava_with(tmp_path, pre_tokenizer, beside=None):
    """LLaVA's file with other steps before the model, and with tokens that the configuration beside it adds."""
    file = json.loads((GOLDEN / "hf/llava/tokenizer.json").read_text(encoding="utf-8"))
    if pre_tokenizer is not None:
        file["pre_tokenizer"], file["normalizer"] = pre_tokenizer, None
    (tmp_path / "tokenizer.json").write_text(json.dumps(file), encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(beside or {}), encoding="utf-8")
    return tokenizer.Tokenizer.load(tmp_path / "tokenizer.json")


@pytest.mark.parametrize(
    ("scheme", "spaces"),
    [("first", (True, False, False)), ("always", (True, True, False)), ("never", (False, False, False))],
)
@pytest.mark.parametrize("nested", [False, True])
def test_a_space_stands_before_texts_where_the_scheme_says(tmp_path, scheme, spaces, nested):
    step = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": False}
    loaded = llava_with(tmp_path, {"type": "Sequence", "pretokenizers": [step]} if nested else step)
    pieces = [loaded.piece(loaded.encode("cat", place)[0]) for place in ("start", "after_mark", "inside")]
    assert tuple(piece.startswith("\u2581") for piece in pieces) == spaces


def test_tokens_that_the_configuration_adds_have_their_ids_in_any_order(tmp_path):
    size = load("llava").vocab_size
    added = {size + 1: ("<second>", False), size: ("<first>", True), size + 2: ("<third>", False)}
    tokens = {str(index): {"content": content, "special": special} for index, (content, special) in added.items()}
    loaded = llava_with(tmp_path, None, {"added_tokens_decoder": tokens})
    assert loaded.vocab_size == size + 3 and [loaded.piece(size + n) for n in range(3)] == [
        "<first>",
        "<second>",
        "<third>",
    ]
    ids = loaded.encode("a <second> b <first> c")
    assert ids.count(size + 1) == 1 and size not in ids, "a special one is never found in a text"
    assert "<second>" in loaded.decode([size + 1, *ids]) and loaded.decode([size]) == ""
    assert loaded.fingerprint != load("llava").fingerprint


@pytest.mark.parametrize("prefixed", [True, False])
def test_a_byte_level_vocabulary_may_put_a_space_before_every_text(tmp_path, prefixed):
    file = json.loads((GOLDEN / "hf/blip2_opt/tokenizer.json").read_text(encoding="utf-8"))
    file["pre_tokenizer"]["add_prefix_space"] = prefixed
    (tmp_path / "tokenizer.json").write_text(json.dumps(file), encoding="utf-8")
    loaded = tokenizer.Tokenizer.load(tmp_path / "tokenizer.json")
    texts = [b"".join(map(loaded.token_bytes, loaded.encode("cat", place))) for place in PLACES]
    assert texts == ([b" cat", b" cat", b"cat"] if prefixed else [b"cat"] * 3)


def test_a_space_that_two_steps_put_is_left_out_of_both(tmp_path):
    file = json.loads((GOLDEN / "hf/llava/tokenizer.json").read_text(encoding="utf-8"))
    file["normalizer"] = {"type": "Prepend", "prepend": "\u2581"}
    file["pre_tokenizer"] = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": False}
    (tmp_path / "tokenizer.json").write_text(json.dumps(file), encoding="utf-8")
    loaded = tokenizer.Tokenizer.load(tmp_path / "tokenizer.json")
    pieces = [loaded.piece(loaded.encode("cat", place)[0]) for place in PLACES]
    assert [piece.startswith("\u2581") for piece in pieces] == [True, True, False]
