r"""Samplers of the reverse chain: pure functions, one step each, and one loop.

A step goes from level t to a level s < t by way of the network's guess of the datum, :math:`\hat x_0`, which in exact
arithmetic is interchangeable with its guess of the noise or of the velocity (Salimans & Ho 2022),

.. math::

    x_t = \alpha_t x_0 + \sigma_t \epsilon, \qquad v = \alpha_t \epsilon - \sigma_t x_0, \qquad
    x_0 = \alpha_t x_t - \sigma_t v = (x_t - \sigma_t \epsilon) / \alpha_t.

The steps know two levels and nothing else, so they serve any schedule and any grid.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Generator, Tensor

from .schedule import Levels, Step

__all__ = ["Move", "Prediction", "Variance", "ancestral", "clean", "ddim", "posterior_mean", "reverse", "target"]

Prediction = Literal["v", "eps"]
Variance = Literal["posterior", "beta"]
Move = Callable[[Step, Tensor, Tensor, Tensor], Tensor]
"""A step: from the two levels, x_t, the guessed x_0 and standard normal noise to x_s."""


def target(prediction: Prediction, x_0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """What the network should answer at :math:`x_t = alpha x_0 + sigma eps`: the velocity or the noise."""
    return alpha * eps - sigma * x_0 if prediction == "v" else eps


def clean(prediction: Prediction, output: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """The guess of x_0 that the network's answer amounts to. From the noise it is ill-conditioned where alpha is small."""
    return alpha * x_t - sigma * output if prediction == "v" else (x_t - sigma * output) / alpha


def posterior_mean(step: Step, x_t: Tensor, x_0: Tensor) -> Tensor:
    r"""The mean of :math:`q(x_s \mid x_t, x_0)`."""
    return step.weight_of_noisy * x_t + step.weight_of_clean * x_0


def ancestral(step: Step, x_t: Tensor, x_0: Tensor, noise: Tensor, *, variance: Variance = "posterior") -> Tensor:
    r"""A step of the reverse chain (Ho et al. 2020, algorithm 2): the posterior's mean, and noise.

    The noise has the variance :math:`\tilde\beta_{t|s}` (``posterior``), right for data that are a single point, or
    :math:`\beta_{t|s}` (``beta``), right for standard normal data; the truth lies between. They agree for small steps and
    differ for large ones, where ``beta`` leaves noise behind. The step to s = 0 adds none: it returns :math:`\hat x_0`.
    """
    chosen = step.beta if variance == "beta" else step.posterior
    std = torch.where(step.sigma_s > 0, chosen, 0.0).sqrt()
    return posterior_mean(step, x_t, x_0) + std * noise


def ddim(step: Step, x_t: Tensor, x_0: Tensor, noise: Tensor, *, eta: float = 0.0) -> Tensor:
    r"""A step of a chain with the same marginals and less noise of its own (Song et al. 2021, equation 12).

    .. math::

        x_s = \alpha_s \hat x_0 + \sqrt{\sigma_s^2 - \eta^2 \tilde\beta_{t|s}}\; \hat\epsilon
        + \eta \sqrt{\tilde\beta_{t|s}}\; z, \qquad \hat\epsilon = (x_t - \alpha_t \hat x_0) / \sigma_t

    With eta = 0 it is deterministic: Euler's method, of first order, for an ordinary differential equation. With eta = 1 it is
    the ancestral step with the posterior variance.
    """
    own = eta**2 * step.posterior
    eps = (x_t - step.alpha_t * x_0) / step.sigma_t
    return step.alpha_s * x_0 + (step.sigma_s.square() - own).sqrt() * eps + own.sqrt() * noise


def reverse(
    denoise: Callable[[Tensor, int], Tensor], levels: Levels, move: Move, x: Tensor, generator: Generator
) -> Tensor:
    """Run the reverse chain from noise to data, one call of the network for each step.

    Args:
        denoise: From x_t and t, the number of its level, to the guess of x_0.
        levels: The levels to pass through.
        move: The step.
        x: Standard normal noise, ``(N, *shape)``.
        generator: Of the noise of the steps.
    """
    for t in range(len(levels), 0, -1):
        noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        x = move(levels.step(t), x, denoise(x, t), noise)
    return x
