r"""The Boltzmann machine as a function of its weights: energy, conditionals, partition function and bridge.

With features u of the datum (``units``) and hidden bits h, the restricted machine has

.. math::

    E(u, h) = -r(u) - u \cdot b - h \cdot c - u^\top W h, \qquad
    F(u) = -\log \sum_h e^{-E(u, h)} = -r(u) - u \cdot b - \sum_j \log(1 + e^{c_j + (u^\top W)_j}).

Neither side has connections within it, so each is independent given the other (else: ``sides``),

.. math::

    p(h_j = 1 \mid u) = \sigma(c_j + (u^\top W)_j), \qquad p(u \mid h) = e^{u \cdot \eta + r(u) - A(\eta)},
    \quad \eta = b + W h,

and a sweep of Gibbs sampling takes two products of matrices. Where one side has few states the partition function is a sum,

.. math:: Z = \sum_h e^{c \cdot h + A(b + W h)} = \sum_u e^{-F(u)}.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from .ais import Bridge
from .sides import FreeHidden, FreeVisible, Hidden, Visible
from .units import Units, binary

__all__ = ["Machine", "Tempered", "enumerable"]

STATES = 2**20
"""The most states over which a sum is taken: those of twenty bits."""
TERMS = 2**26
"""The most states times units of the other side: about a second. Twenty hidden units and 64 visible ones, or 16 and 784."""
ROWS = 2**22
"""Entries that a sum over states holds at a time."""
FREE_VISIBLE, FREE_HIDDEN = FreeVisible(), FreeHidden()


def enumerable(units: Units, hidden: int, *, visible_free: bool = True, hidden_free: bool = True) -> bool:
    """Whether log Z is an affordable sum, over the states of the smaller side: given visible ones, hidden ones always sum."""
    terms = hidden if hidden_free else 2**hidden
    sums = [(units.states, terms if visible_free else max(terms, units.features))]
    sums += [(hidden * math.log(2), units.features)] if visible_free else []
    states, others = min(sums)
    return states <= math.log(STATES) and states + math.log(others) <= math.log(TERMS)


@final
@dataclass(frozen=True, eq=False)
class Machine:
    """A Boltzmann machine with given weights.

    Args:
        units: The visible units.
        weight: W, ``(features, hidden)``.
        visible: b, ``(1, features)``; or one row for each chain.
        hidden: c, ``(1, hidden)``; or one row for each chain.
        within_visible: What visible units do to each other.
        within_hidden: What hidden bits do to each other.
    """

    units: Units
    weight: Tensor
    visible: Tensor
    hidden: Tensor
    within_visible: Visible = FREE_VISIBLE
    within_hidden: Hidden = FREE_HIDDEN

    def activation(self, u: Tensor) -> Tensor:
        """The log-odds of the hidden bits, c + uW, ``(N, hidden)``."""
        return u @ self.weight + self.hidden  # of biases' type, if the product is narrower

    def free_energy(self, u: Tensor, activation: Tensor | None = None) -> Tensor:
        """F(u), ``(N,)``; ``activation`` where it is known."""
        a = self.activation(u) if activation is None else activation
        of_visible = self.within_visible.energy(u) - self.units.log_base(u) - (u * self.visible).sum(1)
        return of_visible - self.within_hidden.log_sum(a)

    def natural(self, h: Tensor) -> Tensor:
        """The natural parameters of the visible units but for what they do to each other, b + Wh, ``(N, features)``."""
        return F.linear(h, self.weight) + self.visible  # a product whose rounded weights autocast keeps for the next

    def drawn(self, h: Tensor, u: Tensor, generator: Generator) -> Tensor:
        """Visible features given h: of p(u | h), whatever they were before, where the visible side is free."""
        return self.within_visible.draw(self.units, u, self.natural(h), generator)

    def bits(self, u: Tensor, generator: Generator) -> Tensor:
        """Hidden bits drawn from p(h | u)."""
        return self.within_hidden.draw(self.activation(u), generator)

    def sweep(self, u: Tensor, generator: Generator) -> Tensor:
        """The hidden bits given u, then u given those: p(u) stays as it is, reversibly where the visible side is free."""
        return self.drawn(self.bits(u, generator), u, generator)

    def double(self) -> Machine:
        """In float64."""
        tensors = (self.weight.double(), self.visible.double(), self.hidden.double())
        return Machine(self.units, *tensors, self.within_visible.double(), self.within_hidden.double())

    @property
    def from_hidden(self) -> bool:
        """Whether sums go over the hidden side: given its states visible ones must be free, and it may have no more of them."""
        return self.within_visible.free and len(self.weight.T) * math.log(2) <= self.units.states

    def log_masses(self) -> tuple[Tensor, Tensor]:
        """The states of the smaller side, and the logarithms of their unnormalised masses, float64."""
        device = self.weight.device
        states = binary(len(self.weight.T), device) if self.from_hidden else self.units.every(device)
        exact, size = self.double(), max(1, ROWS // max(self.weight.shape))
        return states, torch.cat([exact._log_mass(part) for part in torch.split(states, size)])

    def _log_mass(self, states: Tensor) -> Tensor:
        if not self.from_hidden:
            return -self.free_energy(states)
        of_hidden = self.within_hidden.log_base(states) + (states * self.hidden).sum(1)
        return of_hidden + self.units.log_norm(self.natural(states))

    def log_partition(self) -> Tensor:
        """The log Z by the sum over the smaller side, float64."""
        return self.log_masses()[1].logsumexp(0)

    def exact_samples(self, n: int, generator: Generator) -> Tensor:
        """Independent draws from p(u), ``(n, features)``, by the masses of the smaller side."""
        states, log_masses = self.log_masses()
        if n == 0:
            return self.weight.new_zeros(0, self.units.features)
        rows = torch.multinomial((log_masses - log_masses.max()).exp(), n, replacement=True, generator=generator)
        chosen = states[rows].to(self.weight.dtype)
        return self.units.sample(self.natural(chosen), generator) if self.from_hidden else chosen


@final
class Tempered(Bridge[tuple[Tensor, Tensor]]):
    r"""The bridge from independent units to a machine, or to several that share their weights.

    .. math::

        \log f_\beta(u) = r(u) + u \cdot b_\beta + \sum_j \log(1 + e^{\beta (c_j + (u^\top W)_j)}), \qquad
        b_\beta = (1 - \beta) b_0 + \beta b:

    at :math:`\beta = 0` visible units of their own frequencies and free hidden bits, at 1 the machine. Couplings within a side
    are multiplied by :math:`\beta`. A state is the features and their product with W, which gain and move share.

    Args:
        machine: With one row of biases for each label, or one row.
        start: Natural parameters b_0 of the simple model, ``(features,)``.
    """

    def __init__(self, machine: Machine, start: Tensor) -> None:
        self.units, self.weight, self.b0 = machine.units, machine.weight, start.unsqueeze(0)
        self.rows = (machine.visible, machine.hidden)
        self.within_visible, self.within_hidden = machine.within_visible, machine.within_hidden
        self.machines = len(machine.visible)
        self.repeated: dict[int, tuple[Tensor, Tensor]] = {}

    def log_start(self) -> Tensor:
        """A(b_0), and a bit for each hidden unit."""
        log_z = self.units.log_norm(self.b0.double()) + self.weight.shape[1] * math.log(2)
        return log_z.expand(self.machines)

    def start(self, n: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Independent units."""
        return self.state(self.units.sample(self.b0.expand(n * self.machines, -1), generator))

    def state(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """The state of these features."""
        return u, u @ self.weight

    def gain(self, state: tuple[Tensor, Tensor], low: float, high: float) -> Tensor:
        """The difference of both terms that depend on the temperature."""
        (u, a), (b, c) = state, self._biases(len(state[0]))
        hidden = self.within_hidden.gain(a + c, low, high)
        return hidden + (high - low) * ((u * (b - self.b0)).sum(1) - self.within_visible.energy(u))

    def move(self, state: tuple[Tensor, Tensor], beta: float, generator: Generator) -> tuple[Tensor, Tensor]:
        """A sweep at this temperature: reversible with respect to p(u) where visible units are free."""
        return self._swept(state, beta, generator, backwards=False)

    def back(self, state: tuple[Tensor, Tensor], beta: float, generator: Generator) -> tuple[Tensor, Tensor]:
        """The same, with couplings in the reverse order: hidden bits given u first, as ever."""
        return self._swept(state, beta, generator, backwards=True)

    def _swept(
        self, state: tuple[Tensor, Tensor], beta: float, generator: Generator, *, backwards: bool
    ) -> tuple[Tensor, Tensor]:
        (u, a), (b, c) = state, self._biases(len(state[0]))
        h = self.within_hidden.scaled(beta).draw(beta * (a + c), generator)
        eta = torch.lerp(self.b0, b, beta) + beta * (h @ self.weight.T)
        within = self.within_visible.scaled(beta)
        return self.state(within.draw(self.units, u, eta, generator, backwards=backwards))

    def _biases(self, chains: int) -> tuple[Tensor, Tensor]:
        """The biases of every chain's machine."""
        if self.machines in (1, chains):
            return self.rows
        if chains not in self.repeated:
            each = chains // self.machines
            self.repeated[chains] = tuple(row.repeat_interleave(each, 0) for row in self.rows)  # type: ignore[assignment]
        return self.repeated[chains]
