"""Categories: read by networks on one scale, and drawn by the inverse of their cumulative distribution.

The same uniform numbers give the same categories.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ....distribution import wide

__all__ = ["cumulative", "inverse_cdf", "scaled"]


def cumulative(logits: Tensor) -> Tensor:
    """Cumulative probabilities ``(N, K)``; divided by the last, so that all after the last possible category are one."""
    sums = wide(logits).softmax(1).cumsum(1)
    return sums / sums[:, -1:]


def inverse_cdf(logits: Tensor, u: Tensor) -> Tensor:
    """The first category ``(N,)`` whose cumulative probability exceeds u ``(N, 1)``, below 1: never one that is impossible.

    Where no category is possible it is the last.
    """
    chosen = torch.searchsorted(cumulative(logits), u.contiguous(), right=True)
    return chosen.clamp_max(logits.shape[1] - 1).squeeze(1)


def scaled(x: Tensor, levels: int, dtype: torch.dtype) -> Tensor:
    """Levels 0 … L - 1 on the scale [-1, 1], as networks read them."""
    return x.to(dtype) * (2 / (levels - 1)) - 1
