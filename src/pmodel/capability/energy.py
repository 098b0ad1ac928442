"""Models that know their density up to a constant."""

from __future__ import annotations

import functools
import math
from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Generator, Tensor

from ..likelihood import Kind
from ..model import Model
from .scoring import Density, Weigher
from .verbs import evaluating

__all__ = ["Energy", "Partitioned"]


class Energy(Model):
    r"""A model that knows its density up to a constant: :math:`p(x \mid y) = e^{-E(x, y)} / Z(y)`.

    Energies are finite; for real data they have a gradient. They compare data under one condition,
    :math:`E(x) - E(x') = \log p(x') - \log p(x)`, and say nothing of one datum alone.
    """

    verbs: ClassVar[tuple[str, ...]] = ("energy",)

    @abstractmethod
    def _energy(self, x: Tensor, given: Tensor | None) -> Tensor:
        """Energies in nats, ``(N,)``, differentiable in real data."""

    def energy(self, x: object, *, given: object = None) -> Tensor:
        """The energy of each datum, ``(N,)`` float64 nats: the lower, the likelier, under one condition.

        Args:
            x: Data, ``(N, *shape)``.
            given: Their conditions, for a conditional model: energies under different ones do not compare.

        Raises:
            NotSupported: if the model has no energy.
            BadInput: if the data do not fit the domain.
        """
        self._require("energy")
        data = self.domain.check(x).to(self.device)
        labels = self._checked_given(given, len(data))
        self._require_given(labels, "compute an energy")
        with evaluating(self):
            parts = [
                self._energy(data[start:stop], None if labels is None else labels[start:stop]).double()
                for start, stop in self._spans(len(data))
            ]
        return torch.cat(parts)


class Partitioned(Energy, Density):
    r"""An energy whose partition function Z is known exactly where the model is small, and estimated elsewhere.

    What the likelihood is depends on the instance: ``exact`` where ``enumerable``, with ``log_prob``; else an ``estimate``. An
    estimate's draws are

    .. math:: -E(x) - L_k, \qquad L_k = K \log \bar Z - (K - 1) \log \bar Z_{-k},

    with the mean :math:`\bar Z` of K unbiased estimates of Z, and without the k-th, :math:`\bar Z_{-k}`. These are the
    pseudo-values of the jackknife (Quenouille 1956, Tukey 1958): their mean is log Z̄ less most of its bias, and their standard
    deviation over :math:`\sqrt K` its standard error. One call estimates Z once, so that the error is common to all
    its data and leaves their differences alone; ``Likelihood.stderr`` holds it.
    """

    @property
    @abstractmethod
    def enumerable(self) -> bool:
        """Whether the sum over all states is affordable."""

    @abstractmethod
    def _log_partition(self, labels: Tensor | None) -> Tensor:
        """The exact log Z, float64: of each of these labels, ``(labels,)``, or ``(1,)`` of an unconditional model."""

    @abstractmethod
    def _log_partition_estimates(self, groups: int, labels: Tensor | None, generator: Generator) -> Tensor:
        """Logarithms of independent unbiased estimates of the same, float64 ``(groups, labels or 1)``."""

    @property
    def way(self) -> str:
        """How the partition function is estimated."""
        return super().way if self.enumerable else "annealed importance sampling"

    def can(self, verb: str) -> bool:
        """A log-probability only where the sum is affordable."""
        return super().can(verb) and (verb != "log_prob" or self.enumerable)

    @property
    def kind(self) -> Kind:
        """Exact where the sum is affordable, else an estimate."""
        return "exact" if self.enumerable else "estimate"

    def _log_prob(self, x: Tensor, given: Tensor | None) -> Tensor:
        energy = self._energy(x, given).double()
        if given is None:
            return -energy - self._log_partition(None)
        labels, rows = torch.unique(given, return_inverse=True)
        return -energy - self._log_partition(labels)[rows]

    def _draw(self, x: Tensor, given: Tensor | None, observed: Tensor | None, generator: Generator) -> Tensor:
        if self.enumerable:
            return super()._draw(x, given, observed, generator)
        return self._weigher(given, generator, 1)(x, given, observed)[0]

    def _weigher(self, given: Tensor | None, generator: Generator, effort: int) -> Weigher:
        """Minus the energies less the pseudo-values of log Z, which are drawn once: for all labels, with the first data."""
        if self.enumerable:
            return super()._weigher(given, generator, effort)
        labels = None if given is None else torch.unique(given)

        @functools.cache
        def log_partition() -> Tensor:
            return _pseudo_values(self._log_partition_estimates(effort, labels, generator))

        def weigh(x: Tensor, part: Tensor | None, _: Tensor | None) -> Tensor:
            energy = self._energy(x, part).double()
            if not len(energy):
                return energy.new_zeros(effort, 0)
            if part is None or labels is None:
                return -energy - log_partition()
            return -energy - log_partition()[:, torch.searchsorted(labels, part.contiguous())]

        return weigh


def _pseudo_values(log_estimates: Tensor) -> Tensor:
    """The jackknife's pseudo-values of the logarithm of a mean, of the shape ``(K, …)`` of the estimates' logarithms."""
    count = len(log_estimates)
    if count == 1:
        return log_estimates
    whole = log_estimates.logsumexp(0) - math.log(count)
    each = log_estimates - whole  # small, so that little is rounded
    empty = torch.full_like(each[:1], -math.inf)
    before = torch.cat([empty, each[:-1]]).logcumsumexp(0)
    after = torch.cat([each[1:], empty]).flip(0).logcumsumexp(0).flip(0)
    without = torch.logaddexp(before, after) - math.log(count - 1)
    return whole - (count - 1) * without
