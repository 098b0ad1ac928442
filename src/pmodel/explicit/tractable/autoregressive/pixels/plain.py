r"""Masked convolutions in one stack, as the first PixelCNN had them (van den Oord et al. 2016, https://arxiv.org/abs/1601.06759).

With :math:`*_B` a convolution masked to the pixels before a pixel and the pixel itself, and the stream s of 2h channels that a
7×7 convolution of mask A opens, a block computes (fig. 5, left)

.. math:: s \leftarrow s + W_2 \, \mathrm{relu}(V *_B \mathrm{relu}(W_1\, \mathrm{relu}(s)) + b + A_y)

with :math:`W_1` from 2h channels to h and :math:`W_2` back. A label y shifts the masked convolution by :math:`A_y`.

*The blind spot.* A window that ends at the pixel sees, of the row above, r pixels to the right; the windows of that row see
the row above it r further on: so what lies up and to the right beyond this slope,

.. math:: \{ (i - m,\ j + n) : n > r m \},

never reaches pixel (i, j), however many layers there are (the opening, which is wider, moves the edge by a few pixels and no
more). The model is a distribution all the same, of fewer dependencies: ``gated.py`` has none missing.

The masked convolution is the sum of one of the rows above and one of the pixels to the left with the pixel itself: the taps
that a mask would set to zero are never computed.
"""

from __future__ import annotations

from typing import cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .network import OPENING, Network, PartsCache, as_matrix

__all__ = ["PlainBlock", "PlainStack"]


@final
class PlainBlock(nn.Module):
    """A residual block around a masked convolution.

    Args:
        channels: h; the stream has twice as many.
        kernel: Side k of the window, odd.
        labels: Values of the label; 0 for none.
        dropout: Probability with which an entry of the h channels is set to zero in training.
    """

    def __init__(self, channels: int, kernel: int, labels: int, dropout: float) -> None:
        super().__init__()
        self.reach = kernel // 2
        self.shrink = nn.Conv2d(2 * channels, channels, 1)
        self.above = nn.Conv2d(channels, channels, (self.reach, kernel))
        self.left = nn.Conv2d(channels, channels, (1, self.reach + 1), bias=False)
        self.grow = nn.Conv2d(channels, 2 * channels, 1)
        self.dropout = nn.Dropout(dropout)
        self.told = nn.Linear(labels, channels, bias=False) if labels else None

    def forward(self, s: Tensor, label: Tensor | None) -> Tensor:
        """The stream ``(N, 2 · channels, H, W)`` behind the block."""
        r, u = self.reach, self.shrink(s.relu()).relu()
        a = self.above(F.pad(u, (r, r, r, -1))) + self.left(F.pad(u, (r, 0)))
        shift = self.shift(label)
        a = a if shift is None else a + shift[:, :, None, None]
        return s + cast(Tensor, self.grow(self.dropout(a.relu())))

    def shift(self, label: Tensor | None) -> Tensor | None:
        """By how much a label shifts the convolution, ``(N, channels)``."""
        return None if self.told is None or label is None else self.told(label)


@final
class PlainStack(Network):
    """The opening, then residual blocks.

    Args:
        shape: Of a picture, ``(C, H, W)``.
        channels: h of the blocks; the stream, and so the features, have twice as many.
        layers: Blocks.
        kernel: Side of their windows, odd.
        labels: Values of the label; 0 for none.
        dropout: Probability with which an entry inside a block is set to zero in training.
    """

    def __init__(
        self, shape: tuple[int, ...], channels: int, layers: int, kernel: int, labels: int, dropout: float
    ) -> None:
        super().__init__(shape, 2 * channels, OPENING, labels)
        self.layers = nn.ModuleList(PlainBlock(channels, kernel, labels, dropout) for _ in range(layers))

    def forward(self, x: Tensor, given: Tensor | None) -> Tensor:
        """From pictures ``(N, C, H, W)`` on the scale [-1, 1] to features ``(N, H, W, 2 · channels)``."""
        label, (above, left) = self.one_hot(given), self.opened(x)
        s = above + left
        for layer in self.layers:
            s = layer(s, label)
        return s.permute(0, 2, 3, 1)

    def cache(self, n: int, given: Tensor | None) -> PartsCache:
        """The blocks, pixel by pixel."""
        label, width = self.one_hot(given), self.sides[1]
        return PartsCache(self, n, [_Written(cast(PlainBlock, layer), n, width, label) for layer in self.layers])


@final
class _Written:
    """A block, pixel by pixel: what is convolved is kept, and the rows above are convolved once for each row."""

    def __init__(self, block: PlainBlock, n: int, width: int, label: Tensor | None) -> None:
        self.block, self.width, self.reach, self.channels = block, width, block.reach, block.above.in_channels
        empty, r, h = block.above.weight.new_zeros, self.reach, self.channels
        self.rows = empty(n, h, r, width + 2 * r)  # above, with margins
        self.line = empty(n, r + width, h)  # the current row behind a margin
        self.told = empty(width, n, h)
        self.shift = block.shift(label)
        self.across = as_matrix(block.left.weight)
        self.shrink, self.grow = as_matrix(block.shrink.weight), as_matrix(block.grow.weight)

    def start_row(self) -> None:
        """Convolve the rows above."""
        self.told = self.block.above(self.rows)[:, :, 0].permute(2, 0, 1)
        if self.shift is not None:
            self.told = self.told + self.shift

    def step(self, j: int, s: Tensor) -> Tensor:
        """The stream behind the block at pixel j."""
        r = self.reach
        u = torch.addmm(cast(Tensor, self.block.shrink.bias), s.relu(), self.shrink).relu_()
        self.line[:, r + j] = u
        a = torch.addmm(self.told[j], self.line[:, j : j + r + 1].flatten(1), self.across)
        if j == self.width - 1:
            self._end_row()
        return torch.addmm(s, a.relu_(), self.grow).add_(cast(Tensor, self.block.grow.bias))

    def _end_row(self) -> None:
        """The current row is now above."""
        r = self.reach
        self.rows[:, :, :-1] = self.rows[:, :, 1:].clone()
        self.rows[:, :, -1, r : r + self.width] = self.line[:, r:].permute(0, 2, 1)

    def put(self, j: int, x: Tensor) -> None:
        """The pixel's values come in at the opening."""

    def select(self, rows: Tensor) -> None:
        """Go on with these pictures."""
        self.rows, self.line, self.told = self.rows[rows], self.line[rows], self.told[:, rows]
