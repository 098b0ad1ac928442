"""Between data and what the networks of a game see: levels on [-1, 1], real numbers as they are."""

from __future__ import annotations

import torch
from torch import Tensor

from ...domain import Discrete, Domain

__all__ = ["seen", "shown"]


def seen(x: Tensor, domain: Domain) -> Tensor:
    """Data as the networks see them."""
    return x.float() * (2 / max(1, domain.levels - 1)) - 1 if isinstance(domain, Discrete) else x.float()


def shown(y: Tensor, domain: Domain) -> Tensor:
    """Data from what the networks see: the nearest levels."""
    if not isinstance(domain, Discrete):
        return y
    return ((y + 1) * (max(1, domain.levels - 1) / 2)).round().clamp(0, domain.levels - 1).to(torch.int64)
