"""One Gaussian."""

from __future__ import annotations

from typing import Literal, Self, final

import torch
from torch import Generator, Tensor

from ...domain import Domain, Real
from .em import WeightedSum
from .gaussian_components import GaussianComponents
from .gaussian_options import gaussian_components

__all__ = ["Gaussian"]


@final
class Gaussian(WeightedSum):
    r"""A Gaussian by maximum likelihood: the mean, and the mean outer product about it.

    .. math:: \mu = \frac1n \sum_i x_i, \qquad \Sigma = \frac1n \sum_i (x_i - \mu)(x_i - \mu)^\top

    Maximum likelihood divides by n; the unbiased estimate, which divides by n - 1, is less likely. For entries a and b,
    :math:`x_b \mid x_a \sim N(\mu_b + \Sigma_{ba} \Sigma_{aa}^{-1} (x_a - \mu_a),\;
    \Sigma_{bb} - \Sigma_{ba} \Sigma_{aa}^{-1} \Sigma_{ab})`, exactly, and any entries alone are Gaussian too. Where values are
    missing the estimate is by expectation maximisation; else the first pass is the answer and a second one confirms it.

    Args:
        domain: Real data.
        given: None; for labels there is one Gaussian a class.
        covariance: ``full``, ``diagonal``, ``spherical``, or ``lowrank`` (factor analysis).
        rank: Factors of a lowrank covariance.
        isotropic: Whether lowrank has one noise variance for all entries, as probabilistic PCA has.
        shrinkage: How many data the prior is worth that pulls the covariance towards its diagonal: 0 is maximum likelihood.
            None: 0 where there are as many data as the covariance has parameters, else a few.
        floor: The least variance, in the units of the data squared (a standardised model's are those of its scale).

    Raises:
        RangeError: if a number is out of range.
        BadInput: if the covariance is of no known kind.
    """

    natives = (Real,)

    parts: GaussianComponents

    def __init__(
        self,
        domain: Domain,
        given: Domain | None = None,
        *,
        covariance: Literal["full", "diagonal", "spherical", "lowrank"] = "full",
        rank: int = 20,
        isotropic: bool = False,
        shrinkage: float | None = None,
        floor: float = 1e-6,
    ) -> None:
        parts = gaussian_components(
            1, domain.entries, covariance, rank=rank, isotropic=isotropic, shrinkage=shrinkage, floor=floor
        )
        super().__init__(domain, given, parts)

    @classmethod
    def tiny(cls, domain: Domain, given: Domain | None = None) -> Self:
        """As it is: there is nothing to make smaller."""
        return cls(domain, given)

    @property
    def mu(self) -> Tensor:
        """The mean, of the shape of a datum."""
        return self.means[0]

    @property
    def sigma(self) -> Tensor:
        """The covariance of the flattened datum, ``(D, D)``."""
        return self.parts.covariance(0)

    def _partition(self, x: Tensor, generator: Generator) -> Tensor:
        return torch.zeros(len(x), dtype=torch.int64, device=x.device)
