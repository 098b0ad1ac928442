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

from ....distribution import summed
from .sampler import Variance
from .schedule import Levels

__all__ = ["chain_terms", "discretised_normal", "end_term", "squared_error"]


def end_term(levels: Levels, x: Tensor) -> Tensor:
    r""":math:`L_T = \mathrm{KL}(N(\alpha_T x, \sigma_T^2) \,\|\, N(0, 1))`, ``(N, *shape) -> (N,)``."""
    alpha, variance = levels.alpha[-1], levels.sigma[-1].square()
    terms = alpha.square() * x.double().square() + variance - 1 - variance.log()
    return 0.5 * summed(terms)


def chain_terms(levels: Levels, variance: Variance) -> tuple[Tensor, Tensor]:
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
        std: Its standard deviation.
        bins: The number of levels L.
    """
    half, x = 1 / max(1, bins - 1), x.double()
    upper = torch.where((x > 1 - half) | (bins == 1), math.inf, (x + half - mu) / std)
    lower = torch.where(x < -1 + half, -math.inf, (x - half - mu) / std)
    flipped = lower > 0  # in the upper tail both are 1 - tiny: mirrored, they are tiny
    upper, lower = torch.where(flipped, -lower, upper), torch.where(flipped, -upper, lower)
    log_b, log_a = log_ndtr(upper), log_ndtr(lower)
    return summed(log_b + torch.log1p(-(log_a - log_b).exp()))
