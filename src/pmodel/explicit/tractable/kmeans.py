"""k-means++ (Arthur and Vassilvitskii 2007) with some of Lloyd's iterations: where a mixture starts."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

__all__ = ["kmeans"]


def kmeans(x: Tensor, clusters: int, generator: Generator, *, restarts: int = 3, iterations: int = 20) -> Tensor:
    """The best of several partitions of the rows of ``x`` ``(N, D)`` by the sum of squared distances.

    Args:
        x: Data, float64.
        clusters: At most this many clusters; fewer if there are fewer distinct data.
        generator: For the seeds.
        restarts: How many partitions to try.
        iterations: Most iterations for each.

    Returns:
        The cluster of each row, ``(N,)``.
    """
    x = x - x.mean(0)
    best, least = torch.zeros(len(x), dtype=torch.int64, device=x.device), torch.inf
    for _ in range(restarts):
        labels, cost = _lloyd(x, _seeds(x, clusters, generator), iterations)
        if cost < least:
            best, least = labels, cost
    return best


def _seeds(x: Tensor, clusters: int, generator: Generator) -> Tensor:
    """Data drawn one after another, each with probability proportional to the squared distance to the nearest so far."""
    first = torch.randint(len(x), (1,), generator=generator, device=x.device)
    seeds = [x[first[0]]]
    distance = (x - seeds[0]).square().sum(1)
    while len(seeds) < clusters and bool(distance.max() > 0):
        chosen = torch.searchsorted(
            distance.cumsum(0), torch.rand(1, generator=generator, dtype=x.dtype, device=x.device) * distance.sum()
        )
        seeds.append(x[chosen[0].clamp_max(len(x) - 1)])
        distance = torch.minimum(distance, (x - seeds[-1]).square().sum(1))
    return torch.stack(seeds)


def _lloyd(x: Tensor, centres: Tensor, iterations: int) -> tuple[Tensor, float]:
    """Alternate between nearest centres and their means; a centre that loses its data stays where it is."""
    norms, labels = x.square().sum(1), torch.full((len(x),), -1, device=x.device)
    for _ in range(iterations):
        distance = torch.addmm(centres.square().sum(1), x, centres.T, alpha=-2)
        nearest, new = distance.min(1)
        if torch.equal(new, labels):
            break
        labels = new
        sums = torch.zeros_like(centres).index_add_(0, labels, x)
        counts = torch.bincount(labels, minlength=len(centres)).to(x.dtype)
        centres = torch.where(counts[:, None] > 0, sums / counts.clamp_min(1)[:, None], centres)
    return labels, float((norms + nearest).sum())
