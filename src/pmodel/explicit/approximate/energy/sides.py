r"""The two sides of a Boltzmann machine, each given the other: units that know nothing of each other, or that are coupled.

The general machine (Ackley, Hinton & Sejnowski 1985) has connections within the sides, too,

.. math:: E(u, h) = -r(u) - u \cdot b - h \cdot c - u^\top W h - \tfrac12 u^\top L u - \tfrac12 h^\top J h,

with symmetric L and J, and nothing between a unit and itself. Given the hidden side, visible units with L are drawn one after
another, each given all others. Hidden units with J are one unit of :math:`2^H` states, whose sum and whose draws are exact:

.. math:: \log \sum_h e^{a \cdot h + h^\top J h / 2}, \qquad a = c + W^\top u,

where units that are free have :math:`\sum_j \log(1 + e^{a_j})`. With L alone the machine is *semi-restricted* (Osindero &
Hinton 2007): its free energy is still in closed form, and hidden units need not spend themselves on what neighbours share.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from .units import Units, bernoulli, binary

__all__ = ["CoupledHidden", "CoupledVisible", "FreeHidden", "FreeVisible", "Hidden", "Visible", "apart", "symmetric"]


class Visible(ABC):
    """What visible units do to each other."""

    free: bool
    """Whether they are independent given the hidden side."""

    @abstractmethod
    def energy(self, u: Tensor) -> Tensor | float:
        """Of the couplings, ``(N,)``."""

    @abstractmethod
    def draw(self, units: Units, u: Tensor, eta: Tensor, generator: Generator, *, backwards: bool = False) -> Tensor:
        """New features given the hidden side, ``(N, features)``: a step that leaves their distribution as it is.

        Args:
            units: What they are.
            u: The features before.
            eta: The natural parameters that come from outside of the side, ``(N, features)``.
            generator: Of the draws.
            backwards: The reverse of the step.
        """

    @abstractmethod
    def pull(self, u: Tensor) -> Tensor | float:
        """What units with these features add to each other's natural parameters, ``(features,)``."""

    @abstractmethod
    def scaled(self, beta: float) -> Visible:
        """With so many times the couplings."""

    @abstractmethod
    def double(self) -> Visible:
        """In float64."""


@final
@dataclass(frozen=True)
class FreeVisible(Visible):
    """Nothing: all are drawn at once, and the step forgets what was before."""

    free = True

    def energy(self, u: Tensor) -> float:
        """None."""
        return 0.0

    def draw(self, units: Units, u: Tensor, eta: Tensor, generator: Generator, *, backwards: bool = False) -> Tensor:
        """Independent draws."""
        return units.sample(eta, generator)

    def pull(self, u: Tensor) -> float:
        """Nothing."""
        return 0.0

    def scaled(self, beta: float) -> FreeVisible:
        """The same."""
        return self

    def double(self) -> FreeVisible:
        """The same."""
        return self


@final
@dataclass(frozen=True, eq=False)
class CoupledVisible(Visible):
    """Couplings between the features of different entries.

    Args:
        couplings: L, ``(features, features)``, symmetric, with zeros between features of one entry.
    """

    couplings: Tensor
    free = False

    def energy(self, u: Tensor) -> Tensor:
        """Minus half the quadratic form."""
        return -0.5 * (u * (u @ self.couplings).to(u.dtype)).sum(1)

    def draw(self, units: Units, u: Tensor, eta: Tensor, generator: Generator, *, backwards: bool = False) -> Tensor:
        """Every entry once, in order, given all others; backwards in the reverse order."""
        u, one, each = u.clone(), units.one, units.each
        entries = range(units.entries)
        for entry in reversed(entries) if backwards else entries:
            part = slice(entry * each, (entry + 1) * each)
            u[:, part] = one.sample(eta[:, part] + u @ self.couplings[:, part], generator)
        return u

    def pull(self, u: Tensor) -> Tensor:
        """Lu."""
        return torch.mv(self.couplings, u)

    def scaled(self, beta: float) -> CoupledVisible:
        """With so many times the couplings."""
        return CoupledVisible(beta * self.couplings)

    def double(self) -> CoupledVisible:
        """In float64."""
        return CoupledVisible(self.couplings.double())


class Hidden(ABC):
    """What hidden bits do to each other; their log-odds a come from the other side and from their biases."""

    @abstractmethod
    def log_base(self, h: Tensor) -> Tensor | float:
        """What couplings add to the logarithm of the mass of hidden states, ``(N,)``."""

    @abstractmethod
    def log_sum(self, a: Tensor) -> Tensor:
        """The logarithm of the sum over all hidden states, ``(N,)``."""

    @abstractmethod
    def gain(self, a: Tensor, low: float, high: float) -> Tensor:
        """The difference of that sum between two inverse temperatures of the log-odds and the couplings, ``(N,)``."""

    @abstractmethod
    def draw(self, a: Tensor, generator: Generator) -> Tensor:
        """Independent draws of all bits, ``(N, hidden)``."""

    @abstractmethod
    def mean(self, a: Tensor) -> Tensor:
        """The probability of each bit, ``(N, hidden)``."""

    @abstractmethod
    def pull(self, value: float) -> Tensor | float:
        """What bits that all have this value add to each other's log-odds, ``(hidden,)``."""

    @abstractmethod
    def scaled(self, beta: float) -> Hidden:
        """With so many times the couplings."""

    @abstractmethod
    def double(self) -> Hidden:
        """In float64."""


@final
@dataclass(frozen=True)
class FreeHidden(Hidden):
    """Nothing."""

    def log_base(self, h: Tensor) -> float:
        """None."""
        return 0.0

    def log_sum(self, a: Tensor) -> Tensor:
        """The sum of softplus."""
        return F.softplus(a).sum(1)

    def gain(self, a: Tensor, low: float, high: float) -> Tensor:
        """The same, unit by unit."""
        return (F.softplus(high * a) - F.softplus(low * a)).sum(1)

    def draw(self, a: Tensor, generator: Generator) -> Tensor:
        """Bits with these log-odds."""
        return bernoulli(a, generator)

    def mean(self, a: Tensor) -> Tensor:
        """The logistic function."""
        return a.sigmoid()

    def pull(self, value: float) -> float:
        """Nothing."""
        return 0.0

    def scaled(self, beta: float) -> FreeHidden:
        """The same."""
        return self

    def double(self) -> FreeHidden:
        """The same."""
        return self


@final
@dataclass(frozen=True, eq=False)
class CoupledHidden(Hidden):
    """Couplings between hidden bits, few enough for all their states.

    Args:
        couplings: J, ``(hidden, hidden)``, symmetric, with a diagonal of zeros.
    """

    couplings: Tensor

    @cached_property
    def states(self) -> Tensor:
        """All of them, ``(states, hidden)``."""
        return binary(len(self.couplings), self.couplings.device).to(self.couplings.dtype)

    def log_base(self, h: Tensor) -> Tensor:
        """Half the quadratic form."""
        return 0.5 * (h * (h @ self.couplings)).sum(1)

    def log_masses(self, a: Tensor) -> Tensor:
        """Of each state, ``(N, states)``."""
        return a @ self.states.T + self.log_base(self.states)

    def log_sum(self, a: Tensor) -> Tensor:
        """The sum over the states."""
        return self.log_masses(a).logsumexp(1)

    def gain(self, a: Tensor, low: float, high: float) -> Tensor:
        """The difference of two sums."""
        masses = self.log_masses(a)
        return (high * masses).logsumexp(1) - (low * masses).logsumexp(1)

    def probs(self, a: Tensor) -> Tensor:
        """The probability of each state, ``(N, states)``."""
        return self.log_masses(a).softmax(1)

    def draw(self, a: Tensor, generator: Generator) -> Tensor:
        """A state."""
        return self.states[torch.multinomial(self.probs(a), 1, generator=generator)[:, 0]] if len(a) else a

    def mean(self, a: Tensor) -> Tensor:
        """The mean state."""
        return self.probs(a) @ self.states

    def pull(self, value: float) -> Tensor:
        """The sums of the rows of J, so many times."""
        return value * self.couplings.sum(1)

    def scaled(self, beta: float) -> CoupledHidden:
        """With so many times the couplings."""
        return CoupledHidden(beta * self.couplings)

    def double(self) -> CoupledHidden:
        """In float64."""
        return CoupledHidden(self.couplings.double())


def apart(size: int, each: int = 1, device: torch.device | None = None) -> Tensor:
    """Which of so many units lie in different groups: True off the diagonal's blocks.

    Args:
        size: The number of units.
        each: Units in a group, one group after another.
        device: Where the answer is.
    """
    group = torch.arange(size, device=device) // each
    return group.unsqueeze(1) != group


def symmetric(raw: Tensor, each: int = 1) -> Tensor:
    """A square matrix and its transpose together, with zeros between units of one group of so many."""
    return (raw + raw.T) * apart(len(raw), each, raw.device)
