r"""What a denoising network is told beside the noisy datum: the time, and the label if there is one.

A network that is sometimes not told the label learns both p(x | y) and p(x), which classifier-free guidance needs (Ho &
Salimans 2022, https://arxiv.org/abs/2207.12598). No label is the label ``NONE``, which adds nothing.

The time enters as waves of geometrically growing frequencies (Vaswani et al. 2017, section 3.5; Ho et al. 2020, appendix B),

.. math:: \left(\cos \omega_k t, \sin \omega_k t\right)_{k < K}, \qquad \omega_k = 1000^{k / (K - 1)}, \quad t \in (0, 1],

through a perceptron of one hidden layer; the label as a vector of its own, added.
"""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

__all__ = ["NONE", "Conditioning", "left_out", "waves"]

NONE = -1
"""In place of a label: nothing is told."""

FREQUENCIES = 32
"""Frequencies of the waves."""
FINEST = 1000.0
"""The highest, in radians: the slowest wave tells early from late, this one a thousandth from the next."""


def waves(t: Tensor) -> Tensor:
    """``(N,)`` times in (0, 1] to ``(N, 2 · FREQUENCIES)`` numbers in [-1, 1]."""
    exponents = torch.arange(FREQUENCIES, device=t.device, dtype=t.dtype) / (FREQUENCIES - 1)
    angles = t[:, None] * torch.exp(math.log(FINEST) * exponents)
    return torch.cat([angles.cos(), angles.sin()], 1)


def left_out(given: Tensor | None, part: float, generator: Generator) -> Tensor | None:
    """The labels, of which a part is left out at random."""
    if given is None or part == 0:
        return given
    return torch.where(torch.rand(given.shape, generator=generator, device=given.device) < part, NONE, given)


@final
class Conditioning(nn.Module):
    """Time and label as ``(N, width)`` features.

    Args:
        labels: How many classes; 0 for no labels.
        width: Features.
    """

    def __init__(self, labels: int, width: int) -> None:
        super().__init__()
        self.inward = nn.Linear(2 * FREQUENCIES, width)
        self.outward = nn.Linear(width, width)
        self.label = nn.Embedding(labels, width) if labels else None

    def forward(self, t: Tensor, given: Tensor | None = None) -> Tensor:
        """``(N, width)`` from ``(N,)`` times and ``(N,)`` labels, or ``NONE``; without labels, the time alone."""
        told = self.outward(F.silu(self.inward(waves(t).to(self.inward.weight.dtype))))
        if given is not None and self.label is not None:
            told = told + self.label(given.clamp_min(0)) * (given != NONE).unsqueeze(1)
        return F.silu(told)
