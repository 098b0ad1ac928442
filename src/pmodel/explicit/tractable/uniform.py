"""The uniform distribution on a box: the model that knows nothing but where the data can be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Self, final

import torch
from torch import Generator, Tensor

from ...capability import Completes, Marginalises, Samples
from ...domain import Discrete, Domain, Real
from ...errors import BadInput, RangeError
from ...learning import Batch, ClosedForm

__all__ = ["Uniform", "box_of", "checked_margin"]


@final
class Uniform(Samples, Completes, Marginalises, ClosedForm):
    r"""Every datum in a box is equally likely, and none outside it is possible.

    .. math:: p(x) = \prod_d \frac{1}{b_d - a_d} \quad\text{or, with L levels,}\quad P(x) = L^{-D}

    The box of discrete data is all of their domain. The box of real data is the range of (up to 20 000 of) the training data,
    wider by a margin on each side; a constant entry gets the width 1.

    Args:
        domain: Discrete or real data.
        given: None; for labels there is one box a class.
        margin: By how much of the range the box of real data is wider, on each side.

    Raises:
        RangeError: if the margin is negative or not finite.
    """

    natives = (Discrete, Real)
    standardise = False

    low: Tensor
    high: Tensor

    def __init__(self, domain: Domain, given: Domain | None = None, *, margin: float = 0.05) -> None:
        super().__init__(domain, given)
        self.margin = checked_margin(margin)
        levels = domain.levels if isinstance(domain, Discrete) else 1
        self.register_buffer("low", torch.zeros(domain.shape, dtype=torch.float64))
        self.register_buffer("high", torch.full(domain.shape, float(levels), dtype=torch.float64))

    @property
    def freedom(self) -> int:
        """The edges of the box of real data."""
        return 0 if isinstance(self.domain, Discrete) else 2 * self.domain.entries

    @classmethod
    def tiny(cls, domain: Domain, given: Domain | None = None) -> Self:
        """As it is: there is nothing to make smaller."""
        return cls(domain, given)

    def initialise(self, subset: Batch, generator: Generator) -> None:
        """Set the box of real data."""
        if not isinstance(self.domain, Discrete):
            low, high = box_of(subset, self.margin)
            self.low.copy_(low)
            self.high.copy_(high)

    def statistics(self, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """Nothing but the number of data: the box is set."""
        return {"n": torch.tensor(float(len(batch.x)), dtype=torch.float64, device=batch.x.device)}

    def maximise(self, statistics: Mapping[str, Tensor]) -> None:
        """Nothing is left to set."""

    def _sample(self, n: int, given: Tensor | None, generator: Generator) -> Tensor:
        shape = (n, *self.domain.shape)
        if isinstance(self.domain, Discrete):
            return torch.randint(self.domain.levels, shape, generator=generator, device=self.device)
        u = torch.rand(shape, generator=generator, dtype=torch.float64, device=self.device)
        return self.low + (self.high - self.low) * u

    def _log_prob(self, x: Tensor, given: Tensor | None) -> Tensor:
        return self._log_marginal(x, torch.ones_like(x, dtype=torch.bool), given)

    def _log_marginal(self, x: Tensor, observed: Tensor, given: Tensor | None) -> Tensor:
        inside = ~observed | ((x >= self.low) & (x <= self.high))
        logs = torch.where(observed, -(self.high - self.low).log(), 0.0)
        logs = torch.where(inside, logs, -math.inf)
        return logs.reshape(len(x), self.domain.entries).sum(1)

    def _complete(self, x: Tensor, observed: Tensor, given: Tensor | None, generator: Generator) -> Tensor:
        return self._sample(len(x), given, generator)


def box_of(subset: Batch, margin: float) -> tuple[Tensor, Tensor]:
    """The range of each entry's observed values, wider by ``margin`` of it on each side; width 1 where it is a point.

    Raises:
        BadInput: if there are no data.
    """
    if len(subset.x) == 0:
        raise BadInput("A range cannot be taken from no data.", got=0)
    x = subset.x.double()
    seen = torch.ones_like(x, dtype=torch.bool) if subset.observed is None else subset.observed
    low = torch.where(seen, x, math.inf).amin(0)
    high = torch.where(seen, x, -math.inf).amax(0)
    never = low > high
    low, high = torch.where(never, 0.0, low), torch.where(never, 0.0, high)
    extra = torch.where(high > low, margin * (high - low), 0.5)
    return low - extra, high + extra


def checked_margin(margin: float) -> float:
    """The margin, if it is one."""
    if not 0 <= margin < math.inf:
        raise RangeError("margin must be a fraction of the range, 0 or more.", got=margin)
    return margin
