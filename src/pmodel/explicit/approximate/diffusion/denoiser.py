r"""Networks that look through noise: from a noisy datum :math:`x_t`, its time t and its label to a datum's worth of numbers.

``denoiser`` chooses: the U-Net for pictures, a residual perceptron for all else. Either is called ``net(x_t, t, given)`` with
``(N, *shape)`` real numbers, ``(N,)`` times in (0, 1] and ``(N,)`` labels or None, and answers ``(N, *shape)``, zero before
training. What the answer means (the noise, the datum, the velocity) is the loss's affair.
"""

from __future__ import annotations

from typing import cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ....domain import Domain
from .conditioning import Conditioning
from .unet import UNet

__all__ = ["Perceptron", "denoiser"]


def denoiser(
    domain: Domain, labels: int, *, channels: int, layers: int, width: int, dropout: float = 0.0
) -> UNet | Perceptron:
    """The network for data of a domain.

    Args:
        domain: Of the data; pictures get the U-Net.
        labels: How many classes a label can name; 0 if there is none.
        channels: Of the U-Net's first level.
        layers: Residual blocks of each level of the U-Net, on the way down and on the way up. The perceptron has four times as
            many, which is what a U-Net of two levels has.
        width: Features of time and label; and of the perceptron's hidden layers.
        dropout: The part of the features within a residual block that training leaves out.
    """
    if domain.image:
        return UNet(domain.shape, labels, channels=channels, layers=layers, width=width, dropout=dropout)
    return Perceptron(domain.shape, labels, layers=4 * layers, width=width, dropout=dropout)


@final
class Perceptron(nn.Module):
    """Residual layers over all entries at once.

    Args:
        shape: Of one datum.
        labels: How many classes; 0 for no labels.
        layers: Residual blocks.
        width: Features.
        dropout: See ``denoiser``.
    """

    def __init__(self, shape: tuple[int, ...], labels: int, *, layers: int, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        entries = torch.Size(shape).numel()
        self.conditioning = Conditioning(labels, width)
        self.first = nn.Linear(entries, width)
        self.blocks = nn.ModuleList(_Block(width, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.last = nn.Linear(width, entries)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor, t: Tensor, given: Tensor | None = None) -> Tensor:
        """``(N, *shape)`` from noisy data, times and labels."""
        told = self.conditioning(t, given)
        h = self.first(x.reshape(len(x), self.first.in_features))
        for block in self.blocks:
            h = block(h, told)
        return cast(Tensor, self.last(F.silu(self.norm(h)))).reshape(x.shape)


class _Block(nn.Module):
    r""":math:`h + W_2\,\mathrm{silu}(W_1\,\mathrm{silu}(\mathrm{norm}(h)) + V c)` with what it is told, c."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inward = nn.Linear(width, width)
        self.told = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.outward = nn.Linear(width, width)

    def forward(self, h: Tensor, told: Tensor) -> Tensor:
        inner = self.inward(F.silu(self.norm(h))) + self.told(told)
        return h + cast(Tensor, self.outward(self.dropout(F.silu(inner))))
