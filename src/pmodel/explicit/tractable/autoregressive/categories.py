"""Categories drawn by the inverse of their cumulative distribution: the same uniform numbers, the same categories."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["cumulative", "inverse_cdf"]


def cumulative(logits: Tensor) -> Tensor:
    """Cumulative probabilities ``(N, K)``, ending with one whatever rounding made of it."""
    sums = (logits if logits.dtype == torch.float64 else logits.float()).softmax(1).cumsum(1)
    sums[:, -1] = 1
    return sums


def inverse_cdf(logits: Tensor, u: Tensor) -> Tensor:
    """The first category ``(N,)`` whose cumulative probability exceeds u ``(N, 1)``."""
    return torch.searchsorted(cumulative(logits), u.contiguous(), right=True).squeeze(1)
