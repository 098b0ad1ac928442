r"""The Diagonal BiLSTM (van den Oord et al. 2016, section 3.2): two memories that run over the diagonals.

One memory runs from the upper left: pixel (i, j) reads the states of (i, j - 1) and (i - 1, j), and so
sees all (i', j') with i' ≤ i and j' ≤ j. Another runs from the upper right, and reads (i, j + 1) and (i - 1, j): at (i, j) it
has seen the pixels to its *right*, so what it says is *moved down by a row*:

.. math:: s_{ij} \leftarrow s_{ij} + W (\overrightarrow{h}_{ij} + \overleftarrow{h}_{i-1,j}) + b

Without this move the pixels to the right leak into the features, and likelihoods become too good to be true. With it, and all
else as in the paper, one pixel is seen by few: the last one of the row above, which mask A hides from its own features. Since
what it says moves down, the memory from the right may know each pixel itself: it reads :math:`s_{ij} + U x_{ij}`. So every
pixel sees all earlier ones, in one layer.

A picture of one row or one column has nothing to the upper right, and one memory.
"""

from __future__ import annotations

import functools
from typing import Any, cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .memory import Memory
from .network import Part
from .recurrence import cell, diagonal_order, diagonals

__all__ = ["DiagonalLayer"]


class _Permuted(torch.autograd.Function):
    """Entries of axis 0 in another order, whose gradient is put back by the inverse order: a copy where PyTorch's adds."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(inverse)
        return x.index_select(0, order)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return grad.index_select(0, ctx.saved_tensors[0]), None, None


def _permuted(x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
    return cast(Tensor, _Permuted.apply(x, order, inverse))  # type: ignore[no-untyped-call]


@functools.cache
def _orders(height: int, width: int, device: torch.device) -> tuple[tuple[Tensor, Tensor], ...]:
    """From the left and mirrored, the raster numbers of the pixels by diagonals, and the place of each pixel among them."""
    down = torch.tensor(diagonal_order(height, width), device=device)
    mirrored = down // width * width + (width - 1 - down % width)
    return tuple((order, order.argsort()) for order in (down, mirrored))


@final
class DiagonalLayer(nn.Module):
    """A Diagonal BiLSTM with its residual connection.

    Args:
        sides: Of the picture.
        channels: h.
        colours: C.
    """

    def __init__(self, sides: list[int], channels: int, colours: int) -> None:
        super().__init__()
        self.sides, self.lines = sides, diagonals(*sides)
        self.right = Memory(2 * channels, channels, 1, 2)
        self.grow = nn.Linear(channels, 2 * channels)
        self.left, self.own = None, None
        if min(sides) > 1:
            self.left = Memory(2 * channels, channels, 1, 2)
            self.own = nn.Linear(colours, 2 * channels, bias=False)

    def forward(self, s: Tensor, x: Tensor) -> Tensor:
        """The stream ``(H · W, N, 2 · channels)``, in raster order, behind the layer; x has the pixels, ``(H · W, N, C)``."""
        down, mirrored = _orders(*self.sides, s.device)
        h = self._run(self.right, s, down)
        if self.left is not None and self.own is not None:
            above = self._run(self.left, s + self.own(x), mirrored)[: -self.sides[1]]
            h = h + F.pad(above, (0, 0, 0, 0, self.sides[1], 0))
        return s + cast(Tensor, self.grow(h))

    def _run(self, memory: Memory, s: Tensor, orders: tuple[Tensor, Tensor]) -> Tensor:
        """The states of a memory in raster order."""
        order, inverse = orders
        return _permuted(memory(_permuted(s, order, inverse), self.lines), inverse, order)

    def written(self, n: int) -> Part:
        """The layer, pixel by pixel."""
        return _DiagonalWritten(self, n)


@final
class _DiagonalWritten:
    """A Diagonal BiLSTM, pixel by pixel; what comes from the right is computed for a whole row when the row is known."""

    def __init__(self, layer: DiagonalLayer, n: int) -> None:
        self.layer, memory = layer, layer.right
        self.width, self.grow = layer.sides[1], layer.grow
        empty, size = layer.grow.weight.new_zeros, memory.size
        self.bias, (beside, self.above) = memory.bias, memory.taps()
        self.across = torch.cat([memory.matrix, beside])
        self.stream = empty(self.width, n, 2 * size)
        self.right, self.left = empty(self.width, n, size), empty(self.width, n, size)  # the states of a row
        self.c, self.told, self.begun = self.right[0], self.right, False

    def start_row(self) -> None:
        """The memory that runs to the left, over the row above; and what that row says to the other."""
        if self.begun and self.layer.left is not None:
            self._run_left(self.layer.left)
        self.told, self.begun = self.right @ self.above + self.bias, True

    def _run_left(self, memory: Memory) -> None:
        beside, above = memory.taps()
        told = self.stream @ memory.matrix + self.left @ above + memory.bias
        h, c = cell(told[-1], None)
        self.left[-1] = h
        for j in reversed(range(self.width - 1)):
            h, c = cell(torch.addmm(told[j], h, beside), c)
            self.left[j] = h

    def step(self, j: int, s: Tensor) -> Tensor:
        """The stream behind the layer at pixel j."""
        self.stream[j] = s
        before = self.right[j - 1] if j else torch.zeros_like(self.right[0])
        h, self.c = cell(torch.addmm(self.told[j], torch.cat([s, before], 1), self.across), self.c if j else None)
        self.right[j] = h
        return torch.addmm(s, h + self.left[j], self.grow.weight.T).add_(self.grow.bias)

    def put(self, j: int, x: Tensor) -> None:
        """Tell the memory that will run to the left the pixel itself."""
        if self.layer.own is not None:
            self.stream[j].addmm_(x, self.layer.own.weight.T)

    def select(self, rows: Tensor) -> None:
        """Go on with these pictures."""
        self.stream, self.right, self.left = (kept[:, rows] for kept in (self.stream, self.right, self.left))
        self.told, self.c = self.told[:, rows], self.c[rows]
