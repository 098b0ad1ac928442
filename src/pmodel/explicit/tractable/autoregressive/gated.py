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

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["OUTSIDE", "GatedLayer", "GatedStacks", "gate"]

OUTSIDE = -2.0
"""What stands beyond the border of a picture on the scale [-1, 1]: no level, so that the border is seen as one."""


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
        dropout: Probability with which a gated channel of h is set to zero in training.
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


class GatedStacks(nn.Module):
    """Features of each pixel that are functions of the pixels before it, in raster order, of the place, and of a label.

    Args:
        shape: Of a picture, ``(C, H, W)``.
        channels: Of each stack.
        layers: How many.
        kernel: Side of the windows, odd.
        labels: Values of the label; 0 for none.
        dropout: Probability with which a gated channel is set to zero in training.
    """

    def __init__(
        self, shape: tuple[int, ...], channels: int, layers: int, kernel: int, labels: int, dropout: float
    ) -> None:
        super().__init__()
        colours, *self.sides = shape
        self.channels, self.labels, self.reach = channels, labels, kernel // 2
        self.above = nn.Conv2d(colours, channels, (self.reach, kernel))
        self.left = nn.Conv2d(colours, channels, (1, self.reach))
        self.place = nn.Parameter(torch.zeros(channels, *self.sides))
        self.layers = nn.ModuleList(GatedLayer(channels, kernel, labels, dropout) for _ in range(layers))

    def forward(self, x: Tensor, given: Tensor | None) -> Tensor:
        """From pictures ``(N, C, H, W)`` on the scale [-1, 1] to features ``(N, H, W, channels)``."""
        r, label = self.reach, self.one_hot(given)
        v: Tensor = self.above(F.pad(x, (r, r, r, -1), value=OUTSIDE))
        v = v + self.place.to(v.dtype)
        h: Tensor = self.left(F.pad(x, (r, -1), value=OUTSIDE))
        for layer in self.layers:
            v, h = layer(v, h, label)
        return h.permute(0, 2, 3, 1)

    def one_hot(self, given: Tensor | None) -> Tensor | None:
        """The label as the linear layers take it."""
        return None if given is None else F.one_hot(given, self.labels).to(self.place.dtype)
