"""Equal rows in a file, read where they lie: the file is mapped, and the system keeps of it what it has room for."""

from __future__ import annotations

import math
import mmap
import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError

__all__ = ["RowFile"]

BLOCK = 2**24
"""Bytes in one block of a pass over the file, about."""
ANNOUNCED = 1024
"""Rows that are announced at most: it takes half a microsecond each, which pays where rows are large and come from a disk."""


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
        self._offset = offset
        self._rows = np.frombuffer(self._map, np.uint8, shape[0] * self.width, offset).reshape(shape[0], self.width)

    def __len__(self) -> int:
        return self.shape[0]

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """These rows, in memory.

        Raises:
            DataError: if the file has been changed since it was opened.
        """
        if _state(self._descriptor) != self._state:
            raise DataError(
                f"{self.path} has been changed while it was in use.",
                got=f"{_state(self._descriptor)[0]} bytes, and {self._state[0]} when it was opened",
                hint="train on a copy that nothing writes to",
            )
        return self._rows.take(rows, 0).view(self.dtype).reshape(len(rows), *self.shape[1:])

    def announce(self, rows: NDArray[np.int64]) -> None:
        """Let the system start to read these rows, which will be wanted soon. It costs nothing to be wrong."""
        advise = getattr(self._map, "madvise", None)
        if advise is None or len(rows) > ANNOUNCED:
            return
        for start in (self._offset + self.width * rows).tolist():
            page = start - start % mmap.PAGESIZE
            advise(mmap.MADV_WILLNEED, page, start + self.width - page)

    def blocks(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """All rows in order, in blocks, each with the number of its first row."""
        count = max(1, BLOCK // max(1, self.width))
        for start in range(0, len(self), count):
            yield start, self.take(np.arange(start, min(start + count, len(self))))


def _state(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns
