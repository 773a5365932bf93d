"""Where the numbers of one tensor come from: bytes of a file, a delta and its base, arrays made in memory."""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from m3it_jax.safetensors_files import Tensor

# A tensor as flat arrays in C order whose sum it is; a later one may be shorter and counts as zero beyond its end.
Terms = Sequence[np.ndarray]
Maker = Callable[[], np.ndarray]


class Source(Protocol):
    """One tensor whose numbers are read where they are touched."""

    @property
    def dtype(self) -> np.dtype:
        """Type of its numbers."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""

    @property
    def origin(self) -> Path:
        """File that it comes from, for messages."""

    def opened(self) -> contextlib.AbstractContextManager[Terms]:
        """Gives its numbers while it is read."""


@dataclasses.dataclass(frozen=True)
class Stored:
    """A tensor of a safetensors file, mapped while it is read: its pages count as ours until then."""

    tensor: Tensor

    @property
    def dtype(self) -> np.dtype:
        """Type of its numbers."""
        return self.tensor.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self.tensor.shape

    @property
    def origin(self) -> Path:
        """File that it comes from."""
        return self.tensor.path

    @contextlib.contextmanager
    def opened(self) -> Iterator[Terms]:
        """Maps the file."""
        yield [self.tensor.mapped().reshape(-1)]


@dataclasses.dataclass(frozen=True)
class Summed:
    """A tensor that is published as its difference to another: both are added in the type of the difference.

    While it is read both are mapped. `base` may have fewer rows along the first axis, as a vocabulary before it grew:
    the rows it lacks count as zero.
    """

    delta: Source
    base: Source

    @property
    def dtype(self) -> np.dtype:
        """Type of its numbers."""
        return self.delta.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self.delta.shape

    @property
    def origin(self) -> Path:
        """File of the difference."""
        return self.delta.origin

    @contextlib.contextmanager
    def opened(self) -> Iterator[Terms]:
        """Opens both."""
        with self.delta.opened() as delta, self.base.opened() as base:
            yield [*delta, *base]


@dataclasses.dataclass(frozen=True)
class Made:
    """A tensor that is computed whole: joined from shards, filled up, drawn fresh, or held by a checkpoint of ours."""

    dtype: np.dtype
    shape: tuple[int, ...]
    origin: Path
    make: Maker

    @contextlib.contextmanager
    def opened(self) -> Iterator[Terms]:
        """Computes it; it is let go when it has been read."""
        whole = np.ascontiguousarray(self.make()).reshape(-1)
        if whole.dtype != self.dtype or whole.size != math.prod(self.shape):
            raise ValueError(f"made {whole.dtype} of {whole.size} for {self.dtype} of {self.shape}")
        yield [whole]


def block(terms: Terms, begin: int, end: int) -> np.ndarray:
    """Returns elements [begin, end) of a tensor; a view where it has one term."""
    found = terms[0][begin:end]
    for term in terms[1:]:
        found = added(found, term[begin : min(end, term.size)])
    return found


def added(first: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns `first` and, where `other` has rows, their sum, in the type of `first`."""
    if not len(other):
        return first
    found = first.copy()
    found[: len(other)] += other.astype(first.dtype, copy=False)
    return found


def whole(source: Source) -> np.ndarray:
    """Returns all of a tensor in memory."""
    with source.opened() as terms:
        return np.array(block(terms, 0, math.prod(source.shape))).reshape(source.shape)
