r"""The networks of energy-based models: from a datum, a level of noise and a label to a number that is smooth in the datum.

What moves samples is the number's gradient in the datum, and that decides how the networks are built. Going backwards through
convolutions that halve a picture is going forwards through their transposes, with what the way down knew at each size let
through by the derivatives of the activations: the gradient of half a U-Net is a whole one. Features are read out at every size,

.. math:: f(x) = \sum_{\text{sizes}} \sum_{\text{channels}} a_c \sum_{\text{positions}} \left(\sqrt{1 + v_c^2} - 1\right),
    \qquad v = V h,

with weights a that the level and the label decide. Near zero that is quadratic, as the energy of a normal is; far away it is
linear, as every activation is here, so that no network outgrows a normal. There is no normalisation.
"""

from __future__ import annotations

from typing import cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ....domain import Domain
from ....nn.conditioning import Conditioning

__all__ = ["energy_network"]

LARGE = 16
"""Pictures with a side longer than this are halved before anything else: a block at the full resolution costs most. Single rows
and columns are not."""
SMALLEST = 7
"""Sides are halved until none is longer than this."""
QUIET = 0.3
"""The size of a residual block's answer at the start, in units of the usual one."""


def energy_network(domain: Domain, labels: int, *, layers: int, width: int, channels: int) -> nn.Module:
    """A network ``(x, t, given) -> (N,)``: convolutions for pictures, a perceptron for everything else.

    It is called with data ``(N, *shape)``, times in (0, 1] that stand for levels of noise, ``(N,)`` or one for all ``(1,)``,
    and labels ``(N,)`` or None.

    Args:
        domain: What one datum is.
        labels: How many classes a label can name; 0 if there is none.
        layers: Hidden layers of the perceptron; residual blocks of pictures at each size.
        width: Hidden units, and features of level and label.
        channels: Of pictures at the first size; twice as many at those below.
    """
    if domain.image:
        return _Convolutions(domain.shape, labels, layers, width, channels)
    return _Perceptron(domain.entries, labels, layers, width)


@final
class _Perceptron(nn.Module):
    """Hidden layers, the first of which is told level and label."""

    def __init__(self, entries: int, labels: int, layers: int, width: int) -> None:
        super().__init__()
        self.conditioning = Conditioning(labels, width)
        self.first = nn.Linear(entries, width)
        self.told = nn.Linear(width, width, bias=False)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(layers - 1))
        self.last = nn.Linear(width, 1, bias=False)

    def forward(self, x: Tensor, t: Tensor, given: Tensor | None) -> Tensor:
        h = F.silu(self.first(x.reshape(len(x), self.first.in_features)) + self.told(self.conditioning(t, given)))
        for layer in self.hidden:
            h = F.silu(layer(h))
        return cast(Tensor, self.last(h))[:, 0].float()


@final
class _Convolutions(nn.Module):
    """Residual blocks at every size, each read out, and a dense layer that sees all of the smallest."""

    def __init__(self, shape: tuple[int, ...], labels: int, layers: int, width: int, channels: int) -> None:
        super().__init__()
        colours, height, side = shape
        self.conditioning = Conditioning(labels, width)
        self.first = nn.Conv2d(colours, channels, 3, padding=1)
        if max(height, side) > LARGE and min(height, side) > 1:
            self.first = nn.Conv2d(colours, channels, 6, stride=2, padding=2)
            height, side = height // 2, side // 2
        self.levels = nn.ModuleList([_Level(channels, layers, width)])
        self.halvings = nn.ModuleList()
        while max(height, side) > SMALLEST:
            below = 2 * channels if len(self.levels) == 1 else channels
            self.halvings.append(nn.Conv2d(channels, below, 3, stride=2, padding=1))
            self.levels.append(_Level(below, layers, width))
            channels, height, side = below, (height + 1) // 2, (side + 1) // 2
        self.inward = nn.Linear(channels * height * side, 2 * width)
        self.told = nn.Linear(width, 2 * width, bias=False)
        self.last = nn.Linear(2 * width, 1, bias=False)
        nn.init.zeros_(self.last.weight)

    def forward(self, x: Tensor, t: Tensor, given: Tensor | None) -> Tensor:
        if not self.training:  # there the plan has chosen
            x = x.contiguous(memory_format=torch.channels_last)
        told = self.conditioning(t, given)
        h, found = self.levels[0](self.first(x), told)
        for halve, level in zip(self.halvings, list(self.levels)[1:], strict=True):
            h, more = level(halve(h), told)
            found = found + more
        seen = F.silu(self.inward(F.silu(h).flatten(1)) + self.told(told))
        return cast(Tensor, found + self.last(seen)[:, 0].float())


@final
class _Level(nn.Module):
    """Residual blocks at one size, and what is read out of them."""

    def __init__(self, channels: int, layers: int, width: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_Block(channels, width) for _ in range(layers))
        self.features = nn.Conv2d(channels, channels, 1)
        self.weights = nn.Linear(width, channels)
        nn.init.zeros_(self.weights.weight)
        nn.init.zeros_(self.weights.bias)

    def forward(self, h: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        for block in self.blocks:
            h = block(h, told)
        v = self.features(h).float()
        sizes = ((1 + v.square()).sqrt() - 1).sum((2, 3))
        return h, (sizes * self.weights(told).float()).sum(1)


@final
class _Block(nn.Module):
    r""":math:`h + W_2 * \mathrm{silu}(W_1 * \mathrm{silu}(h) + V c)` with what it is told, c."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.inward = nn.Conv2d(channels, channels, 3, padding=1)
        self.told = nn.Linear(width, channels)
        self.outward = nn.Conv2d(channels, channels, 3, padding=1)
        with torch.no_grad():
            self.outward.weight.mul_(QUIET)

    def forward(self, h: Tensor, told: Tensor) -> Tensor:
        inner = self.inward(F.silu(h)) + self.told(told)[:, :, None, None]
        return h + cast(Tensor, self.outward(F.silu(inner)))
