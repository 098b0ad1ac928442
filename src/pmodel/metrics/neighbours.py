r"""Precision and recall, density and coverage: which samples lie among the real data, and which real data among the samples.

The neighbourhood of a datum is the open ball around it that reaches to its k-th nearest neighbour in its own set, itself not
counted; :math:`r_k` is its radius. With samples :math:`x_1 \dots x_n` and real data :math:`y_1 \dots y_m`,

.. math:: \text{precision} &= \tfrac1n \sum_i [\exists j: |x_i - y_j| < r_k(y_j)], &
          \text{recall} &= \tfrac1m \sum_j [\exists i: |x_i - y_j| < r_k(x_i)], \\
          \text{density} &= \tfrac{1}{kn} \sum_{i,j} [|x_i - y_j| < r_k(y_j)], &
          \text{coverage} &= \tfrac1m \sum_j [\exists i: |x_i - y_j| < r_k(y_j)] .

*Standard errors* are those of the draw of both sets, whose variances add. Given the neighbourhoods, the points that are looked
for in them are independent trials: precision and recall have a binomial error from these, density that of a mean. But all
points share the neighbourhoods, and to draw these anew moves all points together, which a binomial error does not see. That
part is the grouped jackknife's over the set that the neighbourhoods are of, radii and all; for coverage, over either set.

Source:
    Improved Precision and Recall Metric for Assessing Generative Models (Kynkäänniemi et al., 2019), eq. 1 and 2
    Reliable Fidelity and Diversity Metrics for Generative Models (Naeem et al., 2020), eq. 3 and 4
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Generator, Tensor
from torch.nn.functional import one_hot

from .nearest import distances, nearest, refine
from .resampling import GROUPS, LEAST, binomial_stderr, delete_m
from .rows import all_equal, matrix, same_columns

__all__ = ["Neighbourhoods", "Overlap", "Overlaps", "overlaps_of"]

K_PRECISION = 3
"""Neighbours of precision and recall, as in their paper."""
K_DENSITY = 5
"""Neighbours of density and coverage, as in theirs."""
CHUNK = 2**16
"""Pairs of a point and a neighbourhood's shell that are compared with all groups at a time."""
SPARE = 8
"""Neighbours kept beyond those, for radii without a group: more of one group among them are too unlikely to matter."""


@final
@dataclass(frozen=True)
class Overlap:
    """How one set lies among the neighbourhoods of the other.

    Args:
        value: A share, or for density a ratio.
        stderr: From the draw of both sets; None where either has too few data.
        flags: Sentences on what makes the value less than it seems.
    """

    value: float
    stderr: float | None
    flags: tuple[str, ...] = ()


@final
@dataclass(frozen=True)
class Overlaps:
    """The four of them.

    Args:
        precision: Share of samples among real data.
        recall: Share of real data among samples.
        density: In how many neighbourhoods of real data a sample lies, over k.
        coverage: Share of real data whose neighbourhood holds a sample.
    """

    precision: Overlap
    recall: Overlap
    density: Overlap
    coverage: Overlap


@final
class Neighbourhoods:
    """Features with their nearest neighbours among themselves, found once for all that is looked for among them.

    Args:
        features: ``(N, D)``.
        generator: Of the jackknife's groups, on the CPU.
        most: The largest k that will be asked for.

    Raises:
        ShapeError: if it is not a matrix.
        RangeError: if a feature is not finite.
        BadInput: if there are no more data than ``most``.
    """

    def __init__(self, features: Tensor, generator: Generator, *, most: int = max(K_PRECISION, K_DENSITY)) -> None:
        self.x = matrix(features)
        kept = most if len(self.x) <= most + SPARE else most + SPARE
        self.near, self.which = nearest(self.x, self.x, kept, itself=True)
        self.groups = min(GROUPS, len(self.x))
        place = torch.randperm(len(self.x), generator=generator).to(self.x.device)
        self.group = place * self.groups // len(self.x)
        self.members = one_hot(self.group, self.groups).float()

    def __len__(self) -> int:
        return len(self.x)

    def radii(self, k: int) -> Tensor:
        """Squared, ``(N,)``."""
        return self.near[:, k - 1]

    def radii_without(self, group: int, k: int) -> Tensor:
        """Squared, ``(N,)``, were the data of a group not there; 0 for these themselves, whose neighbourhoods hold nothing."""
        rank = (self.group[self.which] != group).cumsum(1)
        place = (rank < k).sum(1, keepdim=True).clamp_max(self.near.shape[1] - 1)
        return torch.where(self.group == group, 0.0, self.near.gather(1, place)[:, 0])

    def flags(self, whose: str, k: int) -> list[str]:
        """What is to be said of their neighbourhoods."""
        empty = int((self.radii(k) == 0).sum())
        if not empty or (same := all_equal(self.x, whose)):
            return same if empty else []
        return [f"{empty} of {len(self)} {whose} have {k} others just where they are: such neighbourhoods hold nothing"]


@dataclass(frozen=True)
class Counts:
    """What lies where: points in the neighbourhoods of centres.

    Args:
        of_points: In how many neighbourhoods each point lies, ``(N,)``.
        of_points_without: The same without each group of centres, ``(N, G)``.
        of_centres: Points in each neighbourhood by the points' group, ``(M, G)``.
        hit_without: Whether each neighbourhood holds a point without each group of other centres, ``(M, G)``.
    """

    of_points: Tensor
    of_points_without: Tensor
    of_centres: Tensor
    hit_without: Tensor


def overlaps_of(
    real: Neighbourhoods, samples: Neighbourhoods, *, k: int = K_PRECISION, k_density: int = K_DENSITY
) -> Overlaps:
    """Precision, recall, density and coverage of samples.

    Args:
        real: The real data.
        samples: On the same device.
        k: Neighbours of precision and recall.
        k_density: Neighbours of density and coverage.

    Raises:
        ShapeError: if the features differ in number.
    """
    same_columns(real.x.shape[1], samples.x.shape[1])
    among_real, among_samples = _count(samples, real, k), _count(real, samples, k)
    dense = among_real if k_density == k else _count(samples, real, k_density)
    of_real, of_dense = real.flags("real data", k), real.flags("real data", k_density)
    return Overlaps(
        _share(among_real, samples, real, of_real),
        _share(among_samples, real, samples, samples.flags("samples", k)),
        _density(dense, samples, real, k_density, of_dense),
        _coverage(dense, samples, real, of_dense),
    )


def _count(points: Neighbourhoods, centres: Neighbourhoods, k: int) -> Counts:
    """What lies where, from the distances in chunks.

    Without a group of centres its own neighbourhoods are gone, and others reach to their next neighbour: what is new in these
    lies in a thin shell beyond the radius, where few points are, so that each is looked at by itself.
    """
    radii, without = centres.radii(k), torch.stack([centres.radii_without(g, k) for g in range(centres.groups)], 1)
    widest = without.amax(1)
    of_points, of_centres = radii.new_zeros(len(points), centres.groups), radii.new_zeros(len(centres), points.groups)
    more = radii.new_zeros(len(points), centres.groups)
    reached = radii.new_zeros(len(centres), centres.groups)
    for rows, rough, error in distances(points.x, centres.x):
        apart = refine(rough, error, radii, points.x[rows], centres.x)
        inside = apart < radii
        _tally(inside, points.members[rows], centres.members, of_points[rows], of_centres)
        i, j = ((apart < widest) & ~inside).nonzero(as_tuple=True)
        for a, b in zip(torch.split(i, CHUNK), torch.split(j, CHUNK), strict=True):
            new = (apart[a, b][:, None] < without[b]).double()
            more[rows].index_add_(0, a, new)
            reached.index_add_(0, b, new)
    total = of_points.sum(1, keepdim=True)
    held = of_centres.sum(1, keepdim=True) > 0
    return Counts(total[:, 0], total - of_points + more, of_centres, held | (reached > 0))


def _tally(inside: Tensor, points: Tensor, centres: Tensor, of_points: Tensor, of_centres: Tensor) -> None:
    """Adds how many centres of each group hold a point, and how many points of each group a centre holds: whole, so exact."""
    ones = inside.float()
    of_points += ones @ centres
    of_centres += ones.T @ points


def _share(counts: Counts, points: Neighbourhoods, centres: Neighbourhoods, flags: list[str]) -> Overlap:
    """The share of points that lie in any neighbourhood."""
    found = counts.of_points > 0
    value = float(found.double().mean())
    without = (counts.of_points_without > 0).double().mean(0)
    return Overlap(
        value, _total(binomial_stderr(int(found.sum()), len(points)), _jackknife(value, without, centres)), tuple(flags)
    )


def _density(counts: Counts, points: Neighbourhoods, centres: Neighbourhoods, k: int, flags: list[str]) -> Overlap:
    of_points = counts.of_points.double() / k
    value = float(of_points.mean())
    without = counts.of_points_without.double().mean(0) / k
    own = float(of_points.std()) / math.sqrt(len(points))
    return Overlap(value, _total(own, _jackknife(value, without, centres)), tuple(flags))


def _coverage(counts: Counts, points: Neighbourhoods, centres: Neighbourhoods, flags: list[str]) -> Overlap:
    held = counts.of_centres.sum(1)
    value = float((held > 0).double().mean())
    of_points = _jackknife(value, (held[:, None] > counts.of_centres).double().mean(0), points)
    others = centres.group[:, None] != torch.arange(centres.groups, device=centres.group.device)
    without = (counts.hit_without & others).sum(0) / others.sum(0)
    stderr = _total(of_points, _jackknife(value, without, centres))
    return Overlap(value, None if stderr is None else max(stderr, 1 / len(centres)), tuple(flags))


def _jackknife(value: float, without: Tensor, of: Neighbourhoods) -> float | None:
    """The error from the draw of one set; None where there are too few data to leave a group out."""
    if len(of) < LEAST:
        return None
    return delete_m(value, without.tolist(), torch.bincount(of.group, minlength=of.groups).double().cpu())


def _total(*errors: float | None) -> float | None:
    """Variances of independent draws add."""
    known = [error for error in errors if error is not None]
    return math.hypot(*known) if len(known) == len(errors) else None
