"""From options to Gaussian components: which covariance, and numbers within their ranges."""

from __future__ import annotations

import math

from ...errors import BadInput, RangeError, require_whole
from .gaussian_components import DenseGaussian, DiagonalGaussian, GaussianComponents
from .lowrank_components import LowRankGaussian

__all__ = ["gaussian_components"]

LARGEST = 2**31
"""The most entries of the covariances together (16 GB): beyond it only diagonal ones are sensible."""


def gaussian_components(
    components: int,
    entries: int,
    covariance: str,
    *,
    rank: int,
    isotropic: bool,
    shrinkage: float | None,
    floor: float,
) -> GaussianComponents:
    """The components that the options describe.

    Raises:
        RangeError: if a number is out of range.
        BadInput: if the covariance is of no known kind, or too large for the memory.
    """
    require_whole("rank", rank, 1, 10_000)
    if shrinkage is not None and not 0 <= shrinkage < math.inf:
        raise RangeError("shrinkage must be a number of data, 0 or more, or None.", got=shrinkage)
    if not 0 < floor < math.inf:
        raise RangeError("floor must be positive: without it a variance can collapse to nothing.", got=floor)
    if covariance in ("diagonal", "spherical"):
        spherical = covariance == "spherical"
        return DiagonalGaussian(components, entries, spherical=spherical, floor=floor, shrinkage=shrinkage)
    if (components if covariance != "tied" else 1) * entries**2 > LARGEST:
        raise BadInput(
            "The covariances would not fit into memory.",
            got=f"{components} of {entries} × {entries}",
            hint="use covariance=diagonal, or fewer components",
        )
    if covariance in ("full", "tied"):
        return DenseGaussian(components, entries, tied=covariance == "tied", floor=floor, shrinkage=shrinkage)
    if covariance == "lowrank":
        rank = min(rank, max(1, entries - 1))
        return LowRankGaussian(components, entries, rank=rank, isotropic=isotropic, floor=floor, shrinkage=shrinkage)
    raise BadInput("covariance must be one of full, tied, diagonal, spherical, lowrank.", got=covariance)
