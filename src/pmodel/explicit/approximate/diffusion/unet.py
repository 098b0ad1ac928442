r"""The U-Net (Ronneberger et al. 2015; Ho et al. 2020, appendix B), built for what a picture of a few dozen pixels costs.

A level of the U-Net is a number of residual blocks on the way down and on the way up,

.. math:: h + \mathrm{conv}(\mathrm{silu}(\mathrm{norm}(\mathrm{conv}(\mathrm{silu}(\mathrm{norm}(h))) + V c))),

with c the features of time and label. On the way down the sides are halved by averaging, on the way up doubled by repetition,
and what the way down knew at each level is added. At the full resolution of a larger picture, where a block costs most, the
level has half the channels. There are no attention layers: by way of the smallest size, convolutions let every pixel see
every other one.
"""

from __future__ import annotations

from itertools import pairwise
from typing import cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ....nn.conditioning import Conditioning

__all__ = ["UNet"]

LARGE = 16
"""Pictures with a side longer than this have a level with half the channels at the full resolution."""
SMALLEST = 7
"""Sides are halved until none is longer than this."""
GROUP = 16
"""Channels that are normalised together: a vector register's worth. PyTorch's kernel for bfloat16 with the channels last is
up to 12 times slower with fewer."""


@final
class UNet(nn.Module):
    """A U-Net for pictures of any size.

    Args:
        shape: Of a picture, ``(C, H, W)``.
        labels: How many classes; 0 for no labels.
        channels: Of the first level whose sides are at most 16; the one above has half, those below have twice as many.
        layers: Residual blocks of a level, on the way down and on the way up.
        width: Features of time and label.
        dropout: The part of the features within a block that training leaves out.
        answers: How many numbers it answers for each entry.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        labels: int,
        *,
        channels: int,
        layers: int,
        width: int,
        dropout: float = 0.0,
        answers: int = 1,
    ) -> None:
        super().__init__()
        colours, *sides = shape
        widths = _widths(max(sides), channels)
        self.conditioning = Conditioning(labels, width)
        self.first = nn.Conv2d(colours, widths[0], 3, padding=1)
        self.levels = nn.ModuleList(_Level(here, below, layers, width, dropout) for here, below in pairwise(widths))
        self.middle = _blocks(2 * layers, widths[-1], width, dropout)
        self.norm = _norm(widths[0])
        self.last = nn.Conv2d(widths[0], answers * colours, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(cast(Tensor, self.last.bias))

    def forward(self, x: Tensor, t: Tensor, given: Tensor | None = None) -> Tensor:
        """``(N, answers · C, H, W)`` from noisy pictures, times and labels."""
        if not self.training:  # there the plan has chosen; in float32 on a processor this is nearly twice as fast
            x = x.contiguous(memory_format=torch.channels_last)
        told = self.conditioning(t, given)
        levels, known = cast("list[_Level]", list(self.levels)), list[Tensor]()
        h = self.first(x)
        for level in levels:
            known.append(_through(level.downward, h, told))
            h = level.below(known[-1])
        h = _through(self.middle, h, told)
        for level, kept in zip(reversed(levels), reversed(known), strict=True):
            h = _through(level.upward, level.above(h, kept), told)
        return cast(Tensor, self.last(F.silu(self.norm(h))))


def _widths(side: int, channels: int) -> list[int]:
    """The channels of each level."""
    widths = [max(1, channels // 2), channels] if side > LARGE else [channels]
    side = (side + 1) // 2 if side > LARGE else side
    while side > SMALLEST:
        side = (side + 1) // 2
        widths.append(2 * channels)
    return widths


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(channels // GROUP if channels % GROUP == 0 else 1, channels)


def _blocks(count: int, channels: int, width: int, dropout: float) -> nn.ModuleList:
    return nn.ModuleList(_Block(channels, width, dropout) for _ in range(count))


def _through(blocks: nn.ModuleList, h: Tensor, told: Tensor) -> Tensor:
    for block in blocks:
        h = block(h, told)
    return h


class _Level(nn.Module):
    """Blocks on the way down and on the way up, and the maps to the level below and back."""

    def __init__(self, channels: int, below: int, layers: int, width: int, dropout: float) -> None:
        super().__init__()
        self.downward = _blocks(layers, channels, width, dropout)
        self.widen = nn.Conv2d(channels, below, 1)
        self.narrow = nn.Conv2d(below, channels, 1)
        self.across = nn.Conv2d(channels, channels, 1)
        self.upward = _blocks(layers, channels, width, dropout)

    def below(self, h: Tensor) -> Tensor:
        """Half the sides, rounded up: at the edge of an odd side the mean is of the pixels that are there."""
        return cast(Tensor, self.widen(F.avg_pool2d(h, 2, ceil_mode=True)))

    def above(self, h: Tensor, known: Tensor) -> Tensor:
        """Twice the sides, cut to those of what is known at this level, which is added."""
        height, width = known.shape[2:]
        doubled = F.interpolate(self.narrow(h), scale_factor=2.0)[..., :height, :width]
        return doubled + cast(Tensor, self.across(known))


class _Block(nn.Module):
    """The residual block of the module's docstring: the identity at the start."""

    def __init__(self, channels: int, width: int, dropout: float) -> None:
        super().__init__()
        self.before, self.inward = _norm(channels), nn.Conv2d(channels, channels, 3, padding=1)
        self.told = nn.Linear(width, channels)
        self.between, self.outward = _norm(channels), nn.Conv2d(channels, channels, 3, padding=1)
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.outward.weight)
        nn.init.zeros_(cast(Tensor, self.outward.bias))

    def forward(self, h: Tensor, told: Tensor) -> Tensor:
        inner = self.inward(F.silu(self.before(h))) + self.told(told)[:, :, None, None]
        return h + cast(Tensor, self.outward(self.dropout(F.silu(self.between(inner)))))
