r"""Gated convolutions in two stacks that together see every earlier pixel and no other.

The vertical stack v sees the rows above, the horizontal stack h the pixels to the left and, through v, the rows above. With
:math:`*` a convolution whose window ends at the pixel, layer l computes (van den Oord et al. 2016, eq. 2 and fig. 2)

.. math::

    v_{l+1} &= \tanh(V_f * v_l + a_f) \odot \sigma(V_g * v_l + a_g) \\
    h_{l+1} &= h_l + R \left[ \tanh(U_f * h_l + D_f v_{l+1} + b_f) \odot \sigma(U_g * h_l + D_g v_{l+1} + b_g) \right]

where a label y shifts every gate: :math:`a = a_0 + A_y,\ b = b_0 + B_y`. A single masked stack would never see a wedge to the
upper right: that is the blind spot.

The first layer sees the picture shifted by a row (for v) and by a column (for h), so windows of later layers may include the
pixel itself. The window of V has the :math:`\lfloor k/2 \rfloor + 1` rows that end at the pixel's own, that of U the pixels to
the left: the taps that a mask would set to zero are never computed. Where this departs from the paper: D reads v after its
gate, which halves its work.
"""

from __future__ import annotations

from typing import cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .network import Network, Opening, as_matrix

__all__ = ["GatedCache", "GatedLayer", "GatedStacks", "gate"]


def gate(a: Tensor) -> Tensor:
    r""":math:`\tanh(f / 2) \odot \sigma(g)` of the halves f and g of axis 1; the 2 is one that the weights can learn.

    Since :math:`\tanh(f / 2) = 2\sigma(f) - 1`, one pass over contiguous memory computes both.
    """
    f, g = a.sigmoid().chunk(2, 1)
    return (2 * f - 1) * g


class GatedLayer(nn.Module):
    """One layer of both stacks.

    Args:
        channels: Of each stack.
        kernel: Side k of the window, odd.
        labels: Values of the label; 0 for none.
        dropout: Probability with which a gated entry of h is set to zero in training.
    """

    def __init__(self, channels: int, kernel: int, labels: int, dropout: float) -> None:
        super().__init__()
        self.reach = kernel // 2
        self.vertical = nn.Conv2d(channels, 2 * channels, (self.reach + 1, kernel))
        self.horizontal = nn.Conv2d(channels, 2 * channels, (1, self.reach + 1), bias=False)
        self.down = nn.Conv2d(channels, 2 * channels, 1)
        self.residual = nn.Conv2d(channels, channels, 1, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.told = nn.Linear(labels, 4 * channels, bias=False) if labels else None

    def forward(self, v: Tensor, h: Tensor, label: Tensor | None) -> tuple[Tensor, Tensor]:
        """Both stacks of the next layer, ``(N, channels, H, W)`` each, from those of this one and a label one-hot."""
        r = self.reach
        a, b = self.vertical(F.pad(v, (r, r, r, 0))), self.horizontal(F.pad(h, (r, 0)))
        above, left = self.shifts(label)
        v = gate(a if above is None else a + above[:, :, None, None])
        b = b + self.down(v)
        gated = gate(b if left is None else b + left[:, :, None, None])
        return v, h + cast(Tensor, self.residual(self.dropout(gated)))

    def shifts(self, label: Tensor | None) -> tuple[Tensor, Tensor] | tuple[None, None]:
        """By how much a label shifts the gates of v and of h, ``(N, 2 · channels)`` each."""
        if self.told is None or label is None:
            return None, None
        above, left = self.told(label).chunk(2, 1)
        return above, left


@final
class GatedStacks(Network):
    """The opening for both stacks, then gated layers; the features are those of the horizontal stack.

    Args:
        shape: Of a picture, ``(C, H, W)``.
        channels: Of each stack.
        layers: How many.
        kernel: Side of the windows, odd.
        labels: Values of the label; 0 for none.
        dropout: Probability with which a gated entry is set to zero in training.
    """

    def __init__(
        self, shape: tuple[int, ...], channels: int, layers: int, kernel: int, labels: int, dropout: float
    ) -> None:
        super().__init__(shape, channels, kernel // 2, labels)
        self.channels = channels
        self.layers = nn.ModuleList(GatedLayer(channels, kernel, labels, dropout) for _ in range(layers))

    def forward(self, x: Tensor, given: Tensor | None) -> Tensor:
        """From pictures ``(N, C, H, W)`` on the scale [-1, 1] to features ``(N, H, W, channels)``."""
        label, (v, h) = self.one_hot(given), self.opened(x)
        for layer in self.layers:
            v, h = layer(v, h, label)
        return h.permute(0, 2, 3, 1)

    def cache(self, n: int, given: Tensor | None) -> GatedCache:
        """Both stacks, pixel by pixel."""
        return GatedCache(self, n, given)


@final
class GatedCache:
    """The state of the stacks while pictures are written.

    A pixel's features need, of every layer, the last few rows of the vertical stack and the last few pixels of the horizontal
    one. These are kept: the vertical stack is computed once for each row and the horizontal stack once for each pixel, as
    products of matrices. The work for a picture is that of one parallel pass, where the naive loop needs one pass for each
    pixel (Ramachandran et al. 2017, https://arxiv.org/abs/1704.06001).

    Args:
        stacks: The network.
        n: How many pictures are written.
        given: Their labels, or None.
    """

    def __init__(self, stacks: GatedStacks, n: int, given: Tensor | None) -> None:
        self.opening, self.layers = Opening(stacks, n), [cast(GatedLayer, layer) for layer in stacks.layers]
        label, self.width, self.reach, self.channels = (
            stacks.one_hot(given),
            stacks.sides[1],
            stacks.reach,
            stacks.channels,
        )
        empty, r, p = stacks.place.new_zeros, self.reach, self.channels
        # of each layer's v: the rows that end with the current one, with margins
        self.rows = [empty(n, p, r + 1, self.width + 2 * r) for _ in self.layers]
        # of each layer's h: the current row, pixel after pixel behind a margin
        self.lines = [empty(n, (r + self.width) * p) for _ in self.layers]
        # what labels and rows above tell the gates of h at each pixel of the row
        self.told = [empty(self.width, n, 2 * p) for _ in self.layers]
        self.shifts = [layer.shifts(label) for layer in self.layers]
        self.products = [
            (as_matrix(layer.horizontal.weight), as_matrix(layer.residual.weight)) for layer in self.layers
        ]

    def start_row(self, i: int) -> None:
        """Compute the vertical stack of row i, and what it tells every layer of the horizontal stack."""
        r, v = self.reach, self.opening.row(i)
        for layer, rows, told, (above, left) in zip(self.layers, self.rows, self.told, self.shifts, strict=True):
            rows[:, :, :r] = rows[:, :, 1:].clone()
            rows[:, :, r, r : r + self.width] = v[:, :, 0]
            a = layer.vertical(rows)
            v = gate(a if above is None else a + above[:, :, None, None])
            told.copy_(layer.down(v)[:, :, 0].permute(2, 0, 1))
            if left is not None:
                told += left

    def features(self, j: int) -> Tensor:
        """The features ``(N, channels)`` of pixel j of the row, from the pixels before it."""
        r, p = self.reach, self.channels
        h = self.opening.left(j)
        start, here, end = j * p, (j + r) * p, (j + r + 1) * p
        for told, line, (across, residual) in zip(self.told, self.lines, self.products, strict=True):
            line[:, here:end] = h
            h = torch.addmm(h, gate(torch.addmm(told[j], line[:, start:end], across)), residual)
        return h

    def put(self, j: int, x: Tensor) -> None:
        """Write the values ``(N, C)`` of pixel j, on the scale [-1, 1]."""
        self.opening.put(j, x)

    def select(self, rows: Tensor) -> None:
        """Go on with these pictures."""
        self.opening.select(rows)
        self.rows = [kept[rows] for kept in self.rows]
        self.lines = [kept[rows] for kept in self.lines]
        self.told = [kept[:, rows] for kept in self.told]
