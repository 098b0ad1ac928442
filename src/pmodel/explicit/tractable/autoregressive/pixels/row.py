r"""The Row LSTM (van den Oord et al. 2016, section 3.1): a memory that runs down the rows.

The gates of pixel (i, j) are told the stream at the last pixels of its own row, itself among them (mask B), and
the states of the row above from :math:`j - r` to :math:`j + r`. So its features see a triangle above it, which is k = 2r + 1
wide one row up and grows by r to both sides with each row; what lies in the row above further to the right is unseen.
"""

from __future__ import annotations

from typing import cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .memory import Memory
from .network import Part
from .recurrence import cell, rows

__all__ = ["RowLayer"]


@final
class RowLayer(nn.Module):
    """A Row LSTM with its residual connection.

    Args:
        sides: Of the picture.
        channels: h.
        kernel: k, odd.
    """

    def __init__(self, sides: list[int], channels: int, kernel: int) -> None:
        super().__init__()
        self.sides, self.reach = sides, kernel // 2
        self.memory = Memory(2 * channels, channels, self.reach + 1, kernel)
        self.grow = nn.Linear(channels, 2 * channels)
        self.lines = rows(sides[0], sides[1], self.reach)

    def forward(self, s: Tensor, x: Tensor) -> Tensor:
        """The stream ``(H · W, N, 2 · channels)``, in raster order, behind the layer, which does not look at the pixels x."""
        height, width = self.sides
        padded = F.pad(s.view(height, width, *s.shape[1:]), (0, 0, 0, 0, self.reach, 0))
        windows = torch.cat([padded[:, at : at + width] for at in range(self.reach + 1)], 3)
        return s + cast(Tensor, self.grow(self.memory(windows.flatten(0, 1), self.lines)))

    def written(self, n: int) -> Part:
        """The layer, pixel by pixel."""
        return _RowWritten(self, n)


@final
class _RowWritten:
    """A Row LSTM, pixel by pixel: what the row above says is one product for each row."""

    def __init__(self, layer: RowLayer, n: int) -> None:
        self.reach, self.width, memory = layer.reach, layer.sides[1], layer.memory
        self.input, self.state, self.grow = memory.matrix, memory.transition, layer.grow
        empty = self.input.new_zeros
        self.line = empty(n, self.reach + self.width, memory.input.in_channels)  # the stream behind a margin
        self.h = empty(self.width + 2 * self.reach, n, memory.size)  # the row above, its start overwritten by this one
        self.c = empty(self.width, n, memory.size)
        self.bias = memory.bias
        self.told = self.c

    def start_row(self) -> None:
        """What the states of the row above say."""
        windows = torch.cat([self.h[at : at + self.width] for at in range(2 * self.reach + 1)], 2)
        self.told = windows @ self.state + self.bias

    def step(self, j: int, s: Tensor) -> Tensor:
        """The stream behind the layer at pixel j."""
        self.line[:, self.reach + j] = s
        window = self.line[:, j : j + self.reach + 1].flatten(1)
        h, self.c[j] = cell(torch.addmm(self.told[j], window, self.input), self.c[j])
        self.h[self.reach + j] = h
        return torch.addmm(s, h, self.grow.weight.T).add_(self.grow.bias)

    def put(self, j: int, x: Tensor) -> None:
        """The pixel's values come in at the opening."""

    def select(self, rows: Tensor) -> None:
        """Go on with these pictures."""
        self.line, self.h, self.c = self.line[rows], self.h[:, rows], self.c[:, rows]
        self.told = self.told[:, rows]
