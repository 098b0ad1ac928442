r"""Layers of adversarial pairs that grow (Karras et al. 2018, https://arxiv.org/abs/1710.10196, section 4 and appendix A).

**Equalised learning rate.** Weights start from N(0, 1) and are scaled at run time by He's constant c,

.. math:: y = c \, \hat w * x + b, \qquad \hat w \sim N(0, 1), \quad c = g / \sqrt{\text{fan-in}},

so that :math:`\partial L / \partial \hat w = c \, \partial L / \partial w`. Adam's steps do not depend on the scale of a
gradient, so every layer moves by the same part of its range, whatever its fan-in.

**Pixel norm** keeps the features of a generator from running away in its race with the discriminator:

.. math:: b_{cij} = a_{cij} \big/ \sqrt{\tfrac1C \sum_{c'} a_{c'ij}^2 + \epsilon}.

**Minibatch deviation** shows a discriminator how much its data differ, so that samples that are too much alike are found out:
one more channel that holds everywhere

.. math:: s = \frac{1}{C H W} \sum_{cij} \sqrt{\tfrac1N \sum_n (x_{ncij} - \bar x_{cij})^2 + \epsilon}.

**Slopes of a discriminator that sees a batch.** With the deviation each logit :math:`D_n` depends on all data of its batch, and
a penalty on slopes "at one datum" has to say what it means. Here it is the paper's: the slope at :math:`x_n` is that of
:math:`S(x_1, \dots, x_N) = \sum_n D_n(x_1, \dots, x_N)`, with what :math:`x_n` does to the others' logits. S is what moves
samples: the generator descends a function of all logits of its batch, whose gradient at a sample is the sum of the slopes of
all of them, and near the equilibrium, where the losses' derivatives at all logits agree, it is that of S up to a factor. R1
and R2 of S are the zero-centred penalties of the game on batches as single data (as they are under packing), for which the
proofs of local convergence carry over. With the deviation held fixed instead, that path would carry a force on samples
that nothing dampens.
"""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .game.halvings import doubled, halved

__all__ = [
    "Doubled",
    "EqualisedConvolution",
    "EqualisedLinear",
    "Halved",
    "MinibatchDeviation",
    "PixelNorm",
]

GAIN = math.sqrt(2)
"""He's gain g, for layers that a rectifier follows."""
EPSILON = 1e-8
"""Under the roots, as in the paper."""


@final
class EqualisedConvolution(nn.Conv2d):
    """A convolution of stride one that keeps the sides, with an equalised learning rate.

    Args:
        inputs: Channels of x.
        outputs: Channels of y.
        kernel: Its side, odd.
        gain: g.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, gain: float = GAIN) -> None:
        super().__init__(inputs, outputs, kernel, padding=kernel // 2)
        self.constant = gain / math.sqrt(inputs * kernel**2)

    def reset_parameters(self) -> None:
        """Weights from N(0, 1), biases zero."""
        _reset(self)

    def forward(self, x: Tensor) -> Tensor:
        """From ``(N, inputs, H, W)`` to ``(N, outputs, H, W)``."""
        return F.conv2d(x, self.constant * self.weight, self.bias, padding=self.kernel_size[0] // 2)


@final
class EqualisedLinear(nn.Linear):
    """A linear map with an equalised learning rate.

    Args:
        inputs: Entries of x.
        outputs: Entries of y.
        gain: g.
        bias: Whether b is added.
    """

    def __init__(self, inputs: int, outputs: int, gain: float = GAIN, *, bias: bool = True) -> None:
        super().__init__(inputs, outputs, bias=bias)
        self.constant = gain / math.sqrt(inputs)

    def reset_parameters(self) -> None:
        """Weights from N(0, 1), biases zero."""
        _reset(self)

    def forward(self, x: Tensor) -> Tensor:
        """From ``(N, inputs)`` to ``(N, outputs)``."""
        return F.linear(x, self.constant * self.weight, self.bias)


def _reset(layer: nn.Conv2d | nn.Linear) -> None:
    nn.init.normal_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


@final
class PixelNorm(nn.Module):
    """Features ``(N, C, ...)`` divided by their root mean square over the channels."""

    def forward(self, x: Tensor) -> Tensor:
        """Of the same shape."""
        return x * torch.rsqrt(x.square().mean(1, keepdim=True) + EPSILON)


@final
class MinibatchDeviation(nn.Module):
    """Features ``(N, C, H, W)`` with one channel more: the mean deviation s of all features over the batch."""

    def forward(self, x: Tensor) -> Tensor:
        """To ``(N, C + 1, H, W)``."""
        s = (x.var(0, correction=0) + EPSILON).sqrt().mean()
        return torch.cat([x, s.expand(len(x), 1, *x.shape[2:])], 1)


@final
class Halved(nn.Module):
    """``halved`` as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        """From ``(N, C, H, W)`` to half the sides."""
        return halved(x)


@final
class Doubled(nn.Module):
    """``doubled`` as a layer.

    Args:
        size: The sides of its answer.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """From half the sides to ``(N, C, *size)``."""
        return doubled(x, self.size)
