"""VQA accuracy (Antol et al., 2015; Goyal et al., 2017): agreement with ten people after normalisation."""

import collections
import functools
import re
from collections.abc import Sequence

import numpy as np

from m3it_jax.metrics import checking, sums

# The tables and patterns below are those of the VQA challenge (GT-Vision-Lab/VQA, vqaEval.py), its slips included: they
# decide which answers are equal, so a better rule would give other scores than everybody else's.
_ARTICLES = frozenset(("a", "an", "the"))
_NUMBERS = {
    "none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6",
    "seven": "7", "eight": "8", "nine": "9", "ten": "10",
}  # fmt: skip
_PUNCTUATION = (*';/[]"{}()=+\\_-><@`,?!',)
_COMMA = re.compile(r"(?<=\d)(\,)+(?=\d)")
_PERIOD = re.compile(r"(?!<=\d)(\.)(?!\d)")
_MOST_PERIODS = 32  # the challenge passes re.UNICODE, which is 32, where the greatest number of replacements stands
_CONTRACTIONS = dict(
    pair.split(">")
    for pair in """
    aint>ain't arent>aren't cant>can't couldve>could've couldnt>couldn't couldn'tve>couldn't've couldnt've>couldn't've
    didnt>didn't doesnt>doesn't dont>don't hadnt>hadn't hadnt've>hadn't've hadn'tve>hadn't've hasnt>hasn't
    havent>haven't hed>he'd hed've>he'd've he'dve>he'd've hes>he's howd>how'd howll>how'll hows>how's Id've>I'd've
    I'dve>I'd've Im>I'm Ive>I've isnt>isn't itd>it'd itd've>it'd've it'dve>it'd've itll>it'll maam>ma'am
    mightnt>mightn't mightnt've>mightn't've mightn'tve>mightn't've mightve>might've mustnt>mustn't mustve>must've
    neednt>needn't notve>not've oclock>o'clock oughtnt>oughtn't ow's'at>'ow's'at 'ows'at>'ow's'at 'ow'sat>'ow's'at
    shant>shan't shed've>she'd've she'dve>she'd've shouldve>should've shouldnt>shouldn't shouldnt've>shouldn't've
    shouldn'tve>shouldn't've somebody'd>somebodyd somebodyd've>somebody'd've somebody'dve>somebody'd've
    somebodyll>somebody'll somebodys>somebody's someoned>someone'd someoned've>someone'd've someone'dve>someone'd've
    someonell>someone'll someones>someone's somethingd>something'd somethingd've>something'd've
    something'dve>something'd've somethingll>something'll thats>that's thered>there'd thered've>there'd've
    there'dve>there'd've therere>there're theres>there's theyd>they'd theyd've>they'd've they'dve>they'd've
    theyll>they'll theyre>they're theyve>they've twas>'twas wasnt>wasn't wed've>we'd've we'dve>we'd've weve>we've
    werent>weren't whatll>what'll whatre>what're whats>what's whatve>what've whens>when's whered>where'd
    wheres>where's whereve>where've whod>who'd whod've>who'd've who'dve>who'd've wholl>who'll whos>who's whove>who've
    whyll>why'll whyre>why're whys>why's wont>won't wouldve>would've wouldnt>wouldn't wouldnt've>wouldn't've
    wouldn'tve>wouldn't've yall>y'all yall'll>y'all'll y'allll>y'all'll yall'd've>y'all'd've y'alld've>y'all'd've
    y'all'dve>y'all'd've youd>you'd youd've>you'd've you'dve>you'd've youll>you'll youre>you're youve>you've
    """.split()
)

# People who must have given an answer for it to be fully right.
_ENOUGH = 3


def vqa_accuracy(targets: Sequence[Sequence[str]], predictions: Sequence[str]) -> dict[str, float]:
    """Returns `{"vqa_accuracy": 0..100}`, the mean over rows of min(1, people who agree / 3).

    `targets[i]` holds the answer of each person, ten in VQA, repeated answers repeated. As in the challenge each person
    is left out once and the mean of the ten values counts, so an answer of exactly three people has 90. All answers
    are normalised (`normalised`) on both sides.

    Raises:
      ScoringError: see `checking.texts`; or a row has one answer, to which nobody else's can be compared.
    """
    return sums.mean("vqa_accuracy", rows(targets, predictions))


def rows(targets: Sequence[Sequence[str]], predictions: Sequence[str]) -> sums.Floats:
    """Returns float64 [rows], the accuracy of each prediction, 0..100."""
    checking.texts(targets, predictions)
    found = []
    for number, (answers, prediction) in enumerate(zip(targets, predictions, strict=True)):
        if len(answers) < 2:
            raise checking.ScoringError(
                f"targets[{number}] has 1 answer, must hold those of several people (VQA has ten), repeated answers "
                "repeated; score with exact_match or exact_match_normalised instead"
            )
        agree = collections.Counter(map(normalised, answers))[normalised(prediction)]
        # Without one who agrees agree - 1 are left, without one who does not all of them.
        left_out = agree * min(1.0, (agree - 1) / _ENOUGH) + (len(answers) - agree) * min(1.0, agree / _ENOUGH)
        found.append(100.0 * left_out / len(answers))
    return np.array(found)


@functools.lru_cache(maxsize=1 << 16)
def normalised(text: str) -> str:
    """Returns an answer as the VQA challenge compares it: lower case, no articles, no punctuation, digits."""
    text = text.replace("\n", " ").replace("\t", " ").strip()
    words = (_NUMBERS.get(word, word) for word in _without_punctuation(text).lower().split())
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def _without_punctuation(text: str) -> str:
    has_number = _COMMA.search(text) is not None
    plain = text
    for mark in _PUNCTUATION:
        glued = not (has_number or f"{mark} " in text or f" {mark}" in text)
        plain = plain.replace(mark, " " if glued else "")
    return _PERIOD.sub("", plain, count=_MOST_PERIODS)
