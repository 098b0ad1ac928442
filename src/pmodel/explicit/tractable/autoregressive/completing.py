"""How models that write data in a fixed order fill in what is missing: exactly where they can, else by particles.

p(missing | observed) is what a fixed order makes hard, since only conditionals on *earlier* entries are known. Three ways:

- where the missing entries of a datum have few joint states, all are scored, and one is drawn: exact;
- where nothing observed comes after something missing, the missing entries are written one after another: exact;
- else a particle filter (``particles.py``), which tends to p(missing | observed) as ``particles`` grows.
"""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Generator, Tensor

from ....capability import Completes, Density
from ....domain import Discrete, Domain, Sequences
from ....errors import RangeError
from .categories import inverse_cdf

__all__ = ["CompletesInOrder", "in_order"]

STATES = 256
"""Joint states of missing entries up to which completion scores them all: those of one entry of a byte."""

LISTED = 2**22
"""Entries that are held at once while joint states are scored, or those of one datum's if they are more."""

MOST = 2**12
"""The most copies of a datum: a guard against absurd numbers from files and arguments."""


class CompletesInOrder(Density, Completes):
    """A density that writes data entry by entry, and so completes them.

    Attributes:
        particles: Copies of a datum in ``complete``, where it is not exact.
    """

    adjustable: tuple[str, ...] = ("particles",)
    particles: int

    @abstractmethod
    def _written(
        self, x: Tensor, given: Tensor | None, observed: Tensor, generator: Generator, particles: int
    ) -> Tensor:
        """Data with what is observed, the rest written by a particle filter with this many copies of each."""

    @abstractmethod
    def _by_order(self, observed: Tensor) -> Tensor:
        """A mask ``(N, *shape)`` as ``(N, D)``, in the order in which entries are written."""

    def _evidence(self, x: Tensor, observed: Tensor) -> Tensor:
        """The observed entries that have a factor: all, if nothing else is said."""
        return observed

    def _in_order(self, observed: Tensor) -> Tensor:
        """For which data ``(N,)`` of a mask nothing observed is written after something missing."""
        return in_order(self._by_order(observed))

    def _check_sampling(self) -> None:
        if isinstance(self.particles, bool) or not isinstance(self.particles, int) or not 1 <= self.particles <= MOST:
            raise RangeError(f"particles must be a whole number from 1 to {MOST}.", got=self.particles)

    def _complete(self, x: Tensor, observed: Tensor, given: Tensor | None, generator: Generator) -> Tensor:
        filled, missing = x.clone(), (~observed).flatten(1).sum(1)
        few = self._few(missing)
        for count in sorted(set(missing[few & (missing > 0)].tolist())):
            rows = (missing == count).nonzero()[:, 0]
            labels = None if given is None else given[rows]
            filled[rows] = self._enumerated(x[rows], observed[rows], labels, count, generator)
        ordered = self._in_order(self._evidence(x, observed))
        for rows, particles in ((~few & ordered, 1), (~few & ~ordered, self.particles)):
            size = max(1, self.chunk // (particles * self.domain.entries))
            for part in torch.split(rows.nonzero()[:, 0], size) if bool(rows.any()) else ():
                labels = None if given is None else given[part]
                filled[part] = self._written(x[part], labels, observed[part], generator, particles)
        return filled

    def _exactly(self, x: Tensor, observed: Tensor) -> Tensor:
        missing = (~observed).flatten(1).sum(1)
        return self._few(missing) | self._in_order(self._evidence(x, observed))

    def _few(self, missing: Tensor) -> Tensor:
        """Whether so many missing entries have few joint states."""
        levels = _levels(self.domain)
        return missing == 0 if levels is None else missing * math.log(levels) < math.log(STATES + 0.5)

    def _enumerated(
        self, x: Tensor, observed: Tensor, given: Tensor | None, missing: int, generator: Generator
    ) -> Tensor:
        """Draw the missing entries, as many in each datum, from the scores of all their joint states.

        Data that share what is observed share the scores: they are computed once.
        """
        levels = _levels(self.domain) or 1
        flat, mask = x.flatten(1).masked_fill(~observed.flatten(1), 0), observed.flatten(1)
        labels = torch.zeros_like(flat[:, :1]) if given is None else given.unsqueeze(1)
        evidence, same = torch.unique(torch.cat([flat, mask.to(flat.dtype), labels], 1), return_inverse=True, dim=0)
        flat, mask, labels = torch.split(evidence, [self.domain.entries, self.domain.entries, 1], 1)
        holes = (mask == 0).nonzero()[:, 1].reshape(len(flat), missing)
        powers = levels ** torch.arange(missing - 1, -1, -1, device=x.device)
        states = torch.arange(levels**missing, device=x.device).unsqueeze(1) // powers % levels
        size = max(1, LISTED // (len(states) * self.domain.entries))
        spans = [slice(start, start + size) for start in range(0, len(flat), size)]
        log_p = torch.cat([self._of_states(flat[s], holes[s], labels[s], states) for s in spans])
        u = torch.rand(len(x), 1, generator=generator, device=x.device, dtype=log_p.dtype)
        chosen = inverse_cdf(log_p[same], u)
        return x.flatten(1).scatter(1, holes[same], states[chosen]).reshape(x.shape)

    def _of_states(self, flat: Tensor, holes: Tensor, labels: Tensor, states: Tensor) -> Tensor:
        """The log-probability ``(N, S)`` of data ``(N, D)`` with each of the states ``(S, K)`` in the holes ``(N, K)``."""
        n, count = len(flat), len(states)
        every = flat.unsqueeze(1).expand(-1, count, -1)
        every = every.scatter(2, holes.unsqueeze(1).expand(-1, count, -1), states.expand(n, -1, -1))
        told = None if self.given is None else labels.expand(-1, count).flatten()
        return self._scored(every.reshape(-1, *self.domain.shape), told).reshape(n, count)

    def _scored(self, x: Tensor, given: Tensor | None) -> Tensor:
        """The log-probability of many data, a chunk at a time."""
        parts = [
            self._log_prob(x[start:stop], None if given is None else given[start:stop])
            for start, stop in self._spans(len(x))
        ]
        return torch.cat(parts)


def _levels(domain: Domain) -> int | None:
    """The values of a discrete entry, among them the end of a string; None for a real one."""
    if isinstance(domain, Sequences):
        levels = _levels(domain.element)
        return None if levels is None else levels + domain.ends
    return domain.levels if isinstance(domain, Discrete) else None


def in_order(observed: Tensor) -> Tensor:
    """For which data ``(N,)`` of a mask ``(N, D)`` in the order of writing nothing observed follows something missing."""
    ordered = observed.byte()
    return (ordered == ordered.cummin(1).values).all(1)
