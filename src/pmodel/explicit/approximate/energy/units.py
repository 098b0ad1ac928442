r"""Visible units: how a datum stands in an energy that is linear in its features.

Every kind is an exponential family with features u of the datum and natural parameters :math:`\eta`,

.. math:: p(u \mid \eta) = e^{\,u \cdot \eta + r(u) - A(\eta)},

======== ============================== ======================= ==========================================
kind     features u                     r(u)                    :math:`A(\eta)`
======== ============================== ======================= ==========================================
bits     x                              0                       :math:`\sum_i \log(1 + e^{\eta_i})`
levels   one-hot of each entry          0                       :math:`\sum_i \log \sum_l e^{\eta_{il}}`
reals    x / std                        :math:`-\|u\|^2 / 2`    :math:`\|\eta\|^2 / 2 + \tfrac D2 \log 2\pi`
======== ============================== ======================= ==========================================

so that a machine with any of them needs to know no more than u, r and A, and how to draw u.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from ....distribution import Bernoulli, Categorical, Distribution, Normal
from ....domain import Discrete, Domain
from ....errors import NotSupported

__all__ = ["Bits", "Levels", "Reals", "Units", "bernoulli", "binary", "units_of"]


@dataclass(frozen=True)
class Units(ABC):
    """The visible units of a machine for data of one shape.

    Args:
        shape: Of a datum.
    """

    shape: tuple[int, ...]

    @property
    def entries(self) -> int:
        """The number of entries of a datum."""
        return math.prod(self.shape)

    @property
    @abstractmethod
    def features(self) -> int:
        """The number of features of a datum."""

    @property
    @abstractmethod
    def states(self) -> float:
        """The logarithm of the number of data; infinite for reals."""

    @property
    def each(self) -> int:
        """The number of features of an entry."""
        return self.features // self.entries

    @property
    def one(self) -> Units:
        """The units of one entry."""
        return replace(self, shape=(1,))

    def flat(self, x: Tensor) -> Tensor:
        """The entries of data one after another, ``(N, entries)``; of a number, itself."""
        return x.reshape(len(x), self.entries)

    @abstractmethod
    def of(self, x: Tensor) -> Tensor:
        """The features of data, ``(N, features)`` float; reals come divided by their std."""

    @abstractmethod
    def data(self, u: Tensor) -> Tensor:
        """The data with these features, ``(N, *shape)``."""

    @abstractmethod
    def log_norm(self, eta: Tensor) -> Tensor:
        """The log-partition function A, ``(N, features) -> (N,)``."""

    @abstractmethod
    def sample(self, eta: Tensor, generator: Generator) -> Tensor:
        """Features drawn from p(u | eta), ``(N, features)``."""

    @abstractmethod
    def start(self, x: Tensor) -> Tensor:
        """The natural parameters that fit these data best if entries were independent, ``(features,)``."""

    def log_base(self, u: Tensor) -> Tensor | float:
        """The base measure r(u), ``(N,)``."""
        return 0.0

    @abstractmethod
    def distribution(self, eta: Tensor, std: Tensor) -> Distribution:
        """p(x | eta) of data ``(N, *shape)``, with the std of reals."""

    @abstractmethod
    def every(self, device: torch.device) -> Tensor:
        """The features of all states of a discrete datum, ``(states, features)`` float64."""


@final
@dataclass(frozen=True)
class Bits(Units):
    """Zeros and ones."""

    @property
    def features(self) -> int:
        """One for each entry."""
        return self.entries

    @property
    def states(self) -> float:
        """Two for each entry."""
        return self.entries * math.log(2)

    def of(self, x: Tensor) -> Tensor:
        """The bits themselves."""
        return self.flat(x).float()

    def data(self, u: Tensor) -> Tensor:
        """As int64."""
        return u.to(torch.int64).reshape(-1, *self.shape)

    def log_norm(self, eta: Tensor) -> Tensor:
        """The sum of softplus."""
        return F.softplus(eta).sum(1)

    def sample(self, eta: Tensor, generator: Generator) -> Tensor:
        """One where a uniform number is below the probability."""
        return bernoulli(eta, generator)

    def start(self, x: Tensor) -> Tensor:
        """The log-odds of the frequencies, with half a count more of either."""
        ones = self.flat(x).double().sum(0)
        return ((ones + 0.5) / (len(x) + 1)).logit().float()

    def distribution(self, eta: Tensor, std: Tensor) -> Bernoulli:
        """Independent bits."""
        return Bernoulli(eta.reshape(-1, *self.shape))

    def every(self, device: torch.device) -> Tensor:
        """All numbers in binary."""
        return binary(self.entries, device)


@final
@dataclass(frozen=True)
class Levels(Units):
    """Categories: a softmax over the levels of each entry.

    Args:
        shape: Of a datum.
        levels: Of each entry.
    """

    levels: int

    @property
    def features(self) -> int:
        """One for each level of each entry."""
        return self.entries * self.levels

    @property
    def states(self) -> float:
        """As many for each entry as there are levels."""
        return self.entries * math.log(self.levels)

    def of(self, x: Tensor) -> Tensor:
        """One-hot vectors, one after another."""
        return F.one_hot(self.flat(x), self.levels).flatten(1).float()

    def data(self, u: Tensor) -> Tensor:
        """The level whose feature is one."""
        return u.reshape(-1, *self.shape, self.levels).argmax(-1)

    def log_norm(self, eta: Tensor) -> Tensor:
        """The sum of the logarithms of each entry's sum."""
        return self._split(eta).logsumexp(-1).sum(1)

    def sample(self, eta: Tensor, generator: Generator) -> Tensor:
        """The level with the largest sum of natural parameter and Gumbel noise."""
        noise = torch.empty_like(eta).exponential_(generator=generator)
        best = self._split(eta - noise.log()).argmax(-1)
        return F.one_hot(best, self.levels).flatten(1).to(eta.dtype)

    def start(self, x: Tensor) -> Tensor:
        """The logarithms of the frequencies, with one more of each level in all data, and the mean of each entry zero."""
        counts = F.one_hot(self.flat(x), self.levels).double().sum(0) + 1 / self.levels
        logs = (counts / counts.sum(1, keepdim=True)).log()
        return (logs - logs.mean(1, keepdim=True)).flatten().float()

    def distribution(self, eta: Tensor, std: Tensor) -> Categorical:
        """Independent categories."""
        return Categorical(eta.reshape(-1, *self.shape, self.levels))

    def every(self, device: torch.device) -> Tensor:
        """All combinations of levels."""
        rows = torch.cartesian_prod(*[torch.arange(self.levels, device=device)] * self.entries).reshape(
            -1, self.entries
        )
        return F.one_hot(rows, self.levels).flatten(1).double()

    def _split(self, eta: Tensor) -> Tensor:
        return eta.reshape(-1, self.entries, self.levels)


@final
@dataclass(frozen=True)
class Reals(Units):
    """Real numbers, normal given the hidden units, in units of their std."""

    @property
    def features(self) -> int:
        """One for each entry."""
        return self.entries

    @property
    def states(self) -> float:
        """Without end."""
        return math.inf

    def of(self, x: Tensor) -> Tensor:
        """The numbers themselves."""
        return self.flat(x).float()

    def data(self, u: Tensor) -> Tensor:
        """The numbers themselves."""
        return u.reshape(-1, *self.shape)

    def log_norm(self, eta: Tensor) -> Tensor:
        """Half the squared length, and the normal's constant."""
        return 0.5 * eta.square().sum(1) + 0.5 * self.entries * math.log(2 * math.pi)

    def sample(self, eta: Tensor, generator: Generator) -> Tensor:
        """The natural parameter is the mean; noise of one std."""
        return eta + torch.randn(eta.shape, generator=generator, dtype=eta.dtype, device=eta.device)

    def start(self, x: Tensor) -> Tensor:
        """The mean."""
        return self.flat(x).double().mean(0).float()

    def log_base(self, u: Tensor) -> Tensor:
        """Minus half the squared length."""
        return -0.5 * u.square().sum(1)

    def distribution(self, eta: Tensor, std: Tensor) -> Normal:
        """Independent normals."""
        std = std.reshape(1, *self.shape)
        return Normal(eta.reshape(-1, *self.shape) * std, std)

    def every(self, device: torch.device) -> Tensor:
        """There is no list of them.

        Raises:
            NotSupported: always.
        """
        raise NotSupported("The states of real units cannot be listed.", got=self.shape)


def units_of(domain: Domain) -> Units:
    """The units for data of a domain: bits, levels or reals."""
    if not isinstance(domain, Discrete):
        return Reals(domain.shape)
    return Bits(domain.shape) if domain.levels == 2 else Levels(domain.shape, domain.levels)


def bernoulli(eta: Tensor, generator: Generator) -> Tensor:
    """Bits with these log-odds, as floats."""
    u = torch.rand(eta.shape, generator=generator, dtype=eta.dtype, device=eta.device)
    return u.lt_(eta.sigmoid())  # in place: several times as fast as by way of a mask


def binary(bits: int, device: torch.device) -> Tensor:
    """All ``2**bits`` states of so many bits, ``(states, bits)`` float64; the last bit runs fastest."""
    shifts = torch.arange(bits - 1, -1, -1, device=device)
    return ((torch.arange(2**bits, device=device).unsqueeze(1) >> shifts) & 1).double()
