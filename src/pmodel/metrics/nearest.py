r"""Nearest neighbours, exactly and in bounded memory.

All distances at once come from one product of matrices, :math:`\lVert x \rVert^2 + \lVert y \rVert^2 - 2 x^\top y`, which is
quick but a difference of large numbers: two equal points may come out apart, and a distance may be wrong in all its digits. So
the product only says which pairs matter. Its error is at most

.. math:: \delta = 2 (D + 8) \, \varepsilon \, (\lVert x \rVert^2 + \max_j \lVert y_j \rVert^2)

about the centre of the y (Higham 2002, section 3.1), and wherever that could change an answer, the distance is computed anew
as :math:`\sum_k (x_k - y_k)^2`: exactly 0 for equal points, the same in either direction, and right to nearly all digits. A
point is kept from being its own neighbour by its position, not by its distance.

Source:
    Accuracy and Stability of Numerical Algorithms (Higham, 2002)
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..errors import BadInput

__all__ = ["distances", "nearest", "refine", "squared"]

CHUNK = 2**20
"""Distances, or entries of differences, that are held at a time: 8 MiB."""
SPARE = 8
"""Candidates beyond those asked for, so that rounding seldom makes the choice among them unsure."""


def nearest(x: Tensor, y: Tensor, k: int, *, itself: bool = False) -> tuple[Tensor, Tensor]:
    """The k nearest of the y for each x: squared distances in ascending order and positions, each ``(N, k)``.

    Args:
        x: ``(N, D)`` float64, finite.
        y: ``(M, D)`` float64, finite, on the same device.
        k: How many.
        itself: Whether the y are the x, and none is its own neighbour.

    Raises:
        BadInput: if there are too few y.
    """
    others = len(y) - itself
    if not 1 <= k <= others:
        raise BadInput(
            f"{k} nearest neighbours need at least {k + itself} points.", got=len(y), hint="draw more samples"
        )
    found = x.new_empty(len(x), k), torch.empty(len(x), k, dtype=torch.int64, device=x.device)
    for rows, rough, error in distances(x, y):
        if itself:
            rough[:, rows].fill_diagonal_(torch.inf)
        found[0][rows], found[1][rows] = _chosen(x[rows], y, rough, error, k, others)
    return found


def distances(x: Tensor, y: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Rough squared distances to all y, some x at a time: which x, ``(n, M)``, and the most that a row is wrong, ``(n, 1)``."""
    centre = y.mean(0)
    y = y - centre
    norms = y.square().sum(1)
    largest = norms.max() if len(norms) else norms.new_zeros(())
    unit = 2 * (x.shape[1] + 8) * torch.finfo(torch.float64).eps
    step = max(1, CHUNK // max(1, len(y)))
    for start in range(0, len(x), step):
        rows = slice(start, min(start + step, len(x)))
        part = x[rows] - centre
        own = part.square().sum(1, keepdim=True)
        rough = torch.addmm(norms, part, y.T, alpha=-2).add_(own).clamp_min_(0)
        yield rows, rough, unit * (own + largest)


def squared(x: Tensor, y: Tensor, i: Tensor, j: Tensor) -> Tensor:
    """Squared distances of the pairs ``x[i], y[j]``, from differences."""
    step = max(1, CHUNK // max(1, x.shape[1]))
    parts = [(x[a] - y[b]).square_().sum(1) for a, b in zip(torch.split(i, step), torch.split(j, step), strict=True)]
    return torch.cat(parts) if parts else x.new_empty(0)


def refine(rough: Tensor, error: Tensor, limits: Tensor, x: Tensor, y: Tensor, i: Tensor, j: Tensor) -> Tensor:
    """Rough distances of the pairs ``x[i], y[j]``, made exact where rounding leaves open whether they are below a limit.

    Args:
        rough: ``(P,)``, changed in place.
        error: The most that each is wrong, ``(P, 1)``.
        limits: ``(P, L)``.
        x: Points.
        y: Points.
        i: Positions, ``(P,)``.
        j: Positions, ``(P,)``.
    """
    unsure = ((rough[:, None] - limits).abs_() <= error).any(1)
    rough[unsure] = squared(x, y, i[unsure], j[unsure])
    return rough


def _chosen(x: Tensor, y: Tensor, rough: Tensor, error: Tensor, k: int, others: int) -> tuple[Tensor, Tensor]:
    """The nearest of each row: from a few candidates, or where these may not hold them all, from whatever may be as near."""
    candidates = min(k + SPARE, others)
    least, which = torch.topk(rough, candidates, largest=False)
    rows = torch.arange(len(x), device=x.device).repeat_interleave(candidates)
    exact, order = squared(x, y, rows, which.flatten()).view_as(least).sort(1)
    values, positions = exact[:, :k].clone(), which.gather(1, order)[:, :k]
    kth = values[:, -1:]
    unsure = (least[:, -1:] - error < kth) & (kth > 0) & (candidates < others)
    for row in unsure[:, 0].nonzero()[:, 0].tolist():
        near = (rough[row] <= kth[row] + error[row]).nonzero()[:, 0]
        exact_near, order_near = squared(x, y, torch.full_like(near, row), near).sort()
        values[row], positions[row] = exact_near[:k], near[order_near[:k]]
    return values, positions
