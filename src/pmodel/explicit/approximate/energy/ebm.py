r"""The energy-based model with a network (Du & Mordatch 2019, https://arxiv.org/abs/1903.08689; Song & Ermon 2019).

A network tilts a normal,

.. math:: p(x \mid y) = \frac{e^{-E(x, y)}}{Z(y)}, \qquad E(x, y) = f(x, y) + \frac{\|x\|^2}{2 s^2},

so that Z is finite whatever the network does within linear growth, and the model is a density from its first step on. Data come
standardised. It learns in one of two ways, neither of which needs Z:

- ``likelihood``: the energy of data goes down and that of Langevin chains from a replay buffer goes up. These
  chains do not mix between the modes of pictures, and it takes many of their steps to say which way one number goes.
- ``denoising``: the gradient of the energy learns to take noise off data, at all levels of noise at once, and
  chains are led from much noise to little. That says for each pixel which way it goes, and asks no chain to mix.

Pictures have pixels that never change, and no density with finite gradients has a point for a support. So pictures are learned
with noise of a small std :math:`\tau` added, and the last act of sampling takes it off again, by the mean of the data given the
noisy picture (Robbins 1956, Saremi & Hyvärinen 2019):

.. math:: \tilde x = x + \tau \epsilon, \qquad E[x \mid \tilde x] = \tilde x - \tau^2 \nabla E(\tilde x).

With such noise the energy is that of noisy data. Without, in up to eight dimensions, log Z is had by annealed importance
sampling, from the normal to the model with Hamiltonian moves, and the score is an estimate; elsewhere there is none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, final

import torch
from torch import Generator, Tensor

from ....capability import Partitioned, Samples
from ....domain import Domain, Real
from ....errors import BadInput, NotSupported, RangeError, require_whole
from ....learning import Batch, GradientTrained, Loss, Phase, Recipe
from .ais import Bridge, described, estimates
from .chains import require_each
from .contrast import Contrast
from .denoising import Denoising
from .mcmc import Hamiltonian
from .network import energy_network
from .tilted import Tilted, normal

__all__ = ["EBM"]

WIDE = 2.0
"""The std s of the normal that the network tilts where chains are followed, in units of the data's."""
LOW = 8
"""The most dimensions in which log Z is estimated."""
LEAPS = 2
"""Leapfrog steps between two temperatures."""
LEAP = 0.2
"""Their size, in units of the data's std."""
STEPS = {"likelihood": 400, "denoising": 50}
"""Of sampling, by objective: chains from noise to the data of vectors take their time, and cost little."""
OBJECTIVES = ("auto", "likelihood", "denoising")
SMOOTH = {"likelihood": 0.15, "denoising": 0.1}
"""The noise that is learned with, where nothing else is asked for and there has to be some."""


@final
class EBM(Samples, Partitioned, GradientTrained):
    r"""An energy-based model of real data: vectors, tables, or pictures, whose levels are dequantised.

    ``sample`` runs ``steps`` Langevin steps from noise, each a call of the network and its gradient. ``energy`` always works;
    ``score`` is an estimate, in up to eight dimensions and where data are learned without noise.

    Args:
        domain: Real data.
        given: A class label, which the network is told; or None.
        objective: ``likelihood``, by chains; ``denoising``; ``auto`` takes that for pictures and chains else.
        layers: Hidden layers of the network for vectors; residual blocks of pictures at each size.
        width: Hidden units, and features of label and level.
        channels: Of pictures at the first size; twice as many below.
        noise: The std :math:`\tau` of the noise on data, in units of the data's std; None takes none where it can be had
            without, which is where vectors learn by chains, and .15 (by chains) or .1 (by denoising) else.
        loud: The highest level of noise, in the same units, where the model learns by denoising: there noisy data should be all
            but normal.
        chains: Chains in the replay buffer, one for each label at least. This and all that follows are of no effect where the
            model learns by denoising.
        sweeps: Langevin steps of a chain in each step of training.
        restart: The share of chains that start anew from noise each time they are moved.
        step: The Langevin step :math:`\epsilon`, in units of the data's std. What is not much wider comes out narrower in the
            energy than in the samples (see ``contrast``).
        penalty: Weight of the squared tilts.
        temperatures: Of annealed importance sampling, when scored.

    Raises:
        BadInput: if there is no such objective, or it cannot do with so much noise.
        RangeError: if a number is out of range.
    """

    natives: ClassVar[tuple[type[Domain], ...]] = (Real,)
    conditional: ClassVar[bool] = True
    adjustable = ("steps",)
    steps: int | None = None
    """Langevin steps of sampling. None takes 400 where chains are followed, and 50 where they are led."""
    weighted = False
    chunk: int = 2**18
    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {
            "layers": 1,
            "width": 16,
            "channels": 8,
            "chains": 128,
            "sweeps": 3,
            "restart": 0.01,
            "temperatures": 10,
        },
        "small": {"layers": 1, "width": 64, "channels": 16, "chains": 512},
    }

    replay: Tensor

    def __init__(
        self,
        domain: Domain,
        given: Domain | None = None,
        *,
        objective: Literal["auto", "likelihood", "denoising"] = "auto",
        layers: int = 2,
        width: int = 128,
        channels: int = 32,
        noise: float | None = None,
        loud: float = 10.0,
        chains: int = 2048,
        sweeps: int = 20,
        restart: float = 0.05,
        step: float = 0.1,
        penalty: float = 1e-3,
        temperatures: int = 300,
    ) -> None:
        super().__init__(domain, given)
        whole = {"layers": layers, "width": width, "channels": channels, "chains": chains, "sweeps": sweeps}
        for name, value in {**whole, "temperatures": temperatures}.items():
            require_whole(name, value, 2 if name == "temperatures" else 1, 2**16)
        if objective not in OBJECTIVES:
            raise BadInput(f"objective is {', '.join(OBJECTIVES[:-1])} or {OBJECTIVES[-1]}.", got=objective)
        self.objective = ("denoising" if domain.image else "likelihood") if objective == "auto" else objective
        self.tau = self._least_noise() if noise is None else noise
        _check_ranges(restart, step, self.tau, loud, penalty)
        if self.objective == "denoising" and not 0 < self.tau < loud:
            raise RangeError(
                "Denoising needs a noise above 0, and loud above it.",
                got=f"noise={self.tau:g}, loud={loud:g}",
                hint="objective=likelihood learns without",
            )
        self.loud, self.sweeps, self.restart, self.step, self.penalty = loud, sweeps, restart, step, penalty
        self.temperatures = temperatures
        labels = len(self.given_frequencies)
        self.network = energy_network(domain, labels, layers=layers, width=width, channels=channels)
        kept = 0 if self.objective == "denoising" else chains
        if kept:
            require_each(kept, labels)
        self.register_buffer("replay", torch.zeros(kept, *domain.shape), persistent=False)

    def _least_noise(self) -> float:
        """The noise that is learned with where none is asked for."""
        return SMOOTH[self.objective] if self.objective == "denoising" or self.domain.image else 0.0

    def recipe(self) -> Recipe:
        """By chains, Adam without momentum, for data and chains pull at each other; by denoising, the recipe of diffusion.

        The last weights are kept: there is no likelihood to choose by.
        """
        if self.objective == "likelihood":
            return Recipe(batch=64, rate=1e-3, betas=(0.0, 0.99), clip=10.0, ema=0.99, select="last")
        batch: Any = {"batch": 32, "optimiser": "muon"} if self.domain.image else {"batch": 128}
        return Recipe(**batch, rate=2e-3, betas=(0.9, 0.99), clip=1.0, ema=0.999, select="last")

    @property
    def tilted(self) -> Tilted:
        """The density, and how it learns and is sampled."""
        if self.objective == "denoising":
            return Denoising(self.network, math.sqrt(1 + self.tau**2), self.tau, self.loud)
        numbers = (self.sweeps, self.restart, self.step, self.penalty)
        return Contrast(self.network, WIDE, self.tau, self.replay, len(self.given_frequencies), *numbers)

    def can(self, verb: str) -> bool:
        """A score in few dimensions only, and where the energy is of the same variable as data and samples."""
        return super().can(verb) and (verb != "score" or (self.domain.entries <= LOW and self.tau == 0))

    @property
    def enumerable(self) -> bool:
        """Never: an integral is no sum."""
        return False

    @property
    def way(self) -> str:
        """The chains and temperatures of a draw."""
        return described(self.temperatures)

    def prepare(self, subset: Tensor, given: Tensor | None, generator: Generator) -> None:
        """Fill the buffer with noise."""
        self.replay.copy_(WIDE * normal(self.replay, generator))

    def training_state(self) -> Mapping[str, Tensor]:
        """The chains."""
        return {"replay": self.replay} if self.objective == "likelihood" else {}

    def phases(self) -> tuple[Phase, ...]:
        """One phase, of everything."""
        return (Phase(self.objective, tuple(self.parameters()), self._loss),)

    def _loss(self, batch: Batch, generator: Generator) -> Loss:
        return self.tilted.loss(batch, generator)

    def _energy(self, x: Tensor, given: Tensor | None) -> Tensor:
        return self.tilted.energy(x, given)

    def _sample(self, n: int, given: Tensor | None, generator: Generator) -> Tensor:
        noise = torch.randn(n, *self.domain.shape, generator=generator, device=self.device)
        return self.tilted.sample(noise, given, self.steps or STEPS[self.objective], generator)

    def _check_sampling(self) -> None:
        if self.steps is not None:
            require_whole("steps", self.steps, 1, 10**6)

    def _log_partition(self, labels: Tensor | None) -> Tensor:
        raise NotSupported("The integral of this model is not known exactly.", got=self.domain)

    def _log_partition_estimates(self, groups: int, labels: Tensor | None, generator: Generator) -> Tensor:
        bridge = _Tilting(self.tilted, self.domain.shape, labels, self.device)
        betas = torch.linspace(0, 1, self.temperatures, dtype=torch.float64, device="cpu")
        return estimates(bridge, betas, groups, generator)


@final
class _Tilting(Bridge[Tensor]):
    r"""From the normal to the model: :math:`\log f_\beta(x) = -\|x\|^2 / 2 s^2 - \beta f_\theta(x)`, with Hamiltonian moves."""

    def __init__(self, tilted: Tilted, shape: tuple[int, ...], labels: Tensor | None, device: torch.device) -> None:
        self.tilted, self.shape, self.labels, self.device = tilted, shape, labels, device
        self.machines = 1 if labels is None else len(labels)

    def log_start(self) -> Tensor:
        """The normal's constant."""
        log_z = math.prod(self.shape) * (math.log(self.tilted.std) + 0.5 * math.log(2 * math.pi))
        return torch.full((self.machines,), log_z, dtype=torch.float64, device=self.device)

    def start(self, n: int, generator: Generator) -> Tensor:
        """Draws of the normal."""
        return self.tilted.std * torch.randn(n * self.machines, *self.shape, generator=generator, device=self.device)

    def gain(self, state: Tensor, low: float, high: float) -> Tensor:
        """The tilt, times the difference of the temperatures."""
        return (low - high) * self.tilted.tilt(state, self._given(len(state)))

    def move(self, state: Tensor, beta: float, generator: Generator) -> Tensor:
        """One Hamiltonian step, which is reversible."""
        tilted, given = self.tilted, self._given(len(state))
        kernel = Hamiltonian(lambda x: beta * tilted.tilt(x, given) + tilted.normal_energy(x), LEAP, LEAPS)
        return kernel.step(state, generator)[0]

    def back(self, state: Tensor, beta: float, generator: Generator) -> Tensor:
        """The same."""
        return self.move(state, beta, generator)

    def _given(self, chains: int) -> Tensor | None:
        return None if self.labels is None else self.labels.repeat_interleave(chains // self.machines)


def _check_ranges(restart: float, step: float, noise: float, loud: float, penalty: float) -> None:
    if not 0 <= restart <= 1:
        raise RangeError("restart must be from 0 to 1.", got=restart)
    if not 0 < step < math.inf:
        raise RangeError("step must be above 0 and finite.", got=step)
    if not 0 <= noise < math.inf:
        raise RangeError("noise must be 0 or more and finite.", got=noise)
    if not 0 < loud < math.inf:
        raise RangeError("loud must be above 0 and finite.", got=loud)
    if not 0 <= penalty < math.inf:
        raise RangeError("penalty must be 0 or more and finite.", got=penalty)
