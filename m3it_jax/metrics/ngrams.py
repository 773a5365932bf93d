"""n-grams of many texts at once, counted by sorting whole arrays: what CIDEr, BLEU and chrF have in common.

The texts of a row stand together, its prediction first:

    text    0           1         2         3           4
    row     0           0         0         1           1
            prediction  target 0  target 1  prediction  target 0
"""

import collections
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class Texts:
    """Tokens of predictions and targets as numbers.

    Attributes:
      tokens: int64 [tokens of all texts, one text after the other].
      lengths: int64 [texts], tokens of each.
      rows: int64 [texts], the row that each belongs to.
      is_prediction: bool [texts].
      vocabulary: Every token is below it.
    """

    tokens: Ints
    lengths: Ints
    rows: Ints
    is_prediction: Bools
    vocabulary: int

    @property
    def num_rows(self) -> int:
        """Returns the number of rows."""
        return int(self.rows[-1]) + 1


@dataclasses.dataclass(frozen=True)
class Grams:
    """The different n-grams of each text, for one n, in order of n-gram and then text.

    What follows from a shorter n-gram that occurs once in all texts occurs once as well, and is not listed.

    Attributes:
      gram: int64 [entries], number of the n-gram from 0, rising.
      text: int64 [entries], where it stands; rising among equal n-grams.
      count: int64 [entries], how often it stands there.
      leader: int64 [entries], the first entry of the same n-gram in the same row. It is the prediction's entry if the
        prediction has the n-gram, since the prediction is the first text of its row.
      unlisted: int64 [texts], n-grams of each text that are not listed; each of them occurs once in all texts.
    """

    gram: Ints
    text: Ints
    count: Ints
    leader: Ints
    unlisted: Ints


def of_words(
    targets: Sequence[Sequence[str]], predictions: Sequence[str], tokenize: Callable[[str], Sequence[str]]
) -> Texts:
    """Returns the texts with each different word as a number."""
    numbers: collections.defaultdict[str, int] = collections.defaultdict()
    numbers.default_factory = numbers.__len__  # a new word gets the next number
    tokens, lengths = list[int](), list[int]()
    for text in _in_rows(targets, predictions):  # one by one: two million words at once would not fit into the caches
        words = tokenize(text)
        lengths.append(len(words))
        tokens.extend(map(numbers.__getitem__, words))
    return _texts(targets, np.asarray(tokens, np.int64), lengths, vocabulary=len(numbers))


def of_characters(targets: Sequence[Sequence[str]], predictions: Sequence[str]) -> Texts:
    """Returns the texts with each character that is no white space as a number, its code point."""
    plain = ["".join(text.split()) for text in _in_rows(targets, predictions)]
    tokens = np.frombuffer("".join(plain).encode("utf-32-le"), np.uint32).astype(np.int64)
    return _texts(targets, tokens, list(map(len, plain)), vocabulary=0x110000)


def _in_rows(targets: Sequence[Sequence[str]], predictions: Sequence[str]) -> Iterable[str]:
    return itertools.chain.from_iterable(
        (prediction, *answers) for prediction, answers in zip(predictions, targets, strict=True)
    )


def _texts(targets: Sequence[Sequence[str]], tokens: Ints, lengths: Sequence[int], *, vocabulary: int) -> Texts:
    sizes = np.fromiter(map(len, targets), np.int64, len(targets)) + 1  # texts of each row
    is_prediction = np.zeros(len(lengths), np.bool_)
    is_prediction[np.cumsum(sizes) - sizes] = True
    return Texts(
        tokens=tokens,
        lengths=np.asarray(lengths, np.int64),
        rows=np.repeat(np.arange(len(targets)), sizes),
        is_prediction=is_prediction,
        vocabulary=max(vocabulary, 1),
    )


def counted(texts: Texts, orders: int) -> Iterator[Grams]:
    """Yields the n-grams for n = 1, 2, ... `orders`."""
    num_places = len(texts.tokens)
    text_of = np.repeat(np.arange(len(texts.lengths)), texts.lengths)
    left = np.cumsum(texts.lengths)[text_of] - np.arange(num_places)  # tokens from here to the end of the text
    # Sorting (n-gram, place) in one integer is twice as fast as sorting places by n-gram.
    bits = max(num_places.bit_length(), 1)
    prefix = np.zeros(num_places, np.int64)  # number of the shorter n-gram that begins at each place
    repeated = np.ones(num_places + 1, np.bool_)  # does it occur elsewhere too? One place more, so that +1 has a value
    for order in range(1, orders + 1):
        places = np.flatnonzero(repeated[:-1] & repeated[1:] & (left >= order))
        code = prefix[places] * texts.vocabulary + texts.tokens[places + (order - 1)]
        if len(code) and int(code.max()).bit_length() + bits > 62:
            code = np.unique(code, return_inverse=True)[1]
        key = (code << bits) | places
        key.sort()
        places, code = key & ((1 << bits) - 1), key >> bits
        new_gram = _changes(code)
        number = np.cumsum(new_gram) - 1
        prefix[places] = number
        repeated[:] = False
        repeated[places[~new_gram]] = True
        repeated[places[:-1][~new_gram[1:]]] = True
        yield _grams(texts, number, text_of[places], order=order)


def _changes(values: Ints) -> Bools:
    """Returns where a value differs from the one before it; the first one does."""
    return np.concatenate(([True], values[1:] != values[:-1]))[: len(values)]


def _grams(texts: Texts, number: Ints, text: Ints, *, order: int) -> Grams:
    """Returns the entries of sorted occurrences: number of the n-gram and text of each."""
    first = np.flatnonzero(_changes(number) | _changes(text))
    count = np.diff(first, append=len(number))
    gram, text = number[first], text[first]
    leads = _changes(gram) | _changes(texts.rows[text])
    leader = np.maximum.accumulate(np.where(leads, np.arange(len(gram)), 0))
    listed = np.bincount(text, count, minlength=len(texts.lengths)).astype(np.int64)
    unlisted = np.maximum(texts.lengths - order + 1, 0) - listed
    return Grams(gram=gram, text=text, count=count, leader=leader, unlisted=unlisted)
