r"""Learning an energy from chains that follow it (Du & Mordatch 2019; Tieleman 2008; Nijkamp et al. 2020).

The gradient of the likelihood lowers the energy of data and raises that of samples,

.. math:: \nabla_\theta L = E_{\text{data}}[\nabla_\theta f_\theta(x)] - E_{x' \sim p}[\nabla_\theta f_\theta(x')]
    + \text{penalty} \cdot \nabla_\theta\, E[f_\theta(x)^2 + f_\theta(x')^2],

where the samples are Langevin chains at their own temperature: step and noise go together. With labels, each datum is set
against a chain of its own label, so that both means are over the same labels. A *replay buffer* keeps the
chains from step to step; a few start anew from noise each time, without which they forget the way from noise to data, and
samples begin there. The penalty holds the tilts near zero, where the gradient that moves the chains is of the size that the
step was made for.

What fits the data is the law of the chains, and their steps are not small: of a normal feature with the variance v under
:math:`e^{-E}`, chains of step :math:`\epsilon` have :math:`v / (1 - \epsilon^2 / 4 v)`. Where that is the variance s² of data,
the density itself is narrower,

.. math:: v = \frac{s^2}{2} \left(1 + \sqrt{1 - \epsilon^2 / s^2}\right),

by 7 % at a step of half the feature's std, and by half at a step as long as it; what is narrower still is not learned. Samples
are those of the chains; energies, and scores, are those of the narrower density.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Generator, Tensor

from ....learning import Batch, Loss
from .chains import matched, written
from .mcmc import Kernel, Langevin, potential
from .tilted import Tilted, normal

__all__ = ["Contrast"]


@final
@dataclass(frozen=True, eq=False)
class Contrast(Tilted):
    """A tilted normal that learns from its chains.

    Args:
        replay: The chains, ``(chains, *shape)``.
        labels: Their number, or 0: row r of the chains has the label r modulo that.
        sweeps: Langevin steps of a chain in each step of training.
        restart: The share of chains that start anew each time they are moved.
        step: The Langevin step.
        penalty: Weight of the squared tilts.
    """

    replay: Tensor
    labels: int
    sweeps: int
    restart: float
    step: float
    penalty: float

    def tilt(self, x: Tensor, given: Tensor | None) -> Tensor:
        """What the network answers."""
        found: Tensor = self.network(x, torch.ones(1, device=x.device), given)
        return found

    def loss(self, batch: Batch, generator: Generator) -> Loss:
        """The energy of data less that of chains, with the chains held fixed, and the penalty."""
        x = batch.x.float()
        x = x + self.tau * normal(x, generator) if self.tau else x
        rows = self._rows(batch, generator)
        chains = self._moved(self.replay[rows], batch.given, generator)
        written(self.replay, rows, chains)
        given = None if batch.given is None else batch.given.repeat(2)
        tilts = self.tilt(torch.cat([x, chains]), given)
        below, above = tilts[: len(x)], tilts[len(x) :]
        weights = torch.full((len(chains),), 1 / len(chains), device=x.device)
        gap = below.mean() - (weights * above).sum()
        penalty = self.penalty * (below.square().mean() + above.square().mean())
        with torch.no_grad():
            data, moved = below + self.normal_energy(x), above + self.normal_energy(chains)
        parts = {"gap": gap, "data_energy": data.mean(), "chain_energy": (weights * moved).sum()}
        return Loss(gap + penalty, {**parts, "energy_spread": data.std(correction=0)})

    def sample(self, x: Tensor, given: Tensor | None, steps: int, generator: Generator) -> Tensor:
        r"""A chain of so many steps; where there is noise on data, :math:`E[x \mid \tilde x]` at its end."""
        x = self._walked(self.std * x, given, steps, generator)
        if not self.tau or not len(x):
            return x
        return x - self.tau**2 * potential(lambda x: self.energy(x, given), x)[1]

    def _rows(self, batch: Batch, generator: Generator) -> Tensor:
        """Of the chains that are moved: one for each datum, of its label."""
        if batch.given is not None:
            return matched(batch.given, len(self.replay), self.labels, generator)
        return torch.randperm(len(self.replay), generator=generator, device=batch.x.device)[: len(batch.x)]

    def _moved(self, chains: Tensor, labels: Tensor | None, generator: Generator) -> Tensor:
        """The chains after their steps; some start anew."""
        anew = torch.rand(len(chains), generator=generator, device=chains.device) < self.restart
        anew = anew.reshape(-1, *[1] * (chains.ndim - 1))
        x = torch.where(anew, self.std * normal(chains, generator), chains)
        return self._walked(x, labels, self.sweeps, generator)

    def _walked(self, x: Tensor, labels: Tensor | None, steps: int, generator: Generator) -> Tensor:
        kernel: Kernel = Langevin(lambda x: self.energy(x, labels), self.step)
        for _ in range(steps):
            x, _ = kernel.step(x, generator)
        return x
