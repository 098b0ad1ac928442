r"""The terms of the bound, in nats for each datum, given the guess :math:`\hat x_0` of the datum from :math:`x_t`.

.. math::

    -\log p(x) \le L_0 + \sum_{t=2}^T L_{t-1} + L_T

with the decoder's term :math:`L_0 = -E \log p(x \mid x_1)`, the reverse chain's :math:`L_{t-1}`, and :math:`L_T`, what is left
of the datum at the end of the noising, which is not zero where that is short (Ho et al. 2020, equation 5). ``Terms`` are those
of one chain.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Generator, Tensor
from torch.special import log_ndtr

from ....distribution import summed
from .guesser import Guesser
from .sampler import Guess, VarianceName, between
from .schedule import Levels

__all__ = ["Terms", "bound_draws", "chain_terms", "discretised_normal", "end_term", "squared_error"]

UNIFORM = 0.2
"""The part of the draws of t that is uniform, whatever the terms are expected to be: no term is drawn too rarely."""


@final
@dataclass(frozen=True, eq=False)
class Terms:
    """The terms of a chain's bound.

    Args:
        levels: Of the chain.
        variance: Of its steps.
        bins: The levels of discrete data on [-1, 1]; 0 for real data.
    """

    levels: Levels
    variance: VarianceName
    bins: int

    @property
    def learned(self) -> bool:
        """Whether the network says the variance of each entry."""
        return self.variance == "learned"

    @functools.cached_property
    def tables(self) -> tuple[Tensor, Tensor]:
        """Weights and constants as from ``chain_terms``; where variances are learned, those of points."""
        return chain_terms(self.levels, "posterior" if self.learned else self.variance)

    def known(self, x_0: Tensor) -> Tensor:
        """What no network can change, ``(N,)``: the end's term, and the constants of fixed variances."""
        fixed = 0 if self.bins or self.learned else x_0[0:1].numel() * self.tables[1].sum()
        return end_term(self.levels, x_0) + fixed

    def proposal(self) -> Tensor:
        """Probabilities of t = 1 … T in proportion to what the terms come to for standard normal data, in part: ``(T,)``."""
        weights, _ = self.tables
        expected = weights * self.levels.sigma[1:].square()
        if self.bins:  # the decoder's: the entropy of a normal variable in bins, which vanishes where they are wide
            spread = self.levels.sigma[1] * (self.bins - 1) / 2
            decoding = 0.5 * torch.log1p(2 * math.pi * math.e * spread.square()).reshape(1)
            expected = torch.cat([decoding, expected[1:]])
        expected = expected.clamp_min(1e-12)
        return UNIFORM / len(self.levels) + (1 - UNIFORM) * expected / expected.sum()

    def of(self, x_0: Tensor, t: Tensor, guess: Guess) -> Tensor:
        """L_{t-1} without its known part, for a t of each datum, ``(N,)``."""
        if guess.fraction is not None and self.learned:
            return self._with_variance(x_0, t, guess.x_0, guess.fraction.double())
        term = self.tables[0][t - 1] * squared_error(x_0, guess.x_0)
        if not self.bins:
            return term
        return torch.where(t == 1, -discretised_normal(x_0, guess.x_0, self.levels.sigma[1], self.bins), term)

    def _with_variance(self, x_0: Tensor, t: Tensor, mean: Tensor, fraction: Tensor) -> Tensor:
        r"""The same where each entry has a variance of its own; the decoder's is between those of steps 1 and 2."""
        step = self.levels.step(t, x_0.ndim - 1)
        first = self.levels.step(min(2, len(self.levels))).posterior.clamp_min(1e-20)
        low = torch.where(step.sigma_s > 0, step.posterior, first)
        v = between(low, torch.where(step.sigma_s > 0, step.beta, step.sigma_t.square()), fraction)
        error = (x_0.double() - mean.double()).square()
        ratio = low / v
        divergence = 0.5 * summed(ratio - 1 - ratio.log() + step.weight_of_clean.square() * error / v)
        if self.bins:
            decoding = -discretised_normal(x_0, mean, v.sqrt(), self.bins)
        else:
            decoding = 0.5 * summed(error / v + (2 * math.pi * v).log())
        return torch.where(t == 1, decoding, divergence)


def bound_draws(
    terms: Terms,
    guesser: Guesser,
    x_0: Tensor,
    given: Tensor | None,
    generator: Generator,
    effort: int,
    size: int,
) -> Tensor:
    r"""Draws of the bound, ``(effort, N)``, of which each column has the bound of its datum for its mean.

    With the terms' known parts apart and t drawn with probability :math:`\pi_t`, a draw is

    .. math:: -L_T - D \sum_t c_t - (L_{t-1} - D c_t) / \pi_t .

    The draws of a datum are in the order of their t, and evenly spread over it, as are those of all data: less noisy than
    independent ones.

    Args:
        terms: Of the chain.
        guesser: The network.
        x_0: Data on the scale of the chain.
        given: Their labels, or None.
        generator: Of t and of the noise.
        effort: Draws for each datum.
        size: How many data the network takes at a time.
    """
    n, proposal, device = len(x_0), terms.proposal(), x_0.device
    shared = torch.rand(1, generator=generator, device=device, dtype=torch.float64)
    u = (shared + torch.arange(effort * n, device=device)) / max(1, effort * n)
    drawn = 1 + torch.searchsorted(proposal.cumsum(0)[:-1], u, right=True)
    order = torch.randperm(n, generator=generator, device=device)  # or neighbours in the data had neighbouring t
    found = []
    for rows, t in zip(torch.split(order.repeat(effort), size), torch.split(drawn, size), strict=True):
        clean = x_0[rows]
        alpha, sigma = terms.levels.signal_and_noise(t, clean)
        eps = torch.randn(clean.shape, generator=generator, device=device, dtype=clean.dtype)
        labels = None if given is None else given[rows]
        found.append(terms.of(clean, t, guesser(alpha * clean + sigma * eps, terms.levels, t, labels)))
    draws = (torch.cat(found) / proposal[drawn - 1]).reshape(effort, n)
    return -terms.known(x_0) - draws[:, order.argsort()]


def end_term(levels: Levels, x: Tensor) -> Tensor:
    r""":math:`L_T = \mathrm{KL}(N(\alpha_T x, \sigma_T^2) \,\|\, N(0, 1))`, ``(N, *shape) -> (N,)``."""
    alpha, variance = levels.alpha[-1], levels.sigma[-1].square()
    terms = alpha.square() * x.double().square() + variance - 1 - variance.log()
    return 0.5 * summed(terms)


def chain_terms(levels: Levels, variance: VarianceName) -> tuple[Tensor, Tensor]:
    r"""The weights w and constants c with which a datum of D entries has :math:`L_{t-1} = w_t \|x - \hat x_0\|^2 + D c_t`.

    Two Gaussians around the posterior means of x and of its guess, with the variances :math:`\tilde\beta` and v, have the
    divergence

    .. math::

        \mathrm{KL} = \frac{1}{2v} \Bigl(\frac{\alpha_s \beta_{t|s}}{\sigma_t^2}\Bigr)^2 \|x - \hat x_0\|^2
        + \frac D2 \Bigl(\frac{\tilde\beta}{v} - 1 - \log \frac{\tilde\beta}{v}\Bigr).

    With v = :math:`\tilde\beta` that is :math:`\tfrac12 (\mathrm{SNR}(s) - \mathrm{SNR}(t)) \|x - \hat x_0\|^2` (Kingma et al.
    2021, equation 13). The first term is that of the decoder :math:`N(x; \hat x_0, \sigma_1^2)` of real data.

    Returns:
        Weights and constants of t = 1 … T, each ``(T,)``.
    """
    step = levels.step(torch.arange(2, len(levels) + 1, device=levels.alpha.device))
    v = step.beta if variance == "beta" else step.posterior
    ratio = step.posterior / v
    first = levels.sigma[1:2].square()
    weights = torch.cat([1 / first, step.weight_of_clean.square() / v])
    constants = torch.cat([(2 * math.pi * first).log(), ratio - 1 - ratio.log()])
    return 0.5 * weights, 0.5 * constants


def squared_error(x: Tensor, guess: Tensor) -> Tensor:
    """The squared distance of each datum and its guess, ``(N,)`` float64."""
    return summed((x.double() - guess.double()).square())


def discretised_normal(x: Tensor, mu: Tensor, std: Tensor, bins: int) -> Tensor:
    r"""The decoder of levels on [-1, 1]: the mass of N(mu, std²) in the bin of each (Ho et al. 2020, equation 13), ``(N,)``.

    .. math:: \log(\Phi(b) - \Phi(a)), \qquad b, a = (x \pm 1/(L-1) - \mu) / \mathrm{std}

    The bins tile the line and the edge ones own the tails, so that it sums to one over the levels whatever mu and std are,
    as it must for the bound to be one of a probability.

    Args:
        x: Levels as values in [-1, 1], ``(N, *shape)``.
        mu: The guess, on the same scale.
        std: Its standard deviation, broadcastable.
        bins: The number of levels L.
    """
    half, x = 1 / max(1, bins - 1), x.double()
    upper = torch.where((x > 1 - half) | (bins == 1), math.inf, (x + half - mu) / std)
    lower = torch.where(x < -1 + half, -math.inf, (x - half - mu) / std)
    flipped = lower > 0  # in the upper tail both are 1 - tiny: mirrored, they are tiny
    upper, lower = torch.where(flipped, -lower, upper), torch.where(flipped, -upper, lower)
    log_b, log_a = log_ndtr(upper), log_ndtr(lower)
    return summed(log_b + torch.log1p(-(log_a - log_b).exp()))
