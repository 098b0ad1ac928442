"""Data that stay in their file: what ``Split.x`` is where a tensor would not fit into memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import BadInput, DataError
from .row_file import BLOCK, RowFile

__all__ = ["LIMIT", "AllBut", "Mapped", "in_memory", "spread"]

LIMIT = 2**32
"""The most bytes that one data set may take in memory, and one file may unpack to."""


@final
class AllBut:
    """The numbers 0 … n - 1 less a few, in order, in no more memory than those few take.

    Args:
        n: How many there are with those that are left out.
        without: The numbers left out, each once.
    """

    def __init__(self, n: int, without: Tensor) -> None:
        self.n = n
        self._before = without.sort().values - torch.arange(len(without))
        """How many numbers are kept before each of those left out."""

    def __len__(self) -> int:
        return self.n - len(self._before)

    def __getitem__(self, places: Tensor) -> Tensor:
        return places + torch.searchsorted(self._before, places, right=True)


@final
class Mapped:
    """Data in a file, as a tensor of shape ``(N, *shape)`` whose rows are read whenever they are asked for.

    ``x[rows]`` with a slice, an index tensor or a mask is a tensor in memory, and so is ``x.read()``, which asks for all.

    Args:
        file: The rows as they lie in the file.
        rows: The numbers of those that belong to the data, in order.
        kept: From rows of the file to a tensor ``(n, *shape)``, such as data are kept in.
    """

    def __init__(self, file: RowFile, rows: Tensor | AllBut, kept: Callable[[NDArray[Any]], Tensor]) -> None:
        self.file, self.rows, self._kept = file, rows, kept
        one = kept(file.take(np.arange(1)))
        self.dtype, self.shape = one.dtype, torch.Size((len(rows), *one.shape[1:]))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: slice | Tensor) -> Tensor:
        return self._kept(self.file.take(self._in_file(index)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self.read().numpy().astype(dtype, copy=False)

    @property
    def nbytes(self) -> int:
        """How many bytes all would take in memory."""
        return math.prod(self.shape) * self.dtype.itemsize

    def read(self) -> Tensor:
        """All of it, in memory.

        Raises:
            DataError: if that is more than ``LIMIT`` bytes.
        """
        if self.nbytes > LIMIT:
            hint = "ask for some of them: x[:1000], or validation or test data"
            raise DataError(
                f"The data in {self.file.path} do not fit into memory.", got=f"{self.nbytes} bytes", hint=hint
            )
        return self[:]

    def part(self, index: Tensor) -> Mapped:
        """The data at these positions, or where the mask is true; they stay in the file."""
        rows = torch.from_numpy(self._in_file(index))
        return Mapped(self.file, rows.to(torch.int32) if len(self.file) < 2**31 else rows, self._kept)

    def announce(self, index: Tensor) -> None:
        """Say that these positions will be asked for next, so that the disk may start."""
        self.file.announce(self._in_file(index))

    def blocks(self) -> Iterator[Tensor]:
        """All of it in order, a block at a time."""
        count = max(1, BLOCK // max(1, self.nbytes // len(self)))
        for start in range(0, len(self), count):
            yield self[start : start + count]

    def _in_file(self, index: slice | Tensor) -> NDArray[np.int64]:
        """The numbers of rows in the file."""
        n = len(self)
        if not isinstance(index, slice | Tensor):
            raise BadInput(
                "Mapped data are taken by a slice, or by a tensor of positions or of truth values.", got=index
            )
        if isinstance(index, slice):
            places = torch.arange(*index.indices(n))
        else:
            places = index.nonzero().flatten() if index.dtype == torch.bool else index.to("cpu", torch.int64)
            if len(places) and not -n <= int(places.min()) <= int(places.max()) < n:
                raise IndexError(f"There are {n} data, and row {int(places.abs().max())} was asked for.")
            places = torch.where(places < 0, places + n, places)
        return self.rows[places].to(torch.int64).numpy()


def in_memory(x: Tensor | Mapped) -> Tensor:
    """The data as a tensor.

    Raises:
        DataError: if they are mapped and too large for that.
    """
    return x if isinstance(x, Tensor) else x.read()


def spread(x: Tensor | Mapped, most: int = 100_000) -> Tensor:
    """What stands for the data where all are wanted: all, or of mapped data about so many, evenly spread over the file."""
    return x if isinstance(x, Tensor) else x[:: max(1, len(x) // most)]
