r"""What the network may answer, and what follows from each answer: one guess of the datum in three units.

Any two of :math:`x_t, x_0, \epsilon` and the velocity :math:`v` along the path tell the others:

.. math::

    x_t &= \alpha_t x_0 + \sigma_t \epsilon

    \text{on the circle:}\quad v &= \alpha_t \epsilon - \sigma_t x_0, & x_0 &= \alpha_t x_t - \sigma_t v
    \qquad \text{(Salimans \& Ho 2022)}

    \text{on the line:}\quad v &= \epsilon - x_0, & x_0 &= x_t - \sigma_t v
    \qquad \text{(flow matching, Lipman et al. 2023)}

In both, v is the derivative of :math:`x_t` along the path (by its angle, by t), so that flow matching and denoising are one
regression in other units. An error of the answer is one of the datum times a number:

.. math::

    \hat x_0 - x_0 = \rho_t \cdot (\text{error of the answer}), \qquad
    |\rho_t| = 1 \;(x_0), \quad \sigma_t / \alpha_t \;(\epsilon), \quad \sigma_t \;(v).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

__all__ = ["PREDICTIONS", "WEIGHTINGS", "Parametrisation", "PredictionName", "WeightingName"]

PredictionName = Literal["v", "eps", "x0"]
PREDICTIONS: tuple[PredictionName, ...] = ("v", "eps", "x0")
WeightingName = Literal["plain", "min-snr"]
WEIGHTINGS: tuple[WeightingName, ...] = ("plain", "min-snr")
GAMMA = 5.0
"""Where Hang et al. cap the signal-to-noise ratio."""


@final
@dataclass(frozen=True)
class Parametrisation:
    """The units of an answer. Everywhere, alpha and sigma broadcast against the data.

    Args:
        name: ``v``, ``eps`` or ``x0``.
        straight: Whether the path is the line, and not the circle.
    """

    name: PredictionName
    straight: bool = False

    def target(self, x_0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """What the network should answer at alpha x_0 + sigma eps."""
        if self.name == "v":
            return eps - x_0 if self.straight else alpha * eps - sigma * x_0
        return eps if self.name == "eps" else x_0

    def clean(self, answer: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The guess of x_0 that an answer amounts to. From the noise it is ill-conditioned where alpha is small."""
        if self.name == "v":
            return (x_t if self.straight else alpha * x_t) - sigma * answer
        return (x_t - sigma * answer) / alpha if self.name == "eps" else answer

    def ratio(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        r""":math:`|\rho_t|`: the error of the datum for an error of one in the answer."""
        return {"v": sigma, "eps": sigma / alpha, "x0": torch.ones_like(sigma)}[self.name]

    def velocity(self, x_0: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The derivative of x_t along the path, if x_0 is the guess: what the flow of the model follows."""
        eps = (x_t - alpha * x_0) / sigma
        return eps - x_0 if self.straight else alpha * eps - sigma * x_0

    def weight(self, weighting: WeightingName, alpha: Tensor, sigma: Tensor) -> Tensor:
        r"""What the squared error of the answer counts in training.

        ``plain``: one. ``min-snr``: so much that the squared error of x_0 counts :math:`\min(\mathrm{SNR}_t, 5)`, which keeps
        the nearly clean data, where the SNR has no limit, from ruling the gradient (Hang et al. 2023,
        https://arxiv.org/abs/2303.09556): min(SNR, 5) for x_0, min(SNR, 5) / SNR for the noise, and for the velocity
        :math:`\min(\mathrm{SNR}, 5)\, \sigma_t^2`, which on the circle is min(SNR, 5) / (SNR + 1) and on the line
        :math:`\min(\mathrm{SNR}, 5) / (\sqrt{\mathrm{SNR}} + 1)^2`. At the end of the line the SNR is 0, and so is the
        weight: the answer to pure noise, where sampling begins, is not trained.
        """
        if weighting == "plain":
            return torch.ones_like(sigma)
        return (alpha / sigma).square().clamp(max=GAMMA) * self.ratio(alpha, sigma).square()
