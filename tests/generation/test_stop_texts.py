import numpy as np
import pytest

from m3it_jax.generation import stop_texts
from m3it_jax.generation.stop_texts import FOUND, FREE, StopTexts

PIECES = [b"", b"a", b"b", b"ab", b"##", b"#", b"x###y", "é".encode()[:1], "é".encode()[1:]]


def follow(stops, ids, tables=None):
    """Returns how many tokens of `ids` are followed until a stop text is complete; None: never."""
    settings = (tables or StopTexts(PIECES, 12)).settings([tuple(stops)])
    state = int(settings["stop_state"][0])
    for count, index in enumerate(ids, start=1):
        state = int(settings["stop_table"][state, index])
        if state == FOUND:
            return count
    return None


@pytest.mark.parametrize(
    ("stops", "pieces", "wanted"),
    [
        (["###"], [4, 5], 2),  # across two tokens
        (["###"], [5, 1, 4, 5], 4),  # a beginning that came to nothing
        (["###"], [6], 1),  # inside one token
        (["aab"], [1, 3], 2),  # a,ab
        (["aab"], [1, 1, 1, 2], 4),  # falls back to a shorter beginning
        (["bb", "ba"], [3, 1], 2),  # one of several
        (["é"], [7, 0, 8], 3),  # half a character each, a control id between them
        (["ab"], [2, 1, 1], None),
        ([], [1, 2, 3], None),
    ],
)
def test_a_stop_text_is_found_wherever_tokens_are_cut(stops, pieces, wanted):
    assert follow(stops, pieces) == wanted


def test_it_finds_what_searching_the_text_finds():
    rng = np.random.default_rng(0)
    tables = StopTexts(PIECES, 12)
    for _ in range(200):
        stops = ["".join(rng.choice(list("ab#"), rng.integers(1, 5))) for _ in range(rng.integers(1, 4))]
        ids = rng.integers(1, 7, 12).tolist()
        text, wanted = "", None
        for count, index in enumerate(ids, start=1):
            text += PIECES[index].decode()
            if any(stop in text for stop in stops):
                wanted = count
                break
        assert follow(stops, ids, tables) == wanted, (stops, ids)


def test_rows_follow_their_own_texts_and_shapes_are_few():
    tables = StopTexts(PIECES, 12)
    settings = tables.settings([("ab",), (), ("##", "b"), ("ab",)])
    assert settings["stop_state"][1] == FREE
    assert settings["stop_state"][0] == settings["stop_state"][3] != settings["stop_state"][2]
    assert not settings["stop_table"][FREE].any()  # a free row stays free
    assert len(settings["stop_table"]) == 8
    assert len(tables.settings([()])["stop_table"]) == 1


def test_ids_beyond_the_vocabulary_add_nothing():
    table = StopTexts(PIECES, 12).settings([("ab",)])["stop_table"]
    np.testing.assert_array_equal(table[:, 11], np.arange(4))


def test_the_automaton_over_bytes_knows_every_beginning():
    table = stop_texts.byte_automaton([b"aab"])
    assert table.shape == (4, 256)
    assert table[0, ord("a")] == 1 and table[1, ord("a")] == 2 and table[2, ord("a")] == 2
    assert table[2, ord("b")] == FOUND and table[1, ord("b")] == 0
