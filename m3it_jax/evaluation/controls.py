"""What a score has to be compared with: answers without the right picture, and how far chance moves a score.

Four variants of each question are answered:

    own        the record's own pictures
    blank      white pictures of the same size: what the text alone gives away
    shuffled   the pictures of another record of the same skill that shows another thing: does the model look?
    majority   no model: the most frequent answer of the train split to the same text, else of the same skill
"""

import collections
import dataclasses
import functools
import io
import math
import statistics
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

import numpy as np
from PIL import Image

from m3it_jax import errors, rng, schema
from m3it_jax.metrics import sums

OWN, BLANK, SHUFFLED, MAJORITY = "own", "blank", "shuffled", "majority"
CONTROLS = (BLANK, SHUFFLED, MAJORITY)
OF_PICTURES = (BLANK, SHUFFLED)  # not applicable to questions in text alone

# Draws of a partner that shows another thing before all candidates are gone through: with 2 equally frequent groups,
# one question in 65,536 needs the slow way.
_DRAWS = 16


def blank(image: bytes) -> bytes:
    """Returns a white PNG of the size of an encoded picture.

    Raises:
      UserError: it is no picture, or its header asks for more pixels than a record may have.
    """
    try:
        with Image.open(io.BytesIO(image), formats=schema.PICTURE_FORMATS) as opened:  # reads the header alone
            size = opened.size
    except (OSError, Image.DecompressionBombError) as error:
        raise errors.UserError(f"picture cannot be read ({error}); replace it") from error
    if size[0] * size[1] > schema.MAX_PIXELS:
        raise errors.UserError(f"picture of {size[0]} x {size[1]} pixels is above {schema.MAX_PIXELS}; shrink it")
    return _white(size)


@functools.lru_cache(maxsize=64)
def _white(size: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (255, 255, 255)).save(file, "PNG")
    return file.getvalue()


def shuffled(kinds: Sequence[Hashable], groups: Sequence[str], ids: Sequence[str], *, seed: int) -> list[int | None]:
    """Returns for each record the number of another of the same kind and another group, or None if there is none.

    The choice depends on the seed, the record's id and the candidates alone, so it is the same in a resumed run.

    Args:
      kinds: What must be equal, for instance (skill, number of pictures).
      groups: Identity of each record's picture; must differ.
      ids: The records' ids.
      seed: Of the draw.
    """
    candidates: dict[Hashable, list[int]] = {}
    for number, kind in enumerate(kinds):
        candidates.setdefault(kind, []).append(number)
    partners: list[int | None] = []
    for number, kind in enumerate(kinds):
        chance, pool = rng.generator(seed, "shuffled", ids[number]), candidates[kind]
        drawn = [pool[place] for place in chance.integers(len(pool), size=_DRAWS)]
        others = (other for other in (*drawn, *pool) if groups[other] != groups[number])
        partners.append(next(others, None))
    return partners


@dataclasses.dataclass(frozen=True)
class Majority:
    """The most frequent answers of the train split; of equally frequent ones the first in order of text."""

    by_question: Mapping[tuple[str, str], str]
    by_skill: Mapping[str, str]

    @classmethod
    def count(cls, rows: Iterable[tuple[str, str, str]]) -> "Majority":
        """Returns the majority answers over (skill, inputs, answer) of each training record."""
        questions: dict[tuple[str, str], collections.Counter[str]] = {}
        skills: dict[str, collections.Counter[str]] = {}
        for skill, inputs, answer in rows:
            questions.setdefault((skill, inputs), collections.Counter())[answer] += 1
            skills.setdefault(skill, collections.Counter())[answer] += 1
        return cls(
            by_question={key: _most_frequent(counts) for key, counts in questions.items()},
            by_skill={key: _most_frequent(counts) for key, counts in skills.items()},
        )

    def answer(self, skill: str, inputs: str) -> str:
        """Returns the majority answer; empty if the train split never asked for the skill."""
        return self.by_question.get((skill, inputs)) or self.by_skill.get(skill, "")


def _most_frequent(counts: Mapping[str, int]) -> str:
    return min(counts, key=lambda answer: (-counts[answer], answer))


# CHOICE: with fewer pictures, resampling them makes intervals too narrow, and one of no width where all are alike.
_FEW_GROUPS = 30


def wilson(share: float, count: float, confidence: float) -> tuple[float, float]:
    """Returns Wilson's interval of a share (E. B. Wilson, JASA 22, 1927), from 0 to 1.

    Args:
      share: What was found, from 0 to 1.
      count: Over how many independent observations; rows that go together count for less.
      confidence: How often the interval is to hold the true share.
    """
    squared = statistics.NormalDist().inv_cdf(0.5 + confidence / 2) ** 2
    middle = (share + squared / (2 * count)) / (1 + squared / count)
    half = math.sqrt(squared * share * (1 - share) / count + (squared / (2 * count)) ** 2) / (1 + squared / count)
    # Rounding must not push the share itself out: at 0 and 1 it is the bound.
    return min(max(middle - half, 0.0), share), max(min(middle + half, 1.0), share)


class Resamples:
    """Bootstrap over groups: a resample draws as many groups as there are, with replacement, and all their rows.

    Rows that show the same picture are right or wrong together, so drawing single rows would make intervals too
    narrow. One object serves the model and its controls, so all are judged on the same resamples. Shares (every row is
    right or wrong) and scores over few pictures have Wilson's interval, with as many observations as the resamples say
    that the rows are worth: it has a width where all rows are alike.
    """

    def __init__(self, groups: Sequence[str], *, seed: int, resamples: int, confidence: float):
        """Draws the resamples of the distinct groups."""
        names = sorted(set(groups))
        self._places = {name: place for place, name in enumerate(names)}
        chance = rng.generator(seed, "bootstrap")
        shares = np.full(len(names), 1 / len(names))
        self._weights = chance.multinomial(len(names), shares, size=resamples)  # [resample, group], times drawn
        self._confidence = confidence
        self._tails = (50 * (1 - confidence), 50 * (1 + confidence))  # percentiles

    def interval(self, values: Sequence[float], groups: Sequence[str]) -> tuple[float, float]:
        """Returns the bounds of the mean of `values`, the scores from 0 to 100 of rows of the given groups."""
        places = [self._places[group] for group in groups]
        size = len(self._places)
        added = np.bincount(places, weights=values, minlength=size)
        counts = np.bincount(places, minlength=size)
        drawn = self._weights @ counts
        means = (self._weights @ added)[drawn > 0] / drawn[drawn > 0]
        is_share = set(values) <= {0.0, 100.0}
        num_groups = len(set(places))
        is_bounded = min(values) >= 0 and max(values) <= 100
        if not is_share and (num_groups >= _FEW_GROUPS or not is_bounded):
            low, high = np.percentile(means, self._tails)
            return float(low), float(high)
        share = min(max(sum(values) / len(values) / 100, 0.0), 1.0)
        count = float(num_groups)
        spread = float(np.var(means / 100))
        if is_share and _FEW_GROUPS <= num_groups < len(values) and spread > 0:
            count = min(max(share * (1 - share) / spread, 1.0), float(len(values)))
        low, high = wilson(share, count, self._confidence)
        return 100 * low, 100 * high

    def interval_of_sums(
        self, rows: sums.Floats, groups: Sequence[str], value: Callable[[sums.Floats], sums.Floats]
    ) -> tuple[float, float]:
        """Returns the bounds of a value that is computed from the sums of all rows, such as BLEU.

        Args:
          rows: float64 [rows, K], what each row adds.
          groups: Of each row.
          value: Sums, float64 [..., K] -> values, float64 [...].
        """
        places = [self._places[group] for group in groups]
        columns = [np.bincount(places, column, minlength=len(self._places)) for column in rows.T]
        added = np.stack(columns, axis=-1).astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):  # a resample may hold no row of a part of the groups
            found = value(self._weights.astype(np.float64) @ added)
        low, high = np.percentile(found[np.isfinite(found)], self._tails)
        return float(low), float(high)
