"""The page of the first rows keeps the tokens of a word in one line, whatever the width."""

from m3it_jax.analysis import sample_page


def test_a_line_ends_between_words_and_not_inside_one():
    tokens = ["<Img>", "▦", "▦", "</Img>", "⏎", "▁hand", "written", "▁3", ":", "ok", "⏎", "</s>"]
    words = sample_page._words([("given", text) for text in tokens])
    assert ["▁hand", "written"] in [[text for _, text in word] for word in words]
    assert [text for word in words for _, text in word] == tokens, "nothing is lost"
    assert all(len(word) == 1 for word in words if word[0][1] != "▁hand")


def test_a_word_of_many_tokens_is_broken_where_a_phone_ends():
    words = sample_page._words([("given", "a")] * 30)
    assert [len(word) for word in words] == [12, 12, 6]
