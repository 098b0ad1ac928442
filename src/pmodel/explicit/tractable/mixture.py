"""A mixture: a weighted sum of simple densities."""

from __future__ import annotations

from typing import Literal, Self, final

from torch import Generator, Tensor

from ...domain import Discrete, Domain, Real
from ...errors import BadInput
from .categorical_components import CategoricalComponents
from .components import Components
from .em import WeightedSum
from .gaussian_options import gaussian_components, require_whole
from .kmeans import kmeans

__all__ = ["Mixture"]

WIDE = 64
"""Up to this many entries, ``auto`` gives every component its full covariance."""


@final
class Mixture(WeightedSum):
    r"""A mixture of Gaussians, or of products of categories, fitted by expectation maximisation from k-means++.

    .. math:: p(x) = \sum_{k=1}^{K} w_k \, p_k(x), \qquad
              p_k = N(\mu_k, \Sigma_k) \quad\text{or}\quad p_k(x) = \prod_d \theta_{k d x_d}

    The likelihood rises with every iteration (the posterior, where a prior shrinks). A component is not a class: it is one of
    K summands.

    Args:
        domain: Real data have Gaussian components; discrete data categorical ones (Bernoulli for two levels), of exact mass.
        given: None; for labels there is one mixture a class.
        components: K.
        covariance: Of Gaussian components: ``full``, ``tied`` (one for all), ``diagonal``, ``spherical``, ``lowrank`` (factor
            analysers), or ``auto``: full for up to 64 entries, else lowrank.
        rank: Factors of a lowrank covariance.
        isotropic: Whether lowrank has one noise variance for all entries, as probabilistic PCA has.
        shrinkage: How many data the prior is worth that pulls components towards all the data together: 0 is maximum
            likelihood. None: 0 where components have plenty of data, else enough to stay finite on held-out data.
        floor: The least variance, in the units of the data squared (a standardised model's are those of its scale).
        restarts: The partitions to choose the start from.

    Raises:
        RangeError: if a number is out of range.
        BadInput: if the covariance is of no known kind.

    Source:
        | Maximum likelihood from incomplete data via the EM algorithm (Dempster, Laird and Rubin, 1977)
        | https://doi.org/10.1111/j.2517-6161.1977.tb01600.x
    """

    natives = (Discrete, Real)

    def __init__(
        self,
        domain: Domain,
        given: Domain | None = None,
        *,
        components: int = 10,
        covariance: Literal["auto", "full", "tied", "diagonal", "spherical", "lowrank"] = "auto",
        rank: int = 20,
        isotropic: bool = False,
        shrinkage: float | None = None,
        floor: float = 1e-6,
        restarts: int = 3,
    ) -> None:
        require_whole("components", components, 1, 10_000)
        require_whole("restarts", restarts, 1, 1000)
        D = domain.entries
        parts: Components
        if isinstance(domain, Discrete):
            if covariance != "auto":
                raise BadInput("Components of discrete data are categorical: they have no covariance.", got=covariance)
            parts = CategoricalComponents(components, D, levels=domain.levels, shrinkage=shrinkage)
        else:
            kind = covariance if covariance != "auto" else "full" if D <= WIDE else "lowrank"
            parts = gaussian_components(
                components, D, kind, rank=rank, isotropic=isotropic, shrinkage=shrinkage, floor=floor
            )
        super().__init__(domain, given, parts)
        self.restarts = restarts

    @classmethod
    def tiny(cls, domain: Domain, given: Domain | None = None) -> Self:
        """Two components."""
        return cls(domain, given, components=2)

    def _partition(self, x: Tensor, generator: Generator) -> Tensor:
        return kmeans(x.double(), len(self.weights), generator, restarts=self.restarts)
