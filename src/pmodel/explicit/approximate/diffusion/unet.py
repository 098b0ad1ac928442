r"""The U-Net (Ronneberger et al. 2015; Ho et al. 2020, appendix B), built for what a picture of a few dozen pixels costs.

A level of the U-Net is a number of residual blocks

.. math::

    h + \mathrm{conv}(\mathrm{silu}((1 + a) \odot \mathrm{norm}(u) + b)), \qquad
    u = \mathrm{conv}(\mathrm{silu}(\mathrm{norm}(h))),

with a and b linear in the features of time and label. On the way down the sides are halved by averaging, on the way up
doubled by repetition, and what the way down knew at each level is added. Most of the time goes to the full resolution, where
there is least to decide; so pictures with a side above 16 are folded first: each 2×2 square becomes one pixel of four times
the channels (space to depth), and is unfolded at the end.
"""

from __future__ import annotations

from typing import cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .conditioning import Conditioning

__all__ = ["UNet"]

FOLDED = 16
"""Pictures with a side longer than this are folded."""
SMALLEST = 7
"""Sides are halved until none is longer than this."""
GROUP = 16
"""Channels that are normalised together: a vector register's worth. PyTorch's kernel for bfloat16 with the channels last is
up to 20 times slower with fewer."""


@final
class UNet(nn.Module):
    """A U-Net for pictures of any size.

    Args:
        shape: Of a picture, ``(C, H, W)``.
        labels: How many classes; 0 for no labels.
        channels: Of the first level; the others have twice as many.
        layers: Residual blocks of a level, on the way down and on the way up.
        width: Features of time and label.
        dropout: The part of the features within a block that training leaves out.
    """

    def __init__(
        self, shape: tuple[int, ...], labels: int, *, channels: int, layers: int, width: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        colours, *sides = shape
        self.fold = 2 if max(sides) > FOLDED else 1
        folded = colours * self.fold**2
        self.conditioning = Conditioning(labels, width)
        self.first = nn.Conv2d(folded, channels, 3, padding=1)
        halvings = _halvings(-(-max(sides) // self.fold))
        self.levels = nn.ModuleList(
            _Level(channels if depth == 0 else 2 * channels, 2 * channels, layers, width, dropout)
            for depth in range(halvings)
        )
        lowest = 2 * channels if halvings else channels
        self.middle = nn.ModuleList(_Block(lowest, width, dropout) for _ in range(2 * layers))
        self.norm = _norm(channels)
        self.last = nn.Conv2d(channels, folded, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(cast(Tensor, self.last.bias))

    def forward(self, x: Tensor, t: Tensor, given: Tensor | None = None) -> Tensor:
        """``(N, C, H, W)`` from noisy pictures, times and labels."""
        told = self.conditioning(t, given)
        h = self.first(folded(x, self.fold))
        levels, kept = cast("list[_Level]", list(self.levels)), list[Tensor]()
        for level in levels:
            h = level.down(h, told)
            kept.append(h)
            h = level.widened(h)
        for block in self.middle:
            h = block(h, told)
        for level, known in zip(reversed(levels), reversed(kept), strict=True):
            h = level.up(h, known, told)
        return unfolded(self.last(F.silu(self.norm(h))), self.fold, x.shape[2:])


def folded(x: Tensor, side: int) -> Tensor:
    """``(N, C, H, W)`` to ``(N, C · side², ⌈H / side⌉, ⌈W / side⌉)``; zeros beyond the edge."""
    if side == 1:
        return x
    height, width = x.shape[2:]
    return F.pixel_unshuffle(F.pad(x, (0, -width % side, 0, -height % side)), side)


def unfolded(x: Tensor, side: int, size: torch.Size) -> Tensor:
    """The inverse of ``folded``, for pictures of a size."""
    return F.pixel_shuffle(x, side)[..., : size[0], : size[1]] if side > 1 else x


def _halvings(side: int) -> int:
    count = 0
    while side > SMALLEST:
        side, count = (side + 1) // 2, count + 1
    return count


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(channels // GROUP if channels % GROUP == 0 else 1, channels)


class _Level(nn.Module):
    """Blocks on the way down and on the way up, and the maps to the level below and back."""

    def __init__(self, channels: int, below: int, layers: int, width: int, dropout: float) -> None:
        super().__init__()
        self.downward = nn.ModuleList(_Block(channels, width, dropout) for _ in range(layers))
        self.widen = nn.Conv2d(channels, below, 1)
        self.narrow = nn.Conv2d(below, channels, 1)
        self.across = nn.Conv2d(channels, channels, 1)
        self.upward = nn.ModuleList(_Block(channels, width, dropout) for _ in range(layers))

    def down(self, h: Tensor, told: Tensor) -> Tensor:
        for block in self.downward:
            h = block(h, told)
        return h

    def widened(self, h: Tensor) -> Tensor:
        """Half the sides, rounded up; the edge of an odd side averages the pixels that are there."""
        return cast(Tensor, self.widen(F.avg_pool2d(h, 2, ceil_mode=True)))

    def up(self, h: Tensor, known: Tensor, told: Tensor) -> Tensor:
        height, width = known.shape[2:]
        doubled = F.interpolate(self.narrow(h), scale_factor=2.0)[..., :height, :width]
        h = doubled + self.across(known)
        for block in self.upward:
            h = block(h, told)
        return h


class _Block(nn.Module):
    """The residual block of the module's docstring: the identity at the start."""

    def __init__(self, channels: int, width: int, dropout: float) -> None:
        super().__init__()
        self.before, self.inward = _norm(channels), nn.Conv2d(channels, channels, 3, padding=1)
        self.between, self.told = _norm(channels), nn.Linear(width, 2 * channels)
        self.dropout = nn.Dropout(dropout)
        self.outward = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.outward.weight)
        nn.init.zeros_(cast(Tensor, self.outward.bias))

    def forward(self, h: Tensor, told: Tensor) -> Tensor:
        scale, shift = self.told(told)[:, :, None, None].chunk(2, 1)
        inner = self.between(self.inward(F.silu(self.before(h))))
        inner = torch.addcmul(shift, inner, 1 + scale)
        return h + cast(Tensor, self.outward(self.dropout(F.silu(inner))))
