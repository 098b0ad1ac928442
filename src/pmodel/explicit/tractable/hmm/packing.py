"""Sequences of different lengths without padding: all the elements of one time stand together, the longest sequences first.

With the sequences in order of falling length, those that still go on at time t are the first n_t, and the elements of all
times one after another are P = n_0 + n_1 + … rows. A step of a recursion is then an operation on a block of n_t rows, and
nothing is ever computed for what is not there.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import final

import numpy as np
import torch
from torch import Tensor

__all__ = ["Packing", "empty"]


@final
@dataclass(frozen=True, eq=False)
class Packing:
    """Where the elements of each sequence stand among the rows.

    Args:
        order: The sequences, the longest first, ``(N,)``.
        sizes: The number of sequences that have an element at each time, falling: n_t.
        sequence: The sequence that each row belongs to, ``(P,)``.
        time: The time that each row belongs to, ``(P,)``.
    """

    order: Tensor
    sizes: list[int]
    sequence: Tensor
    time: Tensor

    @classmethod
    def of(cls, lengths: Tensor) -> Packing:
        """The packing of sequences with so many elements, ``(N,)``; those of length 0 have no row."""
        falling, order = lengths.sort(descending=True, stable=True)
        longest = int(falling[0]) if len(falling) else 0
        time, rank = (torch.arange(longest, device=lengths.device)[:, None] < falling).nonzero(as_tuple=True)
        return cls(order, torch.bincount(time, minlength=longest).tolist(), order[rank], time)

    @property
    def starts(self) -> list[int]:
        """The row that each time begins with, and the number of rows at the end: T + 1 numbers."""
        return [0, *accumulate(self.sizes)]

    @property
    def last(self) -> Tensor:
        """The rows of the last elements of the sequences that have any."""
        ends, device = zip(self.starts, self.sizes, [*self.sizes[1:], 0], strict=False), self.order.device
        rows = [torch.arange(start + after, start + size, device=device) for start, size, after in ends if size > after]
        return torch.cat(rows) if rows else self.order.new_zeros(0)

    @property
    def spans(self) -> list[tuple[int, int, int]]:
        """Times in a row at which no sequence ends: the first row, the sequences, and the number of times."""
        spans: list[tuple[int, int, int]] = []
        row = 0
        for size in self.sizes:
            if spans and spans[-1][1] == size:
                first, _, times = spans[-1]
                spans[-1] = (first, size, times + 1)
            else:
                spans.append((row, size, 1))
            row += size
        return spans

    @property
    def alike(self) -> bool:
        """Whether all sequences have the same length: then they keep their order."""
        return bool(self.sizes) and self.sizes[0] == self.sizes[-1] == len(self.order)

    def pack(self, x: Tensor) -> Tensor:
        """The elements of ``x`` ``(N, longest, …)`` as rows ``(P, …)``."""
        if self.alike:
            return x[:, : len(self.sizes)].transpose(0, 1).flatten(0, 1)
        return x[self.sequence, self.time]

    def steps(self, rows: Tensor) -> tuple[Tensor, ...]:
        """The rows ``(P, …)`` of each time, as views."""
        return rows.split(self.sizes)  # type: ignore[no-untyped-call, no-any-return]

    def unpack(self, rows: Tensor, out: Tensor) -> Tensor:
        """Put the rows ``(P, …)`` back in their places in ``out`` ``(N, longest, …)``; the others stay as they are."""
        out[self.sequence, self.time] = rows
        return out

    def any(self, flags: Tensor) -> Tensor:
        """Whether a row of each sequence has the flag ``(P,)``, ``(N,)``."""
        return self.summed(flags.double()) > 0

    def summed(self, rows: Tensor) -> Tensor:
        """The sum of the rows ``(P,)`` of each sequence, ``(N,)``."""
        return rows.new_zeros(len(self.order)).index_add_(0, self.sequence, rows)


def empty(*shape: int, like: Tensor) -> Tensor:
    """Memory that is not yet set, of float64: NumPy asks the system for large pages, which are there several times as soon."""
    if like.device.type == "cpu":
        return torch.from_numpy(np.empty(shape))
    return torch.empty(shape, dtype=torch.float64, device=like.device)
