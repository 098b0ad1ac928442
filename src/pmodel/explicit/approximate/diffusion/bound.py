r"""The terms of the bound, in nats for each datum, given the guess :math:`\hat x_0` of the datum from :math:`x_t`.

.. math::

    -\log p(x) \le L_0 + \sum_{t=2}^T L_{t-1} + L_T

with the decoder's term :math:`L_0 = -E \log p(x \mid x_1)`, the reverse chain's :math:`L_{t-1}`, and :math:`L_T`, what is left
of the datum at the end of the noising, which is not zero where that is short (Ho et al. 2020, equation 5).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.special import log_ndtr

from .sampler import Variance
from .schedule import Levels, Step

__all__ = ["chain_term", "discretised_normal", "end_term", "expected_terms", "normal"]


def end_term(levels: Levels, x: Tensor) -> Tensor:
    r""":math:`L_T = \mathrm{KL}(N(\alpha_T x, \sigma_T^2) \,\|\, N(0, 1))`, ``(N, *shape) -> (N,)``."""
    alpha, variance = levels.alpha[-1], levels.sigma[-1].square()
    terms = alpha.square() * x.double().square() + variance - 1 - variance.log()
    return 0.5 * _summed(terms)


def chain_term(step: Step, x: Tensor, guess: Tensor, variance: Variance) -> Tensor:
    r""":math:`L_{t-1} = \mathrm{KL}(q(x_s \mid x_t, x) \,\|\, p(x_s \mid x_t))`, ``(N,)``: two Gaussians.

    With the posterior's variance on both sides, it is a squared error (Kingma et al. 2021, equation 13):

    .. math:: \tfrac12 (\mathrm{SNR}(s) - \mathrm{SNR}(t))\, \|x - \hat x_0\|^2

    Args:
        step: The levels of each datum, which broadcast against the data.
        x: Data, ``(N, *shape)``.
        guess: What the network makes of them at level t.
        variance: Of the reverse chain.
    """
    shift = step.weight_of_clean.square() * (x.double() - guess.double()).square()
    if variance == "posterior":
        return 0.5 * _summed(shift / step.posterior)
    ratio = step.posterior / step.beta
    return 0.5 * _summed(shift / step.beta + ratio - 1 - ratio.log())


def normal(x: Tensor, mu: Tensor, std: Tensor) -> Tensor:
    r"""The decoder of real data: :math:`\log N(x; \mu, \mathrm{std}^2)`, ``(N,)``."""
    z = (x.double() - mu.double()) / std
    return _summed(-0.5 * z.square() - std.log() - 0.5 * math.log(2 * math.pi))


def discretised_normal(x: Tensor, mu: Tensor, std: Tensor, bins: int) -> Tensor:
    r"""The decoder of levels on [-1, 1]: the mass of N(mu, std²) in the bin of each (Ho et al. 2020, equation 13), ``(N,)``.

    .. math:: \log(\Phi(b) - \Phi(a)), \qquad b, a = (x \pm 1/(L-1) - \mu) / \mathrm{std}

    The bins tile the line and the edge ones own the tails, so that it sums to one over the levels whatever mu and std are,
    as it must for the bound to be one of a probability.

    Args:
        x: Levels as values in [-1, 1], ``(N, *shape)``.
        mu: The guess, on the same scale.
        std: Its standard deviation.
        bins: The number of levels L.
    """
    half, x = 1 / max(1, bins - 1), x.double()
    upper = torch.where((x > 1 - half) | (bins == 1), math.inf, (x + half - mu) / std)
    lower = torch.where(x < -1 + half, -math.inf, (x - half - mu) / std)
    flipped = lower > 0  # in the upper tail both are 1 - tiny: mirrored, they are tiny
    upper, lower = torch.where(flipped, -lower, upper), torch.where(flipped, -upper, lower)
    log_b, log_a = log_ndtr(upper), log_ndtr(lower)
    return _summed(log_b + torch.log1p(-(log_a - log_b).exp()))


def expected_terms(levels: Levels) -> Tensor:
    r"""What the terms L_0 … L_{T-1} come to, up to a constant, for standard normal data: ``(T,)``.

    The best guess is then off by :math:`\sigma_t^2`. To draw t in proportion makes the terms of one draw alike in size.
    """
    snr, variance = levels.snr, levels.sigma.square()
    chain = 0.5 * (snr[1:-1] - snr[2:]) * variance[2:]
    return torch.cat([torch.full_like(chain[:1], 0.5) if len(chain) else variance.new_ones(1), chain])


def _summed(terms: Tensor) -> Tensor:
    """Over the entries of each datum, of which a scalar has one."""
    return terms.flatten(1).sum(1) if terms.ndim > 1 else terms
