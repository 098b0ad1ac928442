r"""A normal that a network tilts, and what its learning and its sampling must be.

.. math:: p(x \mid y) = \frac{e^{-E(x, y)}}{Z(y)}, \qquad E(x, y) = f(x, y) + \frac{\|x\|^2}{2 s^2} .

The tilt f grows at most linearly and the normal's energy quadratically, so that Z is finite whatever the network does: this is
a density from the first step of training on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from ....distribution import summed
from ....learning import Batch, Loss

__all__ = ["Tilted", "normal"]


@dataclass(frozen=True, eq=False)
class Tilted(ABC):
    """A tilted normal.

    Args:
        network: ``(x, t, given) -> (N,)``.
        std: Of the normal, s.
        tau: The std of the noise on data that the energy is of.
    """

    network: Any
    std: float
    tau: float

    @abstractmethod
    def tilt(self, x: Tensor, given: Tensor | None) -> Tensor:
        """The f of the energy, ``(N,)``."""

    @abstractmethod
    def loss(self, batch: Batch, generator: Generator) -> Loss:
        """What training minimises."""

    @abstractmethod
    def sample(self, x: Tensor, given: Tensor | None, steps: int, generator: Generator) -> Tensor:
        """Data drawn in so many steps from noise ``x``, ``(N, *shape)`` standard normal numbers."""

    def energy(self, x: Tensor, given: Tensor | None) -> Tensor:
        """The energy, ``(N,)``."""
        x = x.float()
        return self.tilt(x, given) + self.normal_energy(x)

    def normal_energy(self, x: Tensor) -> Tensor:
        """That of the normal alone."""
        return summed(x.square()) / (2 * self.std**2)


def normal(x: Tensor, generator: Generator) -> Tensor:
    """Standard normal numbers of the shape of ``x``."""
    return torch.randn(x.shape, generator=generator, device=x.device)
