"""Tensors moved one at a time from where they are into their slots of other files, their axes turned on the way.

Two workers read, turn and write; each maps one tensor at a time, so the memory needed is that of the two largest. What
is made is written and not mapped: a disk that fills up, or fails, then says so.
"""

import dataclasses
import math
import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent import futures
from pathlib import Path

import numpy as np

from m3it_jax import errors, safetensors_files
from m3it_jax.checkpoint_conversion.files import finite, sources
from m3it_jax.checkpoint_conversion.files.sources import Made, Source, Terms

_WORKERS = 2  # each maps a tensor; NumPy copies and writes let the other run
_BLOCK_BYTES = 8 << 20  # copied at once where nothing is turned
_FLUSH_SECONDS = 0.1  # between two requests to bring what is written to the disk while the rest is on its way
_PART = 16 << 20  # numbers of one part of a large tensor that is only copied
# Columns of a matrix that are turned and written at once, so that what is written still lies in the cache; and rows of
# a tile. A tile is copied into rows of another length first: rows whose distance is a multiple of the page share a few
# lines of the cache, and each number would be fetched anew. Measured: 0.9 GB a second of one core for float16, two
# thirds of it with 32 columns, and half with whole tensors turned in memory.
_BAND_COLUMNS, _TILE_ROWS, _TILE_PITCH = 128, 256, 136


@dataclasses.dataclass(frozen=True)
class Move:
    """One piece of a tensor and where it goes.

    Attributes:
      source: The tensor.
      begin: First element of the piece, in C order.
      shape: Of the piece.
      axes: Which of its axes come first, second, ... in the target; None leaves them.
      path: File that takes it, already of its size.
      offset: Byte of that file.
      dtype: Type of the numbers there.
      name: What the tensor is called, if its numbers must be finite; empty if they need not be.
    """

    source: Source
    begin: int
    shape: tuple[int, ...]
    axes: tuple[int, ...] | None
    path: Path
    offset: int
    dtype: np.dtype
    name: str = ""

    @property
    def num_bytes(self) -> int:
        """Bytes written."""
        return math.prod(self.shape) * self.dtype.itemsize


def whole_move(source: Source, place: safetensors_files.Tensor) -> Move:
    """Returns the move of a whole tensor as it is."""
    return Move(source, 0, source.shape, None, path=place.path, offset=place.offset, dtype=place.dtype)


def counter(total: int, finished: Callable[[int, int], None]) -> Callable[[int], None]:
    """Returns what `run` tells of each move, as a teller of (bytes done, bytes in all)."""
    done = 0

    def count(num_bytes: int) -> None:
        nonlocal done
        done += num_bytes
        finished(done, total)

    return count


def run(moves: Iterable[Move], *, finished: Callable[[int], None] = lambda num_bytes: None) -> None:
    """Makes all moves, about in their order, and waits until the bytes are on the disk.

    Args:
      moves: Best in the order of the bytes they read.
      finished: Is told the bytes of each move that is done, from any thread.

    Raises:
      OSError: a file cannot be read or written; what has been written is left to the caller.
      UserError: a number of a tensor with a name is infinite or not a number.
    """
    waiting: queue.SimpleQueue[Move] = queue.SimpleQueue()
    targets: dict[Path, int] = {}
    stop = threading.Event()
    try:
        for move in moves:
            for part in _divided(move):
                waiting.put(part)
            if move.path not in targets:
                targets[move.path] = os.open(move.path, os.O_WRONLY)

        def work() -> None:
            try:
                while not stop.is_set():
                    move = waiting.get_nowait()
                    _make(move, targets[move.path])
                    finished(move.num_bytes)
            except queue.Empty:
                pass
            except BaseException:
                stop.set()  # the other worker ends with its tensor
                raise

        with futures.ThreadPoolExecutor(_WORKERS) as pool:
            try:
                busy = {pool.submit(work) for _ in range(_WORKERS)}
                while busy:
                    done, busy = futures.wait(busy, timeout=_FLUSH_SECONDS)
                    for worker in done:
                        worker.result()
                    for descriptor in targets.values():  # the last time when all is written
                        os.fsync(descriptor)
            finally:
                stop.set()  # after an interrupt of the thread that waits
    finally:
        for descriptor in targets.values():
            os.close(descriptor)


def _divided(move: Move) -> Iterator[Move]:
    """Yields a move in parts where nothing is turned: each maps little, and both workers share a large table."""
    size = math.prod(move.shape)
    if _fewest_axes(move.shape, move.axes)[1] != (0,) or size <= _PART or isinstance(move.source, Made):
        yield move
        return
    for begin in range(0, size, _PART):
        yield dataclasses.replace(
            move,
            begin=move.begin + begin,
            shape=(min(_PART, size - begin),),
            axes=None,
            offset=move.offset + begin * move.dtype.itemsize,
        )


def _make(move: Move, descriptor: int) -> None:
    shape, axes = _fewest_axes(move.shape, move.axes)
    with move.source.opened() as terms:
        if axes == (0,):
            _copy(move, terms, descriptor)
        elif axes == (1, 0):
            _turn(move, terms, descriptor, shape=shape)
        else:
            piece = sources.block(terms, move.begin, move.begin + math.prod(move.shape)).reshape(shape)
            _write(move, descriptor, piece.transpose(axes).astype(move.dtype, copy=False), offset=move.offset)


def _fewest_axes(shape: Sequence[int], axes: Sequence[int] | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Returns shape and order with axes joined that stay neighbours, so that most moves are a copy or one turn."""
    order = [axis for axis in (axes or range(len(shape))) if shape[axis] != 1]
    runs: list[list[int]] = []
    for axis in order:
        follows = runs and all(shape[between] == 1 for between in range(runs[-1][-1] + 1, axis)) and axis > runs[-1][-1]
        if follows:
            runs[-1].append(axis)
        else:
            runs.append([axis])
    in_file = sorted(runs)
    joined = tuple(math.prod(shape[axis] for axis in run) for run in in_file)
    return joined or (1,), tuple(in_file.index(run) for run in runs) or (0,)


def _copy(move: Move, terms: Terms, descriptor: int) -> None:
    step = _BLOCK_BYTES // move.source.dtype.itemsize
    size = math.prod(move.shape)
    for begin in range(0, size, step):
        block = sources.block(terms, move.begin + begin, move.begin + min(begin + step, size))
        offset = move.offset + begin * move.dtype.itemsize
        _write(move, descriptor, block.astype(move.dtype, copy=False), offset=offset)


def _turn(move: Move, terms: Terms, descriptor: int, *, shape: Sequence[int]) -> None:
    """Writes the piece [rows, columns] as [columns, rows]: a band of columns at a time, in tiles."""
    rows, columns = shape
    end = move.begin + rows * columns
    first, *others = [term[move.begin : end].reshape(-1, columns) for term in terms]
    band = np.empty((min(_BAND_COLUMNS, columns), rows), move.dtype)
    tile = np.empty((_TILE_ROWS, _TILE_PITCH), move.dtype)
    for left in range(0, columns, _BAND_COLUMNS):
        width = min(_BAND_COLUMNS, columns - left)
        for top in range(0, rows, _TILE_ROWS):
            window = slice(top, top + _TILE_ROWS), slice(left, left + width)
            piece = first[window]
            for other in others:
                piece = sources.added(piece, other[window])
            turned = tile[: len(piece), :width]
            turned[...] = piece  # numbers change their type here
            band[:width, top : top + len(piece)] = turned.T
        _write(move, descriptor, band[:width], offset=move.offset + left * rows * move.dtype.itemsize)


def _write(move: Move, descriptor: int, block: np.ndarray, *, offset: int) -> None:
    block = np.ascontiguousarray(block)
    if move.name and not finite.is_finite(block):  # while it is in the cache
        raise errors.UserError(_not_finite(move))
    view = block.reshape(-1).view(np.uint8).data
    while len(view):
        count = os.pwrite(descriptor, view, offset)
        view, offset = view[count:], offset + count


def _not_finite(move: Move) -> str:
    """Returns the message that names a number which is none, or which has become too large for its new type."""
    size = math.prod(move.shape)
    with move.source.opened() as terms:
        found = finite.first_not_finite(sources.block(terms, move.begin, move.begin + size))
        where = f"{move.source.origin}: {move.name}"
        if found is None:
            return f"{where}: holds numbers too large for {move.dtype.name}; import it with --dtype float32"
        value = sources.block(terms, move.begin + found[0], move.begin + found[0] + 1)[0]
    place = [int(index) for index in np.unravel_index(move.begin + found[0], move.source.shape)]
    return f"{where}{place} is {float(value)}; the weights are damaged, fetch or train them again"
