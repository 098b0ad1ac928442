"""The stacks evaluated pixel by pixel, with nothing computed twice (Ramachandran et al. 2017, https://arxiv.org/abs/1704.06001).

A pixel's features need, of every layer, the last few rows of the vertical stack and the last few pixels of the horizontal one.
These are kept: the vertical stack is computed once for each row and the horizontal stack once for each pixel, as products of
matrices. The work for a picture is that of one parallel pass, where the naive loop needs one pass for each pixel.
"""

from __future__ import annotations

from typing import cast, final

import torch
from torch import Tensor
from torch.nn import functional as F

from .gated import OUTSIDE, GatedLayer, GatedStacks, gate

__all__ = ["Cache"]


@final
class Cache:
    """The state of the stacks while pictures are written in raster order.

    For each row ``start_row``; then for each of its pixels ``features``, and ``put`` its values.

    Args:
        stacks: The network.
        n: How many pictures are written.
        given: Their labels, or None.
    """

    def __init__(self, stacks: GatedStacks, n: int, given: Tensor | None) -> None:
        self.stacks, self.layers = stacks, [cast(GatedLayer, layer) for layer in stacks.layers]
        label, (_, width), r = stacks.one_hot(given), stacks.sides, stacks.reach
        self.depths = [stacks.above.in_channels, *[stacks.channels] * len(self.layers)]
        empty = stacks.place.new_zeros
        # of the picture and of each layer's v: the rows that end with the current one, with margins
        self.rows = [empty(n, depth, r + 1, width + 2 * r) for depth in self.depths]
        # of the picture and of each layer's h: the current row, pixel after pixel behind a margin
        self.lines = [empty(n, (r + width) * depth) for depth in self.depths]
        self.rows[0].fill_(OUTSIDE)
        self.lines[0].fill_(OUTSIDE)
        # what labels and rows above tell the gates of h at each pixel of the row
        self.told = [empty(width, n, 2 * stacks.channels) for _ in self.layers]
        self.shifts = [layer.shifts(label) for layer in self.layers]
        self.left = _matrix(stacks.left.weight)
        self.products = [(_matrix(layer.horizontal.weight), _matrix(layer.residual.weight)) for layer in self.layers]

    def start_row(self, i: int) -> None:
        """Compute the vertical stack of row i, and what it tells every layer of the horizontal stack."""
        r, stacks = self.stacks.reach, self.stacks
        for rows in self.rows:
            rows[:, :, :r] = rows[:, :, 1:].clone()
        v = F.conv2d(self.rows[0][:, :, :r], stacks.above.weight, stacks.above.bias) + stacks.place[:, i : i + 1]
        for layer, rows, told, (above, left) in zip(self.layers, self.rows[1:], self.told, self.shifts, strict=True):
            rows[:, :, r, r : rows.shape[3] - r] = v[:, :, 0]
            a = layer.vertical(rows)
            v = gate(a if above is None else a + above[:, :, None, None])
            told.copy_(layer.down(v)[:, :, 0].permute(2, 0, 1))
            if left is not None:
                told += left

    def features(self, j: int) -> Tensor:
        """The features ``(N, channels)`` of pixel j of the row, from the pixels before it."""
        r, p, colours = self.stacks.reach, self.stacks.channels, self.depths[0]
        h = torch.addmm(
            cast(Tensor, self.stacks.left.bias), self.lines[0][:, j * colours : (j + r) * colours], self.left
        )
        start, here, end = j * p, (j + r) * p, (j + r + 1) * p
        for told, line, (across, residual) in zip(self.told, self.lines[1:], self.products, strict=True):
            line[:, here:end] = h
            h = torch.addmm(h, gate(torch.addmm(told[j], line[:, start:end], across)), residual)
        return h

    def put(self, j: int, x: Tensor) -> None:
        """Write the values ``(N, C)`` of pixel j, on the scale [-1, 1]."""
        r, colours = self.stacks.reach, self.depths[0]
        self.rows[0][:, :, r, r + j] = x
        self.lines[0][:, (r + j) * colours : (r + j + 1) * colours] = x

    def select(self, rows: Tensor) -> None:
        """Go on with these pictures: row n becomes what row ``rows[n]`` was. Labels must be the same."""
        self.rows = [kept[rows] for kept in self.rows]
        self.lines = [kept[rows] for kept in self.lines]
        self.told = [kept[:, rows] for kept in self.told]


def _matrix(weight: Tensor) -> Tensor:
    """The weight ``(out, in, 1, taps)`` of a convolution along a row as a matrix ``(taps · in, out)``."""
    return weight.squeeze(2).permute(2, 1, 0).reshape(-1, len(weight)).contiguous()
