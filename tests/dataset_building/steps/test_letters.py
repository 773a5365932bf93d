import pytest

from m3it_jax.dataset_building.steps import letters


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("cafÃ©", "Ã©"),
        ("f√©e", "√©"),
        ("cafΓ©s", "Γ©"),
        ("l├⌐", "├⌐"),
        ("a\x85b", "\x85b"),
        ("Ãšltima", "Ãš"),
        ("5Ã—3", "Ã—"),
    ],
)
def test_what_no_language_writes_is_odd(text, part):
    assert letters.oddness(text, text.index(part), text.index(part) + len(part))


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("CAFÉ”", "É”"),
        ("KÖ…", "Ö…"),
        ("ÇÃ–O", "Ã–"),
        ("ŻÓŁW", "ÓŁ"),
        ("Đặng", "Đặ"),
        ("příští", "řŠ".lower()),
        ("É™", "É™"),
        ("LIΗ”", "Η”"),
    ],
)
def test_what_some_language_writes_is_not(text, part):
    place = max(text.find(part), 0)
    assert letters.oddness(text, place, place + 2) == 0


@pytest.mark.parametrize(
    ("text", "place", "written"),
    [
        ("café", 3, True),
        ("CAFɻ", 3, False),  # a letter of phonetics
        ("KօN", 1, False),  # a letter of Armenian between two of Latin
        ("CAFé", 3, False),  # a small letter behind capitals
        ("cafÉ", 3, False),
        ("Привет", 2, True),
        ("a я b", 2, False),  # a letter by itself
        ("10 €", 3, True),
        ("a\u0300", 1, True),
        ("\ue000", 0, False),
    ],
)
def test_a_letter_is_written_where_its_neighbours_are_of_its_kind(text, place, written):
    assert letters.is_written(text, place, letters.counts(text)) is written


def test_scripts():
    assert [letters.script(each) for each in "aяあ漢한"] == ["LATIN", "CYRILLIC", "CJK", "CJK", "HANGUL"]
