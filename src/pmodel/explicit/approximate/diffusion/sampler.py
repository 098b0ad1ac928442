r"""Samplers of the reverse chain: a step, a way to guess for it, and one loop.

A step goes from level t to a level s < t by way of a guess of the datum. In :math:`r = \alpha / \sigma` the deterministic
chain is

.. math::

    \frac{d (x / \sigma)}{dr} = \hat x_0(x, r), \qquad
    \frac{x_s}{\sigma_s} = \frac{x_t}{\sigma_t} + \int_{r_t}^{r_s} \hat x_0\, dr,

and ``ddim`` is the step for a guess that stays as it is, Euler's method. What makes a method of second order is a guess that is
good for the mean over the step: ``extrapolated`` from the steps before (DPM-Solver++(2M), Lu et al. 2022,
https://arxiv.org/abs/2211.01095), or ``averaged`` over both its ends (Heun's method, as in algorithm 1 of Karras et al. 2022,
https://arxiv.org/abs/2206.00364, there in :math:`\sigma / \alpha`, which has no end where alpha vanishes). The steps know two
levels and nothing else, so they serve any schedule and any grid.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor

from .schedule import Levels, Step

__all__ = [
    "Denoise",
    "Guess",
    "Move",
    "SamplerName",
    "VarianceName",
    "ancestral",
    "averaged",
    "between",
    "ddim",
    "extrapolated",
    "posterior_mean",
    "reverse",
    "solver",
]

SamplerName = Literal["dpm", "ddim", "heun", "ancestral"]
VarianceName = Literal["posterior", "beta", "learned"]


class Guess(NamedTuple):
    r"""What a network says of :math:`x_t`.

    Args:
        x_0: The datum, ``(N, *shape)``.
        fraction: Where the variance of the step to the next level lies between :math:`\tilde\beta`, 0, and :math:`\beta`, 1, of
            each entry; None if the network does not say.
    """

    x_0: Tensor
    fraction: Tensor | None = None


Denoise = Callable[[Tensor, int], Guess]
"""From x_t and t, the number of its level, to the guess."""
Move = Callable[[Step, Tensor, Guess, Tensor], Tensor]
"""A step: from the two levels, x_t, the guess and standard normal noise to x_s."""


def posterior_mean(step: Step, x_t: Tensor, x_0: Tensor) -> Tensor:
    r"""The mean of :math:`q(x_s \mid x_t, x_0)`."""
    return step.weight_of_noisy * x_t + step.weight_of_clean * x_0


def between(low: Tensor, high: Tensor, fraction: Tensor | float) -> Tensor:
    r""":math:`\exp((1 - f) \log \mathrm{low} + f \log \mathrm{high})` (Nichol & Dhariwal 2021, equation 15)."""
    return low ** (1 - fraction) * high**fraction


def ancestral(step: Step, x_t: Tensor, guess: Guess, noise: Tensor, *, variance: VarianceName = "posterior") -> Tensor:
    r"""A step of the reverse chain (Ho et al. 2020, algorithm 2): the posterior's mean, and noise.

    The noise has the variance :math:`\tilde\beta_{t|s}` (``posterior``), right for data that are a single point, or
    :math:`\beta_{t|s}` (``beta``), right for standard normal data; the truth lies between, and the network may say where
    (``learned``). They agree for small steps and differ for large ones, where ``beta`` leaves noise behind. The step to s = 0
    adds none: it returns :math:`\hat x_0`.
    """
    fraction = {"posterior": 0.0, "beta": 1.0, "learned": guess.fraction}[variance]
    assert fraction is not None  # noqa: S101 - a model with a learned variance has a network that says it
    chosen = between(step.posterior, step.beta, fraction)
    std = torch.where(step.sigma_s > 0, chosen, 0.0).sqrt().to(x_t.dtype)
    return posterior_mean(step, x_t, guess.x_0) + std * noise


def ddim(step: Step, x_t: Tensor, guess: Guess, noise: Tensor, *, eta: float = 0.0) -> Tensor:
    r"""A step of a chain with the same marginals and less noise of its own (Song et al. 2021, equation 12).

    .. math::

        x_s = \alpha_s \hat x_0 + \sqrt{\sigma_s^2 - \eta^2 \tilde\beta_{t|s}}\; \hat\epsilon
        + \eta \sqrt{\tilde\beta_{t|s}}\; z, \qquad \hat\epsilon = (x_t - \alpha_t \hat x_0) / \sigma_t

    With eta = 0 it is deterministic: Euler's method, of first order, for an ordinary differential equation. With eta = 1 it is
    the ancestral step with the posterior variance.
    """
    own = eta**2 * step.posterior
    eps = (x_t - step.alpha_t * guess.x_0) / step.sigma_t
    return step.alpha_s * guess.x_0 + (step.sigma_s.square() - own).sqrt() * eps + own.sqrt() * noise


def extrapolated(denoise: Denoise, levels: Levels) -> Denoise:
    r"""Guesses for the middle of a step, from the line through the last two in :math:`\lambda = \log(\alpha / \sigma)`.

    .. math:: D = \hat x_0(t) + \frac{\lambda_s - \lambda_t}{2 (\lambda_t - \lambda_{t+1})} (\hat x_0(t) - \hat x_0(t + 1))

    (Lu et al. 2022, algorithm 2, with their :math:`h_i` and :math:`r_i`; with noise it is their SDE version.) The first guess
    has none before it, and the last step, to where :math:`\lambda` is infinite, returns the guess as it is. The levels are
    passed in order, once.
    """
    log_snr = (levels.alpha / levels.sigma).log().tolist()
    before: list[Tensor] = []

    def guess(x_t: Tensor, t: int) -> Guess:
        found = denoise(x_t, t)
        better = found.x_0
        if before and t > 1:
            slope = (log_snr[t - 1] - log_snr[t]) / (2 * (log_snr[t] - log_snr[t + 1]))
            better = better + slope * (better - before[0])
        before[:] = [found.x_0]
        return Guess(better, found.fraction)

    return guess


def averaged(denoise: Denoise, levels: Levels) -> Denoise:
    """The mean of the guess and of that at the end of the step that it leads to; two calls for each step but the last."""

    def guess(x_t: Tensor, t: int) -> Guess:
        found = denoise(x_t, t)
        if t == 1:
            return found
        ahead = ddim(levels.step(t), x_t, found, torch.zeros_like(x_t))
        return Guess((found.x_0 + denoise(ahead, t - 1).x_0) / 2, found.fraction)

    return guess


def solver(
    name: SamplerName, denoise: Denoise, levels: Levels, *, eta: float, variance: VarianceName
) -> tuple[Denoise, Move]:
    """The guesses and the step of a sampler, for ``reverse``."""
    if name == "ancestral":
        return denoise, functools.partial(ancestral, variance=variance)
    if name == "heun":
        return averaged(denoise, levels), ddim
    return extrapolated(denoise, levels) if name == "dpm" else denoise, functools.partial(ddim, eta=eta)


def reverse(denoise: Denoise, levels: Levels, move: Move, x: Tensor, generator: Generator | None) -> Tensor:
    """Run the reverse chain from noise to data.

    Args:
        denoise: From x_t and its level to the guess for the step from there.
        levels: The levels to pass through.
        move: The step.
        x: Standard normal noise, ``(N, *shape)``.
        generator: Of the noise of the steps; None where they have none, so that the same start leads to the same data
            whatever the number of steps.
    """
    noise = torch.zeros_like(x)
    for t in range(len(levels), 0, -1):
        if generator is not None:
            noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        x = move(levels.step(t), x, denoise(x, t), noise)
    return x
