r"""The factors p(x_i | x_<i) of an autoregressive model of vectors: distributions of one entry, from P numbers each.

*Bits*: log-odds. *Levels*: a logit for each. *Many levels*: a mixture of M discretised logistics, whose numbers are the logits
of the weights, the locations, and the logarithms of the scales. *Reals*: a mixture of M Gaussians, in the same way (RNADE, Uria
et al. 2013, https://arxiv.org/abs/1306.0186).

A network sees an entry as a *code* of Q numbers. A real x comes in as asinh(x), the identity near 0 and a logarithm far out.
Levels come in as a thermometer (Buckman et al. 2018) with Q knots at equal distances,

.. math:: c_q(x) = \operatorname{clamp}\!\left(\frac{Q x}{L - 1} - q,\; 0,\; 1\right), \qquad q = 0, \dots, Q - 1,

so that a linear map of the code is any function of the level where Q = L - 1, and a piecewise linear one where Q is less. A bit
is its own code, and level 0 is all zeros.

All draw by the inverse of the cumulative distribution from uniform numbers that the caller passes, so the same numbers give the
same datum however the network was evaluated.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import final

import torch
from torch import Tensor
from torch.nn import functional as F

from .....distribution import DiscretisedLogistic, wide
from .....domain import Discrete, Domain
from ..categories import cumulative, inverse_cdf

__all__ = ["Bits", "Conditional", "Gaussians", "Levels", "Logistics", "factor_of"]

LOGITS = 2**14
"""Logits of a datum up to which each level has one of its own."""
CODES = 2**11
"""Numbers up to which the code of a datum may grow, where levels are many."""
KNOTS = 16
"""The most knots of a level's code."""
WIDEST = 7.0
"""The largest logarithm of a scale, up or down."""
TINY = 1e-12
"""Uniform numbers stay this far from 0 and 1."""
TOGETHER = 2**22
"""Entries of data that are sorted at once."""


class Conditional(ABC):
    """A distribution of one entry, from numbers that a network computes.

    Attributes:
        outputs: Numbers P that it is made from.
        inputs: Numbers Q by which an entry comes in.
    """

    outputs: int
    inputs: int

    @abstractmethod
    def log_prob(self, y: Tensor, x: Tensor) -> Tensor:
        """The log-probability of entries x ``(…)`` from numbers y ``(…, P)``."""

    @abstractmethod
    def draw(self, y: Tensor, u: Tensor) -> Tensor:
        """Entries ``(N,)`` from numbers ``(N, P)`` and uniform numbers ``(N,)`` in float64."""

    @abstractmethod
    def code(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """The codes ``(…, Q)`` of entries ``(…)``."""

    @abstractmethod
    def fitted(self, x: Tensor) -> Tensor:
        """Numbers ``(D, P)`` that fit each entry of data ``(N, D)`` alone, about: where training starts."""


@final
class Bits(Conditional):
    """Zero or one."""

    outputs = inputs = 1

    def log_prob(self, y: Tensor, x: Tensor) -> Tensor:
        """Of bits."""
        logits = wide(y).squeeze(-1)
        return -F.binary_cross_entropy_with_logits(logits, x.to(logits.dtype), reduction="none")

    def draw(self, y: Tensor, u: Tensor) -> Tensor:
        """One where the uniform number is below its probability."""
        return (u < y.squeeze(1).sigmoid()).to(torch.int64)

    def code(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """The bit."""
        return x.to(dtype).unsqueeze(-1)

    def fitted(self, x: Tensor) -> Tensor:
        """The log-odds of a one."""
        ones = x.double().sum(0, keepdim=True).T
        return ((ones + 1) / (len(x) - ones + 1)).log()


@final
class Levels(Conditional):
    """A logit for each level.

    Args:
        levels: How many.
        knots: Of the code.
    """

    def __init__(self, levels: int, knots: int) -> None:
        self.outputs, self.inputs = levels, knots

    def log_prob(self, y: Tensor, x: Tensor) -> Tensor:
        """Log-softmax."""
        flat = -F.cross_entropy(wide(y).flatten(0, -2), x.flatten(), reduction="none")
        return flat.reshape(x.shape)

    def draw(self, y: Tensor, u: Tensor) -> Tensor:
        """The level at which the cumulative distribution passes u."""
        return inverse_cdf(y.double(), u.unsqueeze(1))

    def code(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """The thermometer."""
        return _thermometer(x, self.outputs, self.inputs, dtype)

    def fitted(self, x: Tensor) -> Tensor:
        """The log-frequencies."""
        entries = x.shape[1]
        cells = x + self.outputs * torch.arange(entries, device=x.device)
        counts = torch.bincount(cells.flatten(), minlength=entries * self.outputs).reshape(entries, -1).double()
        return ((counts + 1) / (len(x) + self.outputs)).log()


@final
class Logistics(Conditional):
    """A mixture of discretised logistics, which knows that levels are ordered.

    Args:
        levels: How many, at least 2.
        knots: Of the code.
        mixtures: Components M.
    """

    def __init__(self, levels: int, knots: int, mixtures: int) -> None:
        self.levels, self.inputs, self.outputs = levels, knots, 3 * mixtures
        self.finest = DiscretisedLogistic.finest(levels)

    def log_prob(self, y: Tensor, x: Tensor) -> Tensor:
        """The log-mass of the bins under the components, mixed."""
        logits, mu, log_scale = wide(y).chunk(3, -1)
        levels = x.unsqueeze(-1).expand_as(mu).flatten()
        parts = DiscretisedLogistic(mu.flatten(), self._bounded(log_scale).flatten(), self.levels).log_prob(levels)
        return (logits.log_softmax(-1) + parts.reshape(mu.shape)).logsumexp(-1)

    def draw(self, y: Tensor, u: Tensor) -> Tensor:
        """A component, then the bin of its logistic variable."""
        v, mu, log_scale = _component(y, u)
        return DiscretisedLogistic(mu, self._bounded(log_scale), self.levels).quantile(v)

    def code(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """The thermometer."""
        return _thermometer(x, self.levels, self.inputs, dtype)

    def fitted(self, x: Tensor) -> Tensor:
        """Components at the quantiles."""
        bin_width = 2 / (self.levels - 1)
        return torch.cat(
            [_at_quantiles(part.double() * bin_width - 1, self.outputs // 3, bin_width) for part in _columns(x)]
        )

    def _bounded(self, log_scale: Tensor) -> Tensor:
        return log_scale.clamp(self.finest, WIDEST)


@final
class Gaussians(Conditional):
    """A mixture of Gaussians. The logarithm of a standard deviation stays between -7 and 7.

    Args:
        mixtures: Components M.
    """

    inputs = 1

    def __init__(self, mixtures: int) -> None:
        self.outputs = 3 * mixtures

    def log_prob(self, y: Tensor, x: Tensor) -> Tensor:
        """The log-density."""
        logits, mu, log_std = wide(y).chunk(3, -1)
        log_std = _soft(log_std)
        z = (x.to(mu.dtype).unsqueeze(-1) - mu) * (-log_std).exp()
        return (logits.log_softmax(-1) - 0.5 * z.square() - log_std).logsumexp(-1) - 0.5 * math.log(2 * math.pi)

    def draw(self, y: Tensor, u: Tensor) -> Tensor:
        """A component, then its normal variable by the inverse of the cumulative distribution."""
        v, mu, log_std = _component(y, u)
        normal: Tensor = torch.special.ndtri(v)
        return mu + _soft(log_std).exp() * normal

    def code(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """asinh(x)."""
        return x.to(dtype).asinh().unsqueeze(-1)

    def fitted(self, x: Tensor) -> Tensor:
        """Components at the quantiles."""
        return torch.cat([_at_quantiles(part.double(), self.outputs // 3, 1e-2) for part in _columns(x)])


def factor_of(domain: Domain, mixtures: int) -> Conditional:
    """The distribution of an entry of a domain: ``Discrete`` with at least two levels, or ``Real``.

    Args:
        domain: What a datum is.
        mixtures: Components where values are real, or levels so many that only their order makes them manageable.
    """
    if not isinstance(domain, Discrete):
        return Gaussians(mixtures)
    if domain.levels == 2:
        return Bits()
    knots = max(1, min(domain.levels - 1, KNOTS, CODES // domain.entries))
    if domain.levels * domain.entries <= LOGITS:
        return Levels(domain.levels, knots)
    return Logistics(domain.levels, knots, mixtures)


def _thermometer(x: Tensor, levels: int, knots: int, dtype: torch.dtype) -> Tensor:
    lit = x.to(dtype).unsqueeze(-1) * (knots / (levels - 1))
    return (lit - torch.arange(knots, device=x.device, dtype=dtype)).clamp(0, 1)


def _component(y: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A component drawn from the weights: what is left of the uniform number, the location and the log-scale, ``(N,)`` each.

    Where u falls among the components' shares of the unit interval says which it is; where in the share is again uniform.
    """
    logits, mu, log_scale = y.double().chunk(3, 1)
    k = inverse_cdf(logits, u.unsqueeze(1)).unsqueeze(1)
    sums = F.pad(cumulative(logits), (1, 0))
    low, high = sums.gather(1, k).squeeze(1), sums.gather(1, k + 1).squeeze(1)
    v = ((u - low) / (high - low)).clamp(TINY, 1 - TINY)
    return v, mu.gather(1, k).squeeze(1), log_scale.gather(1, k).squeeze(1)


def _columns(x: Tensor) -> tuple[Tensor, ...]:
    """Data ``(N, D)`` in parts of some columns each, which are few enough to sort at once."""
    return torch.split(x, max(1, TOGETHER // max(1, len(x))), 1)


def _at_quantiles(x: Tensor, mixtures: int, finest: float) -> Tensor:
    """Equal weights, locations at the middles of M equal parts of the data ``(N, D)``, scales that let them overlap."""
    at = (torch.arange(mixtures, device=x.device, dtype=x.dtype) + 0.5) / mixtures
    mu = x.quantile(at, 0).T
    spread = x.std(0).nan_to_num(0) if len(x) > 1 else torch.zeros_like(x[0])
    log_scale = (spread / mixtures).clamp_min(finest).log().unsqueeze(1).expand_as(mu)
    return torch.cat([torch.zeros_like(mu), mu, log_scale], 1)


def _soft(log_scale: Tensor) -> Tensor:
    """Bounded with a gradient everywhere."""
    return WIDEST * (log_scale / WIDEST).tanh()
