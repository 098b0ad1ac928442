r"""The sliced Wasserstein distance of order 2 between two sets of rows, in standard deviations of the second.

.. math:: \mathrm{SW}_2^2(P, Q) = \int_{S^{D-1}} W_2^2(\theta_\# P, \theta_\# Q) \, d\theta, \qquad
          W_2^2(\theta_\# P, \theta_\# Q) = \int_0^1 \bigl(F_\theta^{-1}(u) - G_\theta^{-1}(u)\bigr)^2 du

with the quantile functions :math:`F_\theta^{-1}, G_\theta^{-1}` of the projections on the direction :math:`\theta`, and the
mean over the sphere. Every column is first divided by its standard deviation in the reference, so that moving the samples by
one standard deviation in every column is a distance of 1, whatever D is.

Directions come in whole orthonormal bases where the dimensions allow it: over a basis the squares of a shift add up exactly.
Quantile functions of samples are steps, n of them against m. On a step :math:`i` of the samples' the reference has the mean
:math:`\bar y_i`, and by Pythagoras the integral is :math:`\frac1n \sum_i (x_{(i)} - \bar y_i)^2` plus what the reference
varies within steps: exact for unequal sizes, and after one look at the reference a sort for each set of samples.

Source:
    Wasserstein Barycenter and Its Application to Texture Mixing (Rabin et al., 2011), eq. 8
    https://doi.org/10.1007/978-3-642-24785-9_37
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..randomness import generator
from .resampling import DRAWS, LEAST, MOST_BOOTSTRAP, stderr_of
from .rows import matrix, same_columns

__all__ = ["DIRECTIONS", "SlicedWasserstein", "sliced_wasserstein"]

DIRECTIONS = 128
"""At least so many, up to whole bases; one basis from here up to ``MOST_BOOTSTRAP`` dimensions, a part of one above."""
Floats = npt.NDArray[np.float64]
CHUNK = 2**22
"""Projections of either set that are sorted at a time."""
WORK, LEAST_DRAWS = 2**27, 20
"""Projections that all draws of the bootstrap together may sort: where samples are many, draws are fewer, but 20 at least."""


@final
@dataclass(frozen=True, kw_only=True)
class SlicedWasserstein:
    """A sliced Wasserstein distance.

    Args:
        value: The distance of order 2, in standard deviations of the reference.
        stderr: From the draw of the samples, the reference being given; None where they are too few. At the floor, where the
            distance is of second order in the samples' deviations, it is up to 1.7 times too large.
        directions: How many.
        n: Samples.
        n_reference: Rows of the reference.
        flags: What makes the number less than it seems.
    """

    value: float
    stderr: float | None
    directions: int
    n: int
    n_reference: int
    flags: tuple[str, ...] = ()


def sliced_wasserstein(
    samples: Tensor, reference: Tensor, *, seed: int = 0, directions: int = DIRECTIONS
) -> SlicedWasserstein:
    """How far samples must be moved to become the reference. Of a single column it is the distance itself.

    Args:
        samples: ``(N, D)``.
        reference: ``(M, D)``: what the units come from.
        seed: Of the directions and the bootstrap: distances with one seed are taken along the same directions.
        directions: At least so many where the dimensions are fewer; see ``DIRECTIONS``.

    Raises:
        ShapeError: if these are not two matrices with the same columns.
        RangeError: if an entry is not finite.
        BadInput: if there is no sample, or only one row of the reference.
    """
    samples = matrix(samples, least=1, what="Samples").cpu()
    reference = matrix(reference, least=2, what="Real data").cpu()
    same_columns(samples.shape[1], reference.shape[1])
    loc, scale, constant = _units(reference)
    samples, n = (samples - loc) / scale, len(samples)
    thetas = _directions(samples.shape[1], directions, seed)
    real = _Reference((reference - loc) / scale, torch.split(thetas, max(1, CHUNK // max(n, len(reference)))))
    draws = min(DRAWS, max(LEAST_DRAWS, WORK // (n * real.directions)))
    return SlicedWasserstein(
        value=real.distance(samples),
        stderr=stderr_of(real.distance, samples, generator(seed, "sliced", "error"), draws=draws),
        directions=real.directions,
        n=n,
        n_reference=len(reference),
        flags=_flags(n, constant, len(loc)),
    )


class _Reference:
    """Quantiles of the reference along all directions, looked at once for all sets of samples of one size."""

    def __init__(self, reference: Tensor, thetas: Sequence[Tensor]) -> None:
        self.thetas, self.directions = thetas, sum(map(len, thetas))
        self.quantiles = [np.sort((part @ reference.T).numpy(), axis=1) for part in self.thetas]
        self.steps = cache(lambda n: [_steps(quantiles, n) for quantiles in self.quantiles])

    def distance(self, samples: Tensor) -> float:
        total = 0.0
        for thetas, (means, within) in zip(self.thetas, self.steps(len(samples)), strict=True):
            projected = np.sort((thetas @ samples.T).numpy(), axis=1)
            total += float(np.square(projected - means).mean(1).sum()) + within
        return math.sqrt(total / self.directions)


def _units(reference: Tensor) -> tuple[Tensor, Tensor, int]:
    """Mean and standard deviation of each column; 1 for those that are constant, and how many are."""
    loc, scale = reference.mean(0), reference.std(0, correction=0)
    constant = scale <= 1e-12 * (1 + loc.abs())
    return loc, scale.masked_fill(constant, 1.0), int(constant.sum())


def _directions(dimensions: int, least: int, seed: int) -> Tensor:
    """Rows of unit length, ``(P, D)``: of random rotations, uniform by the signs of R's diagonal (Mezzadri 2007)."""
    if dimensions == 1:
        return torch.ones(1, 1, dtype=torch.float64)
    noise = generator(seed, "sliced", "directions")
    bases = []
    for _ in range(max(1, math.ceil(least / dimensions))):
        columns = min(dimensions, MOST_BOOTSTRAP)
        drawn = torch.randn(dimensions, columns, generator=noise, dtype=torch.float64)
        q, r = torch.linalg.qr(drawn)
        bases.append((q * r.diagonal().sign()).T)
    return torch.cat(bases)


def _steps(quantiles: Floats, n: int) -> tuple[Floats, float]:
    """On each of n equal steps the mean of sorted rows ``(P, m)``, ``(P, n)``, and what they vary within steps, summed."""
    m = quantiles.shape[1]
    ends = np.union1d(np.arange(n + 1) * m, np.arange(m + 1) * n)  # in units of 1 / nm
    share, own, theirs = np.diff(ends) / m, ends[:-1] // m, ends[:-1] // n
    pieces = quantiles[:, theirs]
    means = np.add.reduceat(pieces * share, np.searchsorted(own, np.arange(n)), axis=1)
    within = float((np.square(pieces - means[:, own]) * share).sum() / n)
    return means, within


def _flags(n: int, constant: int, columns: int) -> tuple[str, ...]:
    flags = []
    if n < LEAST:
        flags.append(f"{n} sample{'s' * (n > 1)}: too few for a standard error")
    if constant:
        flags.append(f"{constant} of {columns} columns are constant in the reference: these count in their own units")
    return tuple(flags)
