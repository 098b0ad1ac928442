r"""How much signal and how much noise there is at each step: :math:`(\alpha_t, \sigma_t)` and what follows from them.

Two paths lead from the datum, (1, 0), to noise, (0, 1): the quarter circle :math:`\alpha_t^2 + \sigma_t^2 = 1`, which keeps the
variance of standardised data, and the straight line :math:`\alpha_t = 1 - t, \sigma_t = t` of flow matching (Lipman et al.
2023, https://arxiv.org/abs/2210.02747).

Ho et al. (2020, https://arxiv.org/abs/2006.11239) write :math:`\beta_t` for the variance that step t adds,
:math:`a_t = 1 - \beta_t`, and :math:`\bar a_t = \prod_{s \le t} a_s`. With these

.. math::

    \alpha_t = \sqrt{\bar a_t}, \qquad \sigma_t = \sqrt{1 - \bar a_t}, \qquad
    \beta_{t|s} = \sigma_t^2 - \sigma_s^2 \alpha_t^2 / \alpha_s^2 \quad (\text{so that } \beta_{t|t-1} = \beta_t).

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

ScheduleName = Literal["cosine", "linear", "straight"]
SCHEDULES: tuple[ScheduleName, ...] = ("cosine", "linear", "straight")
LARGEST_BETA = 0.999
"""So much of the signal's variance a step may take at most, as in Nichol & Dhariwal: else the last level has none left."""
OFFSET = 0.008
"""Nichol & Dhariwal's s: the first step's noise is then a little less than a pixel's level of 256."""

BEND = 1.5
"""How the steps of a thinned chain lie along the circle: 1 is evenly, more is closer together where there is more noise."""


@final
@dataclass(frozen=True, eq=False)
class Step:
    r"""The two conditional Gaussians between a level s and a noisier level t.

    .. math::

        q(x_t \mid x_s) &= N(\alpha_{t|s} x_s, \beta_{t|s}), \qquad
        \alpha_{t|s} = \alpha_t / \alpha_s, \quad
        \beta_{t|s} = \sigma_t^2 - \alpha_{t|s}^2 \sigma_s^2

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
        return self.sigma_t.square() - (self.alpha * self.sigma_s).square()

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
        straight: Whether the path is the straight line, and not the circle.
    """

    times: Tensor
    alpha: Tensor
    sigma: Tensor
    straight: bool = False

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
        return self.step(torch.arange(1, len(self) + 1, device=self.alpha.device)).beta

    @property
    def positions(self) -> Tensor:
        """How far along the path each level is: the angle from the datum on the circle, sigma on the line; ``(T + 1,)``."""
        return self.sigma if self.straight else torch.atan2(self.sigma, self.alpha)

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
        r"""A chain of fewer steps on a subset of the levels, from the datum to pure noise: on the circle closer together there.

        .. math:: w_i = w_T \bigl(1 - (1 - i / \mathrm{steps})^{1.5}\bigr)

        A chain must begin where sampling begins: a grid that leaves the last level out asks the network to denoise pure noise
        as if it had some signal (Lin et al. 2024). What a sample will show is settled where there is most noise, and near the
        datum the guess hardly changes any more: samples of pictures by few steps are the worse for steps that are even along
        the path, and those more so for steps of equal t, whose last one is too long for a method of second order. On the line
        they are even: its velocity hardly changes.

        Args:
            steps: From 1 to T.
        """
        number = torch.arange(steps + 1, device=self.times.device, dtype=self.times.dtype)
        bend = 1.0 if self.straight else BEND
        return self._at(self._distinct(self.positions[-1] * (1 - (1 - number / steps) ** bend)))

    def between(self, steps: int) -> Levels:
        """New levels after the datum: so many equal steps along the path from level 1 to the last, times interpolated."""
        path = self.positions
        found = torch.linspace(0, 1, steps + 1, device=path.device, dtype=path.dtype) * (path[-1] - path[1]) + path[1]
        above = torch.searchsorted(path, found).clamp(1, len(self))
        part = (found - path[above - 1]) / (path[above] - path[above - 1])
        times = torch.lerp(self.times[above - 1], self.times[above], part)
        alpha, sigma = (1 - found, found) if self.straight else (found.cos(), found.sin())
        datum = (table[:1] for table in (self.times, self.alpha, self.sigma))
        times, alpha, sigma = map(torch.cat, zip(datum, (times, alpha, sigma), strict=True))
        return Levels(times, alpha, sigma, self.straight)

    def _distinct(self, wanted: Tensor) -> Tensor:
        """The levels nearest to rising positions on the path, all different, from the first to the last."""
        path = self.positions
        above = torch.searchsorted(path, wanted).clamp(1, len(self))
        nearest = torch.where(wanted - path[above - 1] < path[above] - wanted, above - 1, above)
        number = torch.arange(len(wanted), device=path.device)
        apart = (nearest - number).clamp(min=0).cummax(0).values + number
        return torch.minimum(apart, number + len(self) + 1 - len(wanted))

    def _at(self, kept: Tensor) -> Levels:
        return Levels(self.times[kept], self.alpha[kept], self.sigma[kept], self.straight)


def levels(name: ScheduleName, timesteps: int) -> Levels:
    r"""The levels of a schedule.

    ``linear``: :math:`\beta_t` from 1e-4 to 0.02 at T = 1000 (Ho et al.), times 1000/T otherwise. ``cosine``:
    :math:`\bar a_t \propto \cos^2\bigl(\tfrac{t/T + s}{1 + s} \tfrac\pi2\bigr)` (Nichol & Dhariwal 2021), which spends fewer
    steps on data that are noise already. Both stop at :math:`\beta_t \le 0.999`. ``straight``: the line, whose end is noise
    alone.

    Args:
        name: One of the three.
        timesteps: The number of steps T, at least 1.
    """
    times = torch.linspace(0, 1, timesteps + 1, dtype=torch.float64)
    if name == "straight":
        return Levels(times, 1 - times, times, straight=True)
    betas = _cosine(times) if name == "cosine" else _linear(timesteps)
    log_signal = torch.cumsum(torch.log1p(-betas.clamp(max=LARGEST_BETA)), 0)  # log of the product of all 1 - beta
    log_signal = torch.cat([torch.zeros(1, dtype=torch.float64), log_signal])
    return Levels(times, (0.5 * log_signal).exp(), (-torch.expm1(log_signal)).sqrt())


def _linear(timesteps: int) -> Tensor:
    return torch.linspace(1e-4, 0.02, timesteps, dtype=torch.float64) * (1000 / timesteps)


def _cosine(times: Tensor) -> Tensor:
    signal = torch.cos((times + OFFSET) / (1 + OFFSET) * math.pi / 2).square()
    return 1 - signal[1:] / signal[:-1]
