"""Where the numbers of one tensor come from: bytes of a file, a delta and its base, arrays made in memory."""

import contextlib
import dataclasses
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np

from m3it_jax.safetensors_files import Tensor

# Reads elements [begin, end) of a tensor in C order, as a new or a reused array of one dimension.
Reader = Callable[[int, int], np.ndarray]
Maker = Callable[[], np.ndarray]


class Source(Protocol):
    """One tensor that can be read piece by piece."""

    @property
    def dtype(self) -> np.dtype:
        """Type of its numbers."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""

    @property
    def origin(self) -> Path:
        """File that it comes from, for messages."""

    def opened(self) -> contextlib.AbstractContextManager[Reader]:
        """Opens what has to be open while it is read."""


@dataclasses.dataclass(frozen=True)
class Stored:
    """A tensor of a safetensors file, read through the system's cache into memory of our own."""

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
    def opened(self) -> Iterator[Reader]:
        """Opens the file."""
        descriptor = os.open(self.tensor.path, os.O_RDONLY)
        buffer = np.empty(0, self.dtype)

        def read(begin: int, end: int) -> np.ndarray:
            nonlocal buffer
            if buffer.size < end - begin:
                buffer = np.empty(end - begin, self.dtype)
            block = buffer[: end - begin]
            self._fill(descriptor, block.view(np.uint8).data, self.tensor.offset + begin * self.dtype.itemsize)
            return block

        try:
            yield read
        finally:
            os.close(descriptor)

    def _fill(self, descriptor: int, view: memoryview, offset: int) -> None:
        while len(view):
            count = os.preadv(descriptor, [view], offset)
            if not count:  # someone cut the file while it was read
                raise OSError(0, f"{self.tensor.path} ended while it was read")
            view, offset = view[count:], offset + count


@dataclasses.dataclass(frozen=True)
class Summed:
    """A tensor that is published as its difference to another: both are added in the type of the difference.

    `base` may have fewer rows along the first axis, as a vocabulary before it grew: the rows it lacks count as zero.
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
    def opened(self) -> Iterator[Reader]:
        """Opens both files."""
        held = math.prod(self.base.shape)
        with self.delta.opened() as read_delta, self.base.opened() as read_base:

            def read(begin: int, end: int) -> np.ndarray:
                block = read_delta(begin, end)
                shared = max(min(end, held) - begin, 0)
                if not shared:
                    return block
                added = block[:shared] + read_base(begin, begin + shared).astype(self.dtype, copy=False)
                return added if shared == end - begin else np.concatenate([added, block[shared:]])

            yield read


@dataclasses.dataclass(frozen=True)
class Made:
    """A tensor that is computed whole: joined from shards, filled up, drawn fresh, or held by a checkpoint of ours."""

    dtype: np.dtype
    shape: tuple[int, ...]
    origin: Path
    make: Maker

    @contextlib.contextmanager
    def opened(self) -> Iterator[Reader]:
        """Computes it; it is let go when the last piece has been read."""
        whole = np.ascontiguousarray(self.make()).reshape(-1)
        if whole.dtype != self.dtype or whole.size != math.prod(self.shape):
            raise ValueError(f"made {whole.dtype} of {whole.size} for {self.dtype} of {self.shape}")
        yield lambda begin, end: whole[begin:end]


def whole(source: Source) -> np.ndarray:
    """Returns all of a tensor in memory."""
    with source.opened() as read:
        return np.array(read(0, math.prod(source.shape))).reshape(source.shape)
