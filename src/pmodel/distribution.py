"""Distributions as values: what a decoder returns. They hold tensors, never parameters.

The first axis is the batch, all others belong to the datum: ``log_prob`` sums over them and answers ``(N,)`` nats. Sampling
takes a generator, which ``torch.distributions`` does not offer. Arithmetic is float32 or better whatever came in, because a
log-probability summed over a thousand pixels in bfloat16 is worthless.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

__all__ = [
    "Bernoulli",
    "Categorical",
    "DiscretisedLogistic",
    "Distribution",
    "Normal",
    "Point",
    "Transformed",
    "kl",
    "summed",
    "wide",
]


class Distribution(ABC):
    """A distribution for each datum of a batch."""

    @property
    @abstractmethod
    def mean(self) -> Tensor:
        """The expectation, of shape ``(N, *shape)``."""

    @property
    def mode(self) -> Tensor:
        """The most probable value, of the type of a draw; by default the mean."""
        return self.mean

    @abstractmethod
    def log_prob(self, x: Tensor) -> Tensor:
        """Log-probability in nats, ``(N, *shape) -> (N,)``."""

    @abstractmethod
    def sample(self, generator: Generator) -> Tensor:
        """One draw for each datum, of shape ``(N, *shape)``."""


@final
@dataclass(frozen=True, eq=False)
class Normal(Distribution):
    r"""Independent normals: :math:`N(x; \mu, \mathrm{std}^2)`. ``std`` is the standard deviation, not the variance.

    Args:
        mu: Means, ``(N, *shape)``.
        std: Standard deviations, broadcastable to ``mu``.
    """

    mu: Tensor
    std: Tensor

    @property
    def mean(self) -> Tensor:
        """The means."""
        return self.mu

    def log_prob(self, x: Tensor) -> Tensor:
        r""":math:`-\tfrac12 ((x-\mu)/\mathrm{std})^2 - \log \mathrm{std} - \tfrac12 \log 2\pi`, summed."""
        mu, std = wide(self.mu), wide(self.std)
        return summed(-0.5 * ((wide(x) - mu) / std).square() - std.log() - 0.5 * math.log(2 * math.pi))

    def sample(self, generator: Generator) -> Tensor:
        """The pathwise draw mu + std * eps with eps from N(0, 1): differentiable in both."""
        mu = wide(self.mu)
        eps = torch.randn(mu.shape, generator=generator, device=mu.device, dtype=mu.dtype)
        return mu + wide(self.std) * eps


@final
@dataclass(frozen=True, eq=False)
class Bernoulli(Distribution):
    r"""Independent bits: :math:`\log p(x) = x \log\sigma(l) + (1-x)\log\sigma(-l)`.

    Args:
        logits: Log-odds of a one, ``(N, *shape)``.
    """

    logits: Tensor

    @property
    def mean(self) -> Tensor:
        """The probability of a one."""
        return wide(self.logits).sigmoid()

    @property
    def mode(self) -> Tensor:
        """The more probable bit."""
        return (self.logits > 0).to(torch.int64)

    def log_prob(self, x: Tensor) -> Tensor:
        """Exact log-mass of bits."""
        logits = wide(self.logits)
        return summed(-F.binary_cross_entropy_with_logits(logits, x.to(logits.dtype), reduction="none"))

    def sample(self, generator: Generator) -> Tensor:
        """Bits as int64."""
        return torch.bernoulli(self.mean, generator=generator).to(torch.int64)


@final
@dataclass(frozen=True, eq=False)
class Categorical(Distribution):
    r"""Independent categories: :math:`\log p(x) = l_x - \log\sum_k e^{l_k}`.

    Args:
        logits: Unnormalised log-probabilities, ``(N, *shape, levels)``.
    """

    logits: Tensor

    @property
    def mean(self) -> Tensor:
        """The expected level."""
        levels = torch.arange(self.logits.shape[-1], device=self.logits.device, dtype=wide(self.logits).dtype)
        return wide(self.logits).softmax(-1) @ levels

    @property
    def mode(self) -> Tensor:
        """The most probable level."""
        return self.logits.argmax(-1)

    def log_prob(self, x: Tensor) -> Tensor:
        """Exact log-mass of levels."""
        return summed(wide(self.logits).log_softmax(-1).gather(-1, x.unsqueeze(-1)).squeeze(-1))

    def sample(self, generator: Generator) -> Tensor:
        """Levels as int64."""
        flat = wide(self.logits).softmax(-1).flatten(0, -2)
        return torch.multinomial(flat, 1, generator=generator).reshape(self.logits.shape[:-1])


@final
@dataclass(frozen=True, eq=False)
class DiscretisedLogistic(Distribution):
    r"""Ordered levels as the bins of a logistic variable (Kingma et al. 2016, Salimans et al. 2017 eq. 2).

    .. math:: p(x) = \sigma\!\left(\frac{v_x + h - \mu}{s}\right) - \sigma\!\left(\frac{v_x - h - \mu}{s}\right)

    with level x at :math:`v_x = 2x/(L-1) - 1`, half a bin :math:`h = 1/(L-1)`; the edge bins own the tails.

    Args:
        mu: Locations on the scale where the levels span [-1, 1], ``(N, *shape)``.
        log_scale: Logarithms of the scales s, broadcastable to ``mu``.
        levels: Number of levels L, at least 2.
    """

    mu: Tensor
    log_scale: Tensor
    levels: int

    @property
    def mean(self) -> Tensor:
        """The location as a level: the median of the logistic, clamped into the range."""
        return ((wide(self.mu) + 1) * (self.levels - 1) / 2).clamp(0, self.levels - 1)

    @property
    def mode(self) -> Tensor:
        """The likeliest level: the nearest to the location, or an edge, which owns a tail and at a large scale most of all."""
        middle = self.mean.round().to(torch.int64)
        levels = torch.stack([middle, torch.zeros_like(middle), torch.full_like(middle, self.levels - 1)])
        best = self._log_mass(levels).argmax(0, keepdim=True)
        return levels.gather(0, best)[0]

    def log_prob(self, x: Tensor) -> Tensor:
        """Exact log-mass of levels."""
        return summed(self._log_mass(x))

    def _log_mass(self, x: Tensor) -> Tensor:
        """That of each entry.

        With a and b the logits of the bin's edges, sigma(b) - sigma(a) = sigma(b) sigma(-a) (1 - exp(a - b)), and b - a is the
        bin's width over s whatever the level: a form that neither cancels nor underflows, and needs no threshold.
        """
        mu, log_scale = wide(self.mu), wide(self.log_scale)
        inverse, bins = (-log_scale).exp(), self.levels - 1
        centred = x.to(mu.dtype) * (2 / bins) - 1 - mu
        upper, lower = (centred + 1 / bins) * inverse, (centred - 1 / bins) * inverse
        below = F.logsigmoid(upper).masked_fill(x == bins, 0.0)
        above = F.logsigmoid(-lower).masked_fill(x == 0, 0.0)
        width = torch.log(-torch.expm1(-2 / bins * inverse)).expand_as(centred)
        return below + above + width.masked_fill((x == 0) | (x == bins), 0.0)

    def sample(self, generator: Generator) -> Tensor:
        """The bin of a logistic draw, as int64."""
        mu = wide(self.mu)
        u = torch.rand(mu.shape, generator=generator, device=mu.device, dtype=mu.dtype)
        return self.quantile(u.clamp(1e-7, 1 - 1e-7))

    def quantile(self, u: Tensor) -> Tensor:
        """The levels at which the cumulative distributions pass uniform numbers of the shape of ``mu``, as int64."""
        value = wide(self.mu) + wide(self.log_scale).exp() * (u.log() - (-u).log1p())
        return ((value + 1) * ((self.levels - 1) / 2)).round().clamp(0, self.levels - 1).to(torch.int64)

    @staticmethod
    def finest(levels: int) -> float:
        """The smallest log-scale that tells levels apart: an eighth of the bin of a level, which is 2/(L - 1) wide."""
        return -math.log(4 * (levels - 1))


@final
@dataclass(frozen=True, eq=False)
class Point(Distribution):
    """All mass at one point for each datum: what an encoder answers that is a map, be it invertible or not.

    Args:
        x: The points, ``(N, *shape)``.
    """

    x: Tensor

    @property
    def mean(self) -> Tensor:
        """The point."""
        return self.x

    def log_prob(self, x: Tensor) -> Tensor:
        """The log-mass: 0 at the point, minus infinity elsewhere."""
        return summed(torch.where(wide(x) == wide(self.x), 0.0, -torch.inf))

    def sample(self, generator: Generator) -> Tensor:
        """The point."""
        return self.x


@final
@dataclass(frozen=True, eq=False)
class Transformed(Distribution):
    """The image of a distribution under a map: what a wrapped model's decoder returns.

    Args:
        base: The distribution on the inner scale.
        outward: From the inner to the outer scale.
        inward: Back again, with the log-volume of each entry.
    """

    base: Distribution
    outward: Callable[[Tensor], Tensor]
    inward: Callable[[Tensor], tuple[Tensor, Tensor]]

    @property
    def mean(self) -> Tensor:
        """The image of the base's mean: the mean itself where the map is affine."""
        return self.outward(self.base.mean)

    @property
    def mode(self) -> Tensor:
        """The image of the base's mode."""
        return self.outward(self.base.mode)

    def log_prob(self, x: Tensor) -> Tensor:
        """The base's log-density of the preimage plus the map's log-volume."""
        y, ladj = self.inward(x)
        return self.base.log_prob(y) + summed(ladj.expand_as(y))

    def sample(self, generator: Generator) -> Tensor:
        """The image of a draw."""
        return self.outward(self.base.sample(generator))


def kl(q: Normal, p: Normal) -> Tensor:
    r"""Kullback–Leibler divergence :math:`\mathrm{KL}(q \| p)` between independent normals, ``(N,)`` nats.

    .. math:: \log\frac{s_p}{s_q} + \frac{s_q^2 + (\mu_q-\mu_p)^2}{2 s_p^2} - \frac12
    """
    q_std, p_std = wide(q.std), wide(p.std)
    ratio = (q_std / p_std).square()
    shift = ((wide(q.mu) - wide(p.mu)) / p_std).square()
    return summed(0.5 * (ratio + shift - 1 - ratio.log()))


def wide(x: Tensor) -> Tensor:
    """The tensor in float32 or better."""
    return x if x.dtype == torch.float64 else x.float()


def summed(entries: Tensor) -> Tensor:
    """The sum over the entries of each datum, ``(N, *shape) -> (N,)``; a scalar datum is its own."""
    return entries.flatten(1).sum(1) if entries.ndim > 1 else entries
