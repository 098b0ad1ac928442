r"""How much signal and how much noise there is at each step: :math:`(\alpha_t, \sigma_t)` and what follows from them.

Ho et al. (2020, https://arxiv.org/abs/2006.11239) write :math:`\beta_t` for the variance that step t adds,
:math:`a_t = 1 - \beta_t`, and :math:`\bar a_t = \prod_{s \le t} a_s`. With these

.. math::

    \alpha_t = \sqrt{\bar a_t}, \qquad \sigma_t = \sqrt{1 - \bar a_t}, \qquad
    \beta_{t|s} = 1 - \alpha_t^2 / \alpha_s^2 \quad (\text{so that } \beta_{t|t-1} = \beta_t).

Everything here is a function of :math:`(\alpha, \sigma)` at two levels s < t, which need not be neighbours. So a grid of fewer
steps has its own, larger :math:`\beta_{t|s}`; the original :math:`\beta_t` beside a thinned-out :math:`\bar a_t` is a chain
that belongs to neither. Tables are float64: :math:`1 - \bar a_1` is 1e-4, and float32 has seven digits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

__all__ = ["SCHEDULES", "Levels", "ScheduleName", "Step", "levels"]

ScheduleName = Literal["cosine", "linear"]
SCHEDULES: tuple[ScheduleName, ...] = ("cosine", "linear")
LARGEST_BETA = 0.999
"""So much of the signal's variance a step may take at most, as in Nichol & Dhariwal: else the last level has none left."""
OFFSET = 0.008
"""Nichol & Dhariwal's s: the first step's noise is then a little less than a pixel's level of 256."""


@final
@dataclass(frozen=True, eq=False)
class Step:
    r"""The two conditional Gaussians between a level s and a noisier level t.

    .. math::

        q(x_t \mid x_s) &= N(\alpha_{t|s} x_s, \beta_{t|s}), \qquad
        \alpha_{t|s} = \alpha_t / \alpha_s, \quad \beta_{t|s} = 1 - \alpha_{t|s}^2

        q(x_s \mid x_t, x_0) &= N\Bigl(\frac{\alpha_{t|s} \sigma_s^2}{\sigma_t^2} x_t
        + \frac{\alpha_s \beta_{t|s}}{\sigma_t^2} x_0,\; \tilde\beta_{t|s}\Bigr), \qquad
        \tilde\beta_{t|s} = \beta_{t|s}\, \sigma_s^2 / \sigma_t^2

    The second follows from the first by Bayes; precisions add:
    :math:`1/\tilde\beta = 1/\sigma_s^2 + \alpha_{t|s}^2/\beta_{t|s}`.

    Args:
        alpha_s: Signal at s; all four are float64, scalars or ``(N, 1, …)`` against a batch.
        sigma_s: Noise at s.
        alpha_t: Signal at t.
        sigma_t: Noise at t.
    """

    alpha_s: Tensor
    sigma_s: Tensor
    alpha_t: Tensor
    sigma_t: Tensor

    @property
    def alpha(self) -> Tensor:
        r""":math:`\alpha_{t|s}`."""
        return self.alpha_t / self.alpha_s

    @property
    def beta(self) -> Tensor:
        r""":math:`\beta_{t|s}`: the variance that the step adds."""
        return 1 - self.alpha.square()

    @property
    def posterior(self) -> Tensor:
        r""":math:`\tilde\beta_{t|s}`: the variance of x_s where x_t and x_0 are known; zero at s = 0."""
        return self.beta * (self.sigma_s / self.sigma_t).square()

    @property
    def weight_of_noisy(self) -> Tensor:
        """What x_t counts in the posterior's mean."""
        return self.alpha * (self.sigma_s / self.sigma_t).square()

    @property
    def weight_of_clean(self) -> Tensor:
        """What x_0 counts in the posterior's mean; one at s = 0, where the other is zero."""
        return self.alpha_s * self.beta / self.sigma_t.square()


@final
@dataclass(frozen=True, eq=False)
class Levels:
    """The levels of a chain from data to noise: level 0 is the datum itself, alpha = 1 and sigma = 0.

    Args:
        times: t in [0, 1] of each level, ``(T + 1,)`` float64 rising: what the network is told.
        alpha: Signal at each level.
        sigma: Noise at each level.
    """

    times: Tensor
    alpha: Tensor
    sigma: Tensor

    def __len__(self) -> int:
        """The number of steps T."""
        return len(self.times) - 1

    @property
    def snr(self) -> Tensor:
        """Signal-to-noise ratio of each level, infinite at level 0."""
        return (self.alpha / self.sigma).square()

    @property
    def betas(self) -> Tensor:
        """The variance that each step adds, ``(T,)``."""
        return 1 - (self.alpha[1:] / self.alpha[:-1]).square()

    def step(self, t: Tensor | int, ndim: int = 0) -> Step:
        """The step between levels t - 1 and t.

        Args:
            t: A level from 1 to T, or one for each datum, ``(N,)``.
            ndim: Axes to append, so that the step broadcasts against data.
        """

        def at(table: Tensor, level: Tensor | int) -> Tensor:
            return table[level].reshape((*table[level].shape, *[1] * ndim))

        return Step(at(self.alpha, t - 1), at(self.sigma, t - 1), at(self.alpha, t), at(self.sigma, t))

    def signal_and_noise(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Alpha and sigma of each datum's level ``t``, of the type of the data ``x`` and broadcastable to them."""
        shape = (-1, *[1] * (x.ndim - 1))
        return self.alpha[t].to(x.dtype).reshape(shape), self.sigma[t].to(x.dtype).reshape(shape)

    def respaced(self, steps: int) -> Levels:
        """A chain of fewer steps on a subset of the levels, evenly spaced in t and ending at pure noise.

        A chain must begin where sampling begins: a grid that leaves the last level out asks the network to denoise pure noise
        as if it had some signal (Lin et al. 2024).

        Args:
            steps: From 1 to T.
        """
        kept = torch.arange(steps + 1, device=self.times.device) * len(self) // steps
        return Levels(self.times[kept], self.alpha[kept], self.sigma[kept])


def levels(name: ScheduleName, timesteps: int) -> Levels:
    r"""The levels of a schedule.

    ``linear``: :math:`\beta_t` from 1e-4 to 0.02 at T = 1000 (Ho et al.), times 1000/T otherwise. ``cosine``:
    :math:`\bar a_t \propto \cos^2\bigl(\tfrac{t/T + s}{1 + s} \tfrac\pi2\bigr)` (Nichol & Dhariwal 2021), which spends fewer
    steps on data that are noise already. Both stop at :math:`\beta_t \le 0.999`.

    Args:
        name: ``cosine`` or ``linear``.
        timesteps: The number of steps T, at least 1.
    """
    times = torch.linspace(0, 1, timesteps + 1, dtype=torch.float64)
    betas = _cosine(times) if name == "cosine" else _linear(timesteps)
    log_signal = torch.cumsum(torch.log1p(-betas.clamp(max=LARGEST_BETA)), 0)  # log of the product of all 1 - beta
    log_signal = torch.cat([torch.zeros(1, dtype=torch.float64), log_signal])
    return Levels(times, (0.5 * log_signal).exp(), (-torch.expm1(log_signal)).sqrt())


def _linear(timesteps: int) -> Tensor:
    return torch.linspace(1e-4, 0.02, timesteps, dtype=torch.float64) * (1000 / timesteps)


def _cosine(times: Tensor) -> Tensor:
    signal = torch.cos((times + OFFSET) / (1 + OFFSET) * math.pi / 2).square()
    return 1 - signal[1:] / signal[:-1]
