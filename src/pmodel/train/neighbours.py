"""Samples beside data, seen through the distances between them: what the doctor looks at."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor
from torch.nn import functional as F

from ..domain import Domain, Sequences

__all__ = ["Columns", "copied", "differ", "nearest"]

SIDE = 8
"""Pixels a side of the pictures that distances are taken between: handwritten digits are still told apart."""
FARTHEST = 1e9
"""Standard deviations at which a coordinate is cut off, so that squares of distances stay finite."""
ERRORS = 4
"""Standard errors beyond which two shares differ: by chance that happens once in 30 000 times."""


@final
class Columns:
    """Data as rows of standardised numbers, ``(N, *shape) -> (N, D)`` float32; what is missing is the mean.

    Pictures are averaged down to ``SIDE`` pixels a side, and have one scale for all of them: the border, where nothing ever
    happens, would be blown up otherwise.

    Args:
        domain: What one datum is.
        train: Data whose means and scales are taken, ``(N, *shape)``.
    """

    def __init__(self, domain: Domain, train: Tensor) -> None:
        self.image = domain.image
        self.end = domain.end if isinstance(domain, Sequences) else None
        rows = self._rows(train)
        self.loc = rows.nanmean(0).nan_to_num()
        variance = (rows - self.loc).square()
        scale = (variance.nanmean() if self.image else variance.nanmean(0)).nan_to_num().sqrt()
        self.scale = torch.where(scale > 0, scale, 1.0)

    def __call__(self, x: Tensor) -> Tensor:
        """The rows of some data."""
        rows = (self._rows(x) - self.loc) / self.scale
        return rows.nan_to_num(0.0).clamp(-FARTHEST, FARTHEST).float()

    def _rows(self, x: Tensor) -> Tensor:
        if self.end is not None:
            x = x.double().masked_fill(x == self.end, torch.nan)
        if not self.image:
            return x.cpu().double().flatten(1)
        height, width = (min(SIDE, side) for side in x.shape[2:])
        return F.adaptive_avg_pool2d(x.cpu().float(), (height, width)).double().flatten(1)


def nearest(distances: Tensor) -> Tensor:
    """The distance of each point to the nearest other one, from all distances ``(N, N)``."""
    return distances.clone().fill_diagonal_(math.inf).min(1).values


def differ(samples: Tensor, data: Tensor) -> bool:
    """Whether samples and data differ: whether the nearest other point is too often of the same kind (Schilling 1986).

    Where both have one distribution, half of the points have a nearest one of their own kind.
    """
    n = min(len(samples), len(data))
    points, kind = torch.cat([samples[:n], data[:n]]), torch.arange(2 * n) < n
    neighbour = torch.cdist(points, points).fill_diagonal_(math.inf).argmin(1)
    same = float((kind[neighbour] == kind).double().mean())
    return same > 0.5 + ERRORS * 0.5 / math.sqrt(2 * n)


def copied(points: Tensor, train: Tensor) -> float:
    """The share of points that lie three times nearer to one training datum than to any other (Yoon et al. 2023)."""
    if len(train) < 2:
        return 0.0
    exact = "donot_use_mm_for_euclid_dist"  # duplicates must be equally far away, at distance zero too
    first, second = torch.cdist(points, train, compute_mode=exact).topk(2, largest=False).values.unbind(1)
    return float((3 * first < second).double().mean())
