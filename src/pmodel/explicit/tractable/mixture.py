"""A mixture: a weighted sum of simple densities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self, final

from torch import Generator, Tensor

from ...domain import Discrete, Domain, Real
from ...errors import BadInput, require_whole
from .categorical_components import CategoricalComponents
from .components import Components
from .em import WeightedSum
from .gaussian_options import gaussian_components
from .kmeans import kmeans

__all__ = ["Mixture"]

FEW = 32
"""Up to this many levels, ``auto`` gives pictures categorical components."""
WIDE = 64
"""Up to this many entries, ``auto`` gives every component its full covariance."""


@final
class Mixture(WeightedSum):
    r"""A mixture of Gaussians, or of products of categories, fitted by expectation maximisation from k-means++.

    .. math:: p(x) = \sum_{k=1}^{K} w_k \, p_k(x), \qquad
              p_k = N(\mu_k, \Sigma_k) \quad\text{or}\quad p_k(x) = \prod_d \theta_{k d x_d}

    The likelihood rises with every iteration (the posterior, where a prior shrinks). A component is not a class: it is one of
    K summands. Discrete data may have either kind. Categories give them their exact mass, and a better one than dequantised
    Gaussians, which know no bounds (zeros of MNIST, held out: 1.83 against 4.14 bits a dimension with eight components). But
    pixels that are independent given the component make speckled samples, where factor analysers draw strokes.

    Args:
        domain: Discrete or real data.
        given: None; for labels there is one mixture a class.
        components: K.
        emission: ``categorical`` (Bernoulli for two levels), ``gaussian``, or ``auto``: Gaussian for real data, for pictures
            of more than 32 levels and wherever a covariance is named, else categorical.
        covariance: Of Gaussian components: ``full``, ``tied`` (one for all), ``diagonal``, ``spherical``, ``lowrank`` (factor
            analysers), or ``auto``: full for up to 64 entries, else lowrank.
        rank: Factors of a lowrank covariance.
        isotropic: Whether lowrank has one noise variance for all entries, as probabilistic PCA has.
        shrinkage: How many data the prior is worth that pulls components towards all the data together: 0 is maximum
            likelihood. None: 0 where components have as many data as a covariance has parameters, else a few; for categories,
            half a datum a level.
        floor: The least variance, in the units of the data squared (a standardised model's are those of its scale).
        restarts: The partitions to choose the start from.

    Raises:
        RangeError: if a number is out of range.
        BadInput: if emission or covariance is of no known kind, or does not suit the data.

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
        emission: Literal["auto", "categorical", "gaussian"] = "auto",
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
        if emission not in ("auto", "categorical", "gaussian"):
            raise BadInput("emission must be auto, categorical or gaussian.", got=emission)
        if isinstance(domain, Discrete):
            if not self.suits(domain, {"emission": emission, "covariance": covariance}):
                raise BadInput(
                    "Gaussian components need real data.",
                    got=f"emission={emission}, covariance={covariance}, {domain}",
                    hint="pmodel.make dequantises discrete data for them",
                )
            parts = CategoricalComponents(components, D, levels=domain.levels, shrinkage=shrinkage)
        else:
            if emission == "categorical":
                raise BadInput("Categorical components need discrete data.", got=domain)
            kind = covariance if covariance != "auto" else "full" if D <= WIDE else "lowrank"
            parts = gaussian_components(
                components, D, kind, rank=rank, isotropic=isotropic, shrinkage=shrinkage, floor=floor
            )
        super().__init__(domain, given, parts)
        self.restarts = restarts

    @classmethod
    def suits(cls, domain: Domain, options: Mapping[str, Any]) -> bool:
        """Discrete data are taken as they are by categorical components only."""
        emission, covariance = options.get("emission", "auto"), options.get("covariance", "auto")
        if not isinstance(domain, Discrete) or emission == "categorical":
            return True
        fine = domain.image and domain.levels > FEW
        return emission == "auto" and covariance == "auto" and not fine

    @classmethod
    def tiny(cls, domain: Domain, given: Domain | None = None) -> Self:
        """Two components, of the kind that takes the domain as it is."""
        emission: Literal["categorical", "gaussian"] = "categorical" if isinstance(domain, Discrete) else "gaussian"
        return cls(domain, given, components=2, emission=emission)

    def _partition(self, x: Tensor, generator: Generator) -> Tensor:
        return kmeans(x.double(), len(self.weights), generator, restarts=self.restarts)
