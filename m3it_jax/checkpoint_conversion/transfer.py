"""Tensors moved one at a time from where they are into their slots of other files, their axes turned on the way.

Two workers read, turn and write; each holds at most one tensor, so the memory needed is that of the two largest. Bytes
go through reads and writes and not through mapped files: what is mapped counts as the process' own memory.
"""

import dataclasses
import math
import os
import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from m3it_jax.checkpoint_conversion.sources import Reader, Source

_WORKERS = 2  # each holds a tensor; NumPy copies, reads and writes let the other run
_BLOCK_BYTES = 1 << 20  # read at once: fits the cache of a core, and a system call costs nothing beside it
# Rows and columns of a tile that is turned at once. It is copied into rows of another length first: rows whose distance
# is a multiple of the page share a few lines of the cache, and each number would be fetched anew (measured: 1.2 against
# 1.0 GB a second of one core for float16; one pass over whole blocks, smaller tiles and XLA's own copies are slower).
_TILE_ROWS, _TILE_COLUMNS, _TILE_PITCH = 256, 64, 72


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
    """

    source: Source
    begin: int
    shape: tuple[int, ...]
    axes: tuple[int, ...] | None
    path: Path
    offset: int
    dtype: np.dtype

    @property
    def num_bytes(self) -> int:
        """Bytes written."""
        return math.prod(self.shape) * self.dtype.itemsize


def run(moves: Iterable[Move], *, finished: Callable[[int], None] = lambda num_bytes: None) -> None:
    """Makes all moves, about in their order, and waits until the bytes are on the disk.

    Args:
      moves: Best in the order of the bytes they read.
      finished: Is told the bytes of each move that is done, from any thread.

    Raises:
      OSError: a file cannot be read or written; what has been written is left to the caller.
    """
    waiting: queue.SimpleQueue[Move] = queue.SimpleQueue()
    targets: dict[Path, int] = {}
    stop = threading.Event()
    try:
        for move in moves:
            waiting.put(move)
            if move.path not in targets:
                targets[move.path] = os.open(move.path, os.O_WRONLY)

        def work() -> None:
            scratch = np.empty(0, np.uint8)
            try:
                while not stop.is_set():
                    move = waiting.get_nowait()
                    scratch = _make(move, targets[move.path], scratch)
                    finished(move.num_bytes)
            except queue.Empty:
                pass
            except BaseException:
                stop.set()  # the other worker ends with its tensor
                raise

        with ThreadPoolExecutor(_WORKERS) as pool:
            try:
                for worker in [pool.submit(work) for _ in range(_WORKERS)]:
                    worker.result()
            finally:
                stop.set()  # after an interrupt of the thread that waits
        for descriptor in targets.values():
            os.fsync(descriptor)
    finally:
        for descriptor in targets.values():
            os.close(descriptor)


def _make(move: Move, descriptor: int, scratch: np.ndarray) -> np.ndarray:
    """Makes one move and returns the scratch memory, which is kept for the next."""
    shape, axes = _fewest_axes(move.shape, move.axes)
    with move.source.opened() as read:
        if axes == (0,):
            _copy(move, read, descriptor)
            return scratch
        if scratch.size < move.num_bytes:
            del scratch  # before the new one is made: there is room for one
            scratch = np.empty(move.num_bytes, np.uint8)
        target = scratch[: move.num_bytes].view(move.dtype).reshape([shape[axis] for axis in axes])
        if axes == (1, 0):
            _turn(move, read, target)
        else:
            piece = read(move.begin, move.begin + math.prod(move.shape)).reshape(shape)
            target[...] = piece.transpose(axes)
    _write(descriptor, target, move.offset)
    return scratch


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


def _copy(move: Move, read: Reader, descriptor: int) -> None:
    step = _BLOCK_BYTES // move.source.dtype.itemsize
    size = math.prod(move.shape)
    for begin in range(0, size, step):
        block = read(move.begin + begin, move.begin + min(begin + step, size))
        _write(descriptor, block.astype(move.dtype, copy=False), move.offset + begin * move.dtype.itemsize)


def _turn(move: Move, read: Reader, target: np.ndarray) -> None:
    """Fills `target` [columns, rows] from the piece [rows, columns]: a block of rows at a time, in tiles."""
    columns, rows = target.shape
    step = max(_BLOCK_BYTES // (columns * move.source.dtype.itemsize) // _TILE_ROWS, 1) * _TILE_ROWS
    tile = np.empty((_TILE_ROWS, _TILE_PITCH), move.dtype)
    for top in range(0, rows, step):
        height = min(step, rows - top)
        block = read(move.begin + top * columns, move.begin + (top + height) * columns).reshape(height, columns)
        for first in range(0, height, _TILE_ROWS):
            for left in range(0, columns, _TILE_COLUMNS):
                piece = block[first : first + _TILE_ROWS, left : left + _TILE_COLUMNS]
                turned = tile[: piece.shape[0], : piece.shape[1]]
                turned[...] = piece  # numbers change their type here
                target[left : left + _TILE_COLUMNS, top + first : top + first + piece.shape[0]] = turned.T


def _write(descriptor: int, block: np.ndarray, offset: int) -> None:
    view = np.ascontiguousarray(block).reshape(-1).view(np.uint8).data
    while len(view):
        count = os.pwrite(descriptor, view, offset)
        view, offset = view[count:], offset + count
