"""A vocabulary of our own: as large as asked for, and with each flag that byte-exact text needs."""

import pytest

from m3it_jax import errors, tokenizer

TEXTS = [f"the {colour} {thing} number {number} <human>:\n" for colour in ("red", "blue") for thing in ("cat", "dog")
         for number in range(200)]  # fmt: skip


@pytest.mark.parametrize("wanted", [290, 330])
def test_a_vocabulary_has_as_many_pieces_as_asked_for_where_there_is_text(tmp_path, wanted: int) -> None:
    assert tokenizer.train(TEXTS, tmp_path / "a.model", wanted).vocab_size == wanted


def test_little_text_gives_fewer_pieces_and_no_error(tmp_path) -> None:
    loaded = tokenizer.train(["ab ab", "ba"] * 9, tmp_path / "a.model", 2_000)
    assert 260 <= loaded.vocab_size < 300
    with pytest.raises(errors.UserError, match=r"a\.model: cannot train a vocabulary of 9 pieces"):
        tokenizer.train(TEXTS, tmp_path / "a.model", 9)


def test_no_space_is_added_or_lost(tmp_path) -> None:
    loaded = tokenizer.train(TEXTS, tmp_path / "a.model", 330)
    for text in ("cat", " cat", "  cat  dog ", "Ａ ﬁ", "a\nb", "\u2622"):
        assert loaded.decode(loaded.encode(text)) == text
    assert (loaded.bos_id, loaded.eos_id, loaded.pad_id) == (1, 2, 3)
