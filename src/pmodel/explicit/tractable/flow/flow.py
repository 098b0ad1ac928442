"""What all flows share: maximum likelihood, samples from the inverse, and codes. A flow adds its map."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from ....capability import Density, Latent, Samples
from ....distribution import Distribution, Normal, Point
from ....domain import Domain, Real
from ....errors import require_whole
from ....learning import MaximumLikelihood, Recipe
from .marginal import Marginal
from .transform import Diagonal, Transform

__all__ = ["Flow", "beginning"]


class Flow(Samples, Density, Latent, MaximumLikelihood):
    """A density by an invertible map of real data to standard normal noise.

    The constructor of a flow sets ``flow``, the map, and may set ``shape``, that of the data as the map takes them.

    Args:
        domain: Real data of any shape.
        given: A class label, or None.
    """

    natives: ClassVar[tuple[type[Domain], ...]] = (Real,)
    conditional: ClassVar[bool] = True
    chunk = 2**19
    deterministic = True
    flow: Transform

    def __init__(self, domain: Domain, given: Domain | None = None) -> None:
        super().__init__(domain, given)
        self.shape: tuple[int, ...] = (domain.entries,)

    @property
    def codes(self) -> Domain:
        """As many real numbers as the data have entries."""
        return Real((self.domain.entries,))

    @abstractmethod
    def recipe(self) -> Recipe:
        """The training settings that this flow is known to train with."""

    def prepare(self, subset: Tensor, given: Tensor | None, generator: Generator) -> None:
        """Take from the data what the map must know of them."""
        self.flow.prepare(self._entering(subset), self._context(given))

    def _log_prob(self, x: Tensor, given: Tensor | None) -> Tensor:
        found: tuple[Tensor, Tensor] = self.flow(self._entering(x), self._context(given))
        z, ladj = found
        return self._prior_log_prob(z) + ladj

    def _prior_log_prob(self, z: Tensor) -> Tensor:
        """The log-density of noise, ``(N,)``."""
        return Normal(torch.zeros_like(z), torch.ones_like(z)).log_prob(z)

    def _noise(self, n: int, generator: Generator) -> Tensor:
        """Draws from it, ``(n, D)``."""
        return torch.randn(n, self.domain.entries, generator=generator, device=self.device)

    def _sample(self, n: int, given: Tensor | None, generator: Generator) -> Tensor:
        return self._decode(self._noise(n, generator), given).mean

    def _encode(self, x: Tensor, given: Tensor | None) -> Distribution:
        """All mass at z = f(x), flat ``(N, D)``."""
        return Point(self.flow(self._entering(x), self._context(given))[0])

    def _decode(self, z: Tensor, given: Tensor | None) -> Distribution:
        """All mass at the x with f(x) = z."""
        x: Tensor = self.flow.inverse(z.to(self._dtype), self._context(given))
        return Point(x.reshape(-1, *self.domain.shape))

    @property
    def _dtype(self) -> torch.dtype:
        """Of the arithmetic of data: that of the weights."""
        return next(self.parameters()).dtype

    def _entering(self, x: Tensor) -> Tensor:
        """Data as the map takes them."""
        return x.to(self._dtype).reshape(len(x), *self.shape)

    def _context(self, given: Tensor | None) -> Tensor | None:
        return None if given is None else F.one_hot(given, len(self.given_frequencies)).to(self._dtype)


def beginning(model: Flow, quantiles: int) -> Transform:
    """The first map of a flow: every entry through quantiles of the data to a normal variable, or an affine map of each.

    Args:
        model: Of which domain and shape.
        quantiles: Intervals between quantiles; 0 for the affine map.
    """
    require_whole("quantiles", quantiles, 0)
    return Marginal(model.shape, quantiles, shared=model.domain.image) if quantiles else Diagonal(model.shape)
