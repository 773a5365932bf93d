import random
import re

import hypothesis
import pytest
from hypothesis import strategies

from m3it_jax.dataset_building.translation import masking

HARD = (
    "", " ", "B", "(B)", "\n\n", "A. cat\nB. dog", "Options:\n(A) 3 dogs. Run!\n(B) <image>\r\n(C) golden retriever",
    "What is {name} doing at [12, 30, 50, 60]? Mr. Smith knows. It costs $3.50, 50% off in 2nd place.",
    "\u202eabc\u202c def \u200b\u200fx\x00\x07y\ufeff",
    "👨‍👩‍👧 family 1️⃣ 🇪🇸 flags ☎️", "x [3] y [12] [[1]]", "你好。再见！三只狗在2024年。",
    "[HYPO] is true. See https://a.b/c?d=1, or mail x.y@z.org! %s %(n)d ${x} {{y}} \\n", "a" * 10_000, "word " * 3_000,
    "1 " * 5_000, "Смешанный mixed टेक्स्ट 文字 (A) 12", "<Img>", "Ends with 7.",
    "e.g. this. And i.e. that. No. 5 is alive.",
)  # fmt: skip


def check(text):
    cut = masking.cut(text)
    assert cut.joined(list(cut.segments)) == text
    for segment in cut.segments:
        assert segment == segment.strip() and len(segment) <= 2 * masking.MOST_CHARACTERS
        assert not masking._BREAKS.search(segment)
        masked = masking.mask(segment)
        assert masking.restored(masked.text, masked) == segment or not masked.kept
        if masked.kept:
            assert masking.protected(masked.text.replace("[", "").replace("]", ""))  # only the marks' own numbers
        pieces = masking.pieces(segment)
        assert pieces.joined(list(pieces.segments)) == segment
        assert not any(masking.protected(piece) for piece in pieces.segments)


@pytest.mark.parametrize("text", HARD)
def test_a_cut_text_is_the_same_when_joined(text):
    check(text)


@hypothesis.given(strategies.text(alphabet="aB .\n(){}[]<>%1٣中\u200f\u200b\u202e🙂\ufe0f\x00:;,-/@", max_size=60))
@hypothesis.settings(max_examples=300, deadline=None)
def test_any_text_is_the_same_when_joined(text):
    check(text)


def test_what_must_survive_is_masked():
    cut = masking.cut("Look at <image>, {name}: is [HYPO] (A) at [1, 2, 30, 4.5] in 3rd place with 5,000 🐕 or 12:30?")
    (segment,) = cut.segments
    masked = masking.mask(segment)
    assert masked.text == "Look at [1], [2]: is [3] [4] at [5] in [6] place with [7] [8] or [9]?"
    assert masked.kept == ("<image>", "{name}", "[HYPO]", "(A)", "[1, 2, 30, 4.5]", "3rd", "5,000", "🐕", "12:30")


def test_options_are_segments_of_their_own_wherever_they_stand():
    inputs, output, option = "Options:\n(A) golden retriever\n(B) cat", "(A) golden retriever", "golden retriever"
    assert masking.cut(inputs).segments == ("Options:", "golden retriever", "cat")
    assert masking.cut(output).segments == masking.cut(option).segments == ("golden retriever",)


def test_sentences_are_translated_one_by_one():
    assert masking.cut("A dog. Two cats! Dr. No is here").segments == ("A dog.", "Two cats!", "Dr. No is here")
    assert masking.cut("狗。猫！").segments == ("狗。", "猫！")


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("el [1] y [2]", "el 3 y 4"),
        ("[2] [1]", "4 3"),  # another order is another grammar
        ("［1］ 【 ２ 】", "3 4"),
        ("[١] [٢]", "3 4"),
        ("[1] y", None),
        ("[1] [1] [2]", None),
        ("[1] [2] [3]", None),
        ("3 y 4", None),
        ("", None),
    ],
)
def test_marks_come_back_once_each(said, wanted):
    assert masking.restored(said, masking.mask("a 3 and 4")) == wanted


def test_a_mark_that_was_never_there_is_seen():
    assert masking.restored("el [1] perro", masking.mask("the dog")) is None
    assert masking.restored("el perro", masking.mask("the dog")) == "el perro"


def test_ten_thousand_mutants_of_marks_are_restored_whole_or_refused():
    rng = random.Random(0)
    kept = ("(A)", "{name}", "<image>", "12", "[1, 2, 3, 4]")
    masked = masking.mask("Say (A) to {name} by <image> and 12 or [1, 2, 3, 4].")
    assert masked.kept == kept
    refused = 0
    for _ in range(10_000):
        said = list(masked.text)
        for _ in range(rng.randint(1, 3)):
            place = rng.randrange(len(said))
            change = rng.choice("drism")
            if change == "d":
                del said[place]
            elif change == "r":
                said[place] = rng.choice("[]0123456789 {}<>x\u200f１")
            elif change == "i":
                said.insert(place, rng.choice("[]0123456789 {}<>x\u200f１"))
            elif change == "s":
                other = rng.randrange(len(said))
                said[place], said[other] = said[other], said[place]
            else:
                said[place:place] = list(rng.choice(["[1]", "[2]", "[7]", "(A)"]))
        text = masking.restored("".join(said), masked)
        refused += text is None
        if text is not None:
            assert all(span in text for span in kept) and not re.search(r"\[\s*[1-9]\s*\]", text), (said, text)
    assert 3_000 < refused < 9_900
