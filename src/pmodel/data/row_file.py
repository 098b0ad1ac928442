"""Equal rows in a file, read where they lie: the file is mapped, and the system keeps of it what it has room for."""

from __future__ import annotations

import math
import mmap
import os
import time
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError

__all__ = ["RowFile"]

BLOCK = 2**24
"""Bytes in one block of a pass over the file, about."""
PIECE = 1024
"""Rows that are copied at a time."""
AHEAD = 2**17
"""Bytes that the system can be told at once to read ahead: some kernels take no more."""
SLOW = 5e-6
"""Seconds a row that show a disk at work: from memory a picture took at most 6e-7, and from a fast disk 5e-5."""
WARY = 100
"""Pieces that must come fast, once one came slowly, before rows are taken to be in memory."""


@final
class RowFile:
    """An array in a file, its first axis counting rows.

    The file is held against its size and its time of change before every reading. What is left is a file that is cut short
    *during* a reading of microseconds: then the operating system ends the process (SIGBUS), as with any mapped file.

    Args:
        path: The file.
        offset: Where its values start, in bytes.
        dtype: Of the values, with their byte order.
        shape: Of the whole array, in C order.

    Raises:
        DataError: if the file is shorter than that.
        OSError: if it cannot be opened.
    """

    def __init__(self, path: Path, offset: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        self.path, self.dtype, self.shape = path, dtype, shape
        self.width = math.prod(shape[1:]) * dtype.itemsize
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        weakref.finalize(self, os.close, descriptor)
        self._descriptor, self._state = descriptor, _state(descriptor)
        if self._state[0] < offset + shape[0] * self.width:
            got = f"{self._state[0]} bytes for {shape} of {dtype}"
            raise DataError(f"{path} ends too early.", got=got, hint="write it anew")
        self._map = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
        self._offset, self._wary = offset, WARY
        self._rows = np.frombuffer(self._map, np.uint8, shape[0] * self.width, offset).reshape(shape[0], self.width)
        if hasattr(self._map, "madvise"):  # else a row brings megabytes of its neighbours along
            self._map.madvise(mmap.MADV_RANDOM)

    def __len__(self) -> int:
        return self.shape[0]

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """These rows, in memory; their numbers lie within the file.

        Raises:
            DataError: if the file has been changed since it was opened.
        """
        content = np.empty((len(rows), self.width), np.uint8)
        for start in range(0, len(rows), PIECE):
            piece = rows[start : start + PIECE]
            if len(rows) > PIECE:
                self.announce(piece)
            self._require_unchanged()
            began = time.perf_counter()
            np.take(self._rows, piece, 0, out=content[start : start + PIECE], mode="clip")
            slow = time.perf_counter() - began > SLOW * len(piece)
            self._wary = WARY if slow else max(0, self._wary - 1)
        return content.view(self.dtype).reshape(len(rows), *self.shape[1:])

    def announce(self, rows: NDArray[np.int64]) -> None:
        """Let the system read these rows ahead, as far as rows have been seen to come from a disk."""
        if not len(rows) or not self._wary or not hasattr(self._map, "madvise"):
            return
        first, last = int(rows[0]), int(rows[-1]) + 1
        if 0 < last - first <= 2 * len(rows):
            self._advise(range(first * self.width, last * self.width, AHEAD), AHEAD)
        else:
            self._advise((self.width * rows).tolist(), self.width)

    def _advise(self, starts: Iterable[int], length: int) -> None:
        for start in starts:
            page = (self._offset + start) // mmap.PAGESIZE * mmap.PAGESIZE
            self._map.madvise(mmap.MADV_WILLNEED, page, min(self._offset + start + length, len(self._map)) - page)

    def _require_unchanged(self) -> None:
        state = _state(self._descriptor)
        if state != self._state:
            raise DataError(
                f"{self.path} has been changed while it was in use.",
                got=f"{state[0]} bytes, and {self._state[0]} when it was opened",
                hint="train on a copy that nothing writes to",
            )

    def blocks(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """All rows in order, in blocks, each with the number of its first row."""
        count = max(1, BLOCK // max(1, self.width))
        for start in range(0, len(self), count):
            yield start, self.take(np.arange(start, min(start + count, len(self))))


def _state(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns
