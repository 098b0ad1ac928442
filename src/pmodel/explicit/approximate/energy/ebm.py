r"""The energy-based model with a network (Du & Mordatch 2019, https://arxiv.org/abs/1903.08689; Nijkamp et al. 2020).

A network tilts a normal,

.. math:: p(x \mid y) = \frac{e^{-E(x, y)}}{Z(y)}, \qquad E(x, y) = f_\theta(x)_y + \frac{\|x\|^2}{2 s^2},

so that Z is finite whatever the network does within linear growth, and the model is a density from its first step on. Data come
standardised, and the normal is wide (s = 2). Learning lowers the energy of data and raises that of samples,

.. math:: \nabla_\theta L = E_{\text{data}}[\nabla_\theta f_\theta(x)] - E_{x' \sim p}[\nabla_\theta f_\theta(x')]
    + \text{penalty} \cdot \nabla_\theta\, E[f_\theta(x)^2 + f_\theta(x')^2],

where the samples are Langevin chains at their own temperature: step and noise go together, so that what is learned is the
density that the chains follow, and not that of colder chains. A *replay buffer* keeps the chains from step to step; a few start
anew from noise each time, without which they forget the way from noise to data, and samples begin there. The penalty holds the
energies near zero, where the gradient that moves the chains is of the size that the step was made for.

Pictures have pixels that never change, and no density with finite gradients has a point for a support. So pictures are learned
with noise of a small std :math:`\tau` added, and the last act of sampling takes it off again, by the mean of the data given the
noisy picture (Robbins 1956, Saremi & Hyvärinen 2019):

.. math:: \tilde x = x + \tau \epsilon, \qquad E[x \mid \tilde x] = \tilde x - \tau^2 \nabla E(\tilde x).

The energy of pictures is that of the noisy ones. In up to eight dimensions log Z is had by annealed importance sampling, from
the normal to the model with Hamiltonian moves, and the score is an estimate; above it there is none, only the energy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, final

import torch
from torch import Generator, Tensor

from ....capability import Partitioned, Samples
from ....distribution import summed
from ....domain import Domain, Real
from ....errors import NotSupported, RangeError, require_whole
from ....learning import Batch, GradientTrained, Loss, Phase, Recipe
from .ais import Bridge, anneal, log_mean
from .mcmc import Hamiltonian, Kernel, Langevin, potential
from .network import score_network

__all__ = ["EBM"]

WIDE = 2.0
"""The std s of the normal that the network tilts, in units of the data's."""
LOW = 8
"""The most dimensions in which log Z is estimated."""
CHAINS = 16
"""Annealed chains in one draw of the estimate."""
LEAPS = 2
"""Leapfrog steps between two temperatures."""
LEAP = 0.2
"""Their size, in units of the data's std."""
SMOOTH = 0.15
"""The noise that pictures are learned with, where nothing else is asked for."""


@final
class EBM(Samples, Partitioned, GradientTrained):
    r"""An energy-based model of real data: vectors, tables, or pictures, whose levels are dequantised.

    ``sample`` runs ``steps`` Langevin steps from noise, each a call of the network and its gradient. Chains of pictures do not
    mix between modes: samples are as good as chains of that length from noise are. ``energy`` always works; ``score`` is an
    estimate, in up to eight dimensions.

    Args:
        domain: Real data.
        given: A class label, for each of which the network answers an energy; or None.
        layers: Hidden layers of the network for vectors.
        width: Its units; of pictures, those of the last layer.
        channels: Of the network for pictures, at half their size; twice as many with each halving.
        chains: Chains in the replay buffer.
        sweeps: Langevin steps of a chain in each step of training.
        restart: The share of chains that start anew from noise each time they are moved.
        step: The Langevin step :math:`\epsilon`, in units of the data's std.
        noise: The std :math:`\tau` of the noise on data, in units of the data's std; None takes .15 for pictures and 0 else.
        penalty: Weight of the squared energies.
        temperatures: Of annealed importance sampling, when scored.

    Raises:
        RangeError: if a number is out of range.
    """

    natives: ClassVar[tuple[type[Domain], ...]] = (Real,)
    conditional: ClassVar[bool] = True
    adjustable = ("steps",)
    steps: int = 200
    """Langevin steps of sampling."""
    weighted = False
    chunk: int = 2**18
    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"layers": 1, "width": 16, "channels": 4, "chains": 128, "sweeps": 3, "temperatures": 10},
        "small": {"layers": 2, "width": 64, "channels": 8, "chains": 512},
    }

    replay: Tensor

    def __init__(
        self,
        domain: Domain,
        given: Domain | None = None,
        *,
        layers: int = 3,
        width: int = 128,
        channels: int = 16,
        chains: int = 2048,
        sweeps: int = 20,
        restart: float = 0.05,
        step: float = 0.1,
        noise: float | None = None,
        penalty: float = 1e-3,
        temperatures: int = 300,
    ) -> None:
        super().__init__(domain, given)
        whole = {"layers": layers, "width": width, "channels": channels, "chains": chains, "sweeps": sweeps}
        for name, value in {**whole, "temperatures": temperatures}.items():
            require_whole(name, value, 2 if name == "temperatures" else 1, 2**16)
        _check_ranges(restart, step, noise, penalty)
        self.sweeps, self.restart, self.step, self.penalty = sweeps, restart, step, penalty
        self.tau = (SMOOTH if domain.image else 0.0) if noise is None else noise
        self.temperatures = temperatures
        outputs = max(1, len(self.given_frequencies))
        self.network = score_network(domain, outputs, layers=layers, width=width, channels=channels)
        self.register_buffer("replay", torch.zeros(chains, *domain.shape), persistent=False)

    @classmethod
    def tiny(cls, domain: Domain, given: Domain | None = None) -> EBM:
        """One hidden layer of sixteen units, or four channels."""
        return cls(domain, given, **cls.sizes["tiny"])

    def recipe(self) -> Recipe:
        """Adam without momentum, for data and chains pull at each other, with clipped gradients and a moving average."""
        return Recipe(batch=64, rate=1e-3, betas=(0.0, 0.99), clip=10.0, ema=0.99, select="last")

    def can(self, verb: str) -> bool:
        """A score in few dimensions only."""
        return super().can(verb) and (verb != "score" or self.domain.entries <= LOW)

    @property
    def enumerable(self) -> bool:
        """Never: an integral is no sum."""
        return False

    @property
    def way(self) -> str:
        """The chains and temperatures of a draw."""
        return f"annealed importance sampling, {CHAINS} chains and {self.temperatures} temperatures a draw"

    def prepare(self, subset: Tensor, given: Tensor | None, generator: Generator) -> None:
        """Fill the buffer with noise."""
        self.replay.copy_(self._noise(len(self.replay), generator))

    def training_state(self) -> Mapping[str, Tensor]:
        """The chains."""
        return {"replay": self.replay}

    def phases(self) -> tuple[Phase, ...]:
        """One phase: data down in energy, chains up."""
        return (Phase("likelihood", tuple(self.parameters()), self._loss),)

    def _loss(self, batch: Batch, generator: Generator) -> Loss:
        """The energy of data less that of chains, with the chains held fixed, and the penalty."""
        x = batch.x.float()
        x = x + self.tau * _normal(x, generator) if self.tau else x
        rows = torch.randperm(len(self.replay), generator=generator, device=x.device)[: len(x)]
        labels = None if batch.given is None else rows % len(self.given_frequencies)
        chains = self._moved(self.replay[rows], labels, generator)
        self.replay[rows] = chains
        given = None if labels is None or batch.given is None else torch.cat([batch.given, labels])
        tilts = self._tilt(torch.cat([x, chains]), given)
        below, above = tilts[: len(x)], tilts[len(x) :]
        weights = self._weights(labels, len(chains))
        gap = below.mean() - (weights * above).sum()
        penalty = self.penalty * (below.square().mean() + above.square().mean())
        with torch.no_grad():
            data, moved = below + _normal_energy(x), above + _normal_energy(chains)
        parts = {"gap": gap, "data_energy": data.mean(), "chain_energy": (weights * moved).sum()}
        return Loss(gap + penalty, {**parts, "energy_spread": data.std(correction=0)})

    def _moved(self, chains: Tensor, labels: Tensor | None, generator: Generator) -> Tensor:
        """The chains after their steps; some start anew."""
        anew = torch.rand(len(chains), generator=generator, device=chains.device) < self.restart
        anew = anew.reshape(-1, *[1] * (chains.ndim - 1))
        x = torch.where(anew, self._noise(len(chains), generator), chains)
        return self._walked(x, labels, self.sweeps, generator)

    def _walked(self, x: Tensor, labels: Tensor | None, steps: int, generator: Generator) -> Tensor:
        kernel: Kernel = Langevin(lambda x: self._energy(x, labels), self.step)
        for _ in range(steps):
            x, _ = kernel.step(x, generator)
        return x

    def _weights(self, labels: Tensor | None, n: int) -> Tensor:
        """The weight of each chain, so that every label has its frequency in training."""
        if labels is None:
            return torch.full((n,), 1 / n, device=self.device)
        counts = torch.bincount(labels, minlength=len(self.given_frequencies))
        weights = (self.given_frequencies / counts.clamp_min(1)).float()[labels]
        return weights / weights.sum()

    def _noise(self, n: int, generator: Generator) -> Tensor:
        """Draws of the normal that the network tilts."""
        return WIDE * torch.randn(n, *self.domain.shape, generator=generator, device=self.device)

    def _tilt(self, x: Tensor, given: Tensor | None) -> Tensor:
        """What the network answers, ``(N,)``."""
        found = self.network(x).float()
        return found[:, 0] if given is None else found.gather(1, given.unsqueeze(1))[:, 0]  # type: ignore[no-any-return]

    def _energy(self, x: Tensor, given: Tensor | None) -> Tensor:
        x = x.float()
        return self._tilt(x, given) + _normal_energy(x)

    def _sample(self, n: int, given: Tensor | None, generator: Generator) -> Tensor:
        x = self._walked(self._noise(n, generator), given, self.steps, generator)
        if not self.tau or not n:
            return x
        return x - self.tau**2 * potential(lambda x: self._energy(x, given), x)[1]

    def _check_sampling(self) -> None:
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or not 1 <= self.steps <= 10**6:
            raise RangeError("steps must be a whole number from 1 to 1000000.", got=self.steps)

    def _log_partition(self, labels: Tensor | None) -> Tensor:
        raise NotSupported("The integral of this model is not known exactly.", got=self.domain)

    def _log_partition_estimates(self, groups: int, labels: Tensor | None, generator: Generator) -> Tensor:
        if labels is not None and not len(labels):
            return torch.zeros(groups, 0, dtype=torch.float64, device=self.device)
        bridge = _Tilting(self, labels)
        betas = torch.linspace(0, 1, self.temperatures, dtype=torch.float64, device="cpu")
        log_weights, _ = anneal(bridge, betas, CHAINS * groups, generator)
        means = log_mean(log_weights.reshape(bridge.machines, groups, CHAINS))
        return means.T + bridge.log_start()


@final
class _Tilting(Bridge[Tensor]):
    r"""From the normal to the model: :math:`\log f_\beta(x) = -\|x\|^2 / 2 s^2 - \beta f_\theta(x)`, with Hamiltonian moves."""

    def __init__(self, model: EBM, labels: Tensor | None) -> None:
        self.model, self.labels = model, labels
        self.machines = 1 if labels is None else len(labels)

    def log_start(self) -> Tensor:
        """The normal's constant."""
        log_z = self.model.domain.entries * (math.log(WIDE) + 0.5 * math.log(2 * math.pi))
        return torch.full((self.machines,), log_z, dtype=torch.float64, device=self.model.device)

    def start(self, n: int, generator: Generator) -> Tensor:
        """Draws of the normal."""
        return self.model._noise(n * self.machines, generator)

    def gain(self, state: Tensor, low: float, high: float) -> Tensor:
        """The tilt, times the difference of the temperatures."""
        return (low - high) * self.model._tilt(state, self._given(len(state)))

    def move(self, state: Tensor, beta: float, generator: Generator) -> Tensor:
        """One Hamiltonian step, which is reversible."""
        given = self._given(len(state))
        kernel = Hamiltonian(lambda x: beta * self.model._tilt(x, given) + _normal_energy(x), LEAP, LEAPS)
        return kernel.step(state, generator)[0]

    def back(self, state: Tensor, beta: float, generator: Generator) -> Tensor:
        """The same."""
        return self.move(state, beta, generator)

    def _given(self, chains: int) -> Tensor | None:
        return None if self.labels is None else self.labels.repeat_interleave(chains // self.machines)


def _normal_energy(x: Tensor) -> Tensor:
    return summed(x.square()) / (2 * WIDE**2)


def _normal(x: Tensor, generator: Generator) -> Tensor:
    return torch.randn(x.shape, generator=generator, device=x.device)


def _check_ranges(restart: float, step: float, noise: float | None, penalty: float) -> None:
    if not 0 <= restart <= 1:
        raise RangeError("restart must be from 0 to 1.", got=restart)
    if not 0 < step < math.inf:
        raise RangeError("step must be above 0 and finite.", got=step)
    if noise is not None and not 0 <= noise < math.inf:
        raise RangeError("noise must be 0 or more and finite.", got=noise)
    if not 0 <= penalty < math.inf:
        raise RangeError("penalty must be 0 or more and finite.", got=penalty)
