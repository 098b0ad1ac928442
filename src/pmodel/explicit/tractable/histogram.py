"""Histograms: the proportions of the data themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Self, final

import torch
from torch import Generator, Tensor

from ...capability import Completes, Marginalises, Samples
from ...domain import Discrete, Domain, Real
from ...errors import BadInput, RangeError, require_whole
from ...learning import Batch, ClosedForm
from .components import patterns
from .uniform import box_of, checked_margin

__all__ = ["Histogram"]

SMALL = 2**20
"""Up to this many cells, discrete data get a joint table."""
FLAT = 2**12
"""Up to this many bins, real data get a joint table."""
LARGEST = 2**27
"""The most cells of any histogram: 1 GB."""


@final
class Histogram(Samples, Completes, Marginalises, ClosedForm):
    r"""Relative frequencies of the values: the maximum-likelihood distribution on a table.

    .. math:: P(x) = \frac{n_x + \alpha}{n + \alpha C} \quad\text{(joint, C cells)}, \qquad
              P(x) = \prod_d \frac{n_{d, x_d} + \alpha}{n_d + \alpha L} \quad\text{(product)}

    A real entry is cut into bins of equal width over the range of (up to 20 000 of) the training data, wider by a margin on
    each side; the density within a bin is constant, and outside the range nothing is possible. What was never seen is
    impossible too, unless the counts are smoothed. Marginals and conditionals are sums over the table, and exact.

    Args:
        domain: Discrete or real data.
        given: None; for labels there is one histogram a class.
        joint: One table for all entries together (True), or one for each (False); None: joint where it is small.
        smoothing: The alpha added to each count; 0 gives the exact proportions.
        bins: Bins of each real entry.
        margin: By how much of the range the box of real data is wider, on each side.

    Raises:
        RangeError: if a number is out of range.
        BadInput: if the table would be too large.
    """

    natives = (Discrete, Real)
    standardise = False

    table: Tensor
    low: Tensor
    high: Tensor

    def __init__(
        self,
        domain: Domain,
        given: Domain | None = None,
        *,
        joint: bool | None = None,
        smoothing: float = 0.0,
        bins: int = 32,
        margin: float = 0.05,
    ) -> None:
        super().__init__(domain, given)
        if not 0 <= smoothing < math.inf:
            raise RangeError("smoothing must be a number of counts, 0 or more.", got=smoothing)
        require_whole("bins", bins, 1, SMALL)
        self.smoothing, self.margin = smoothing, checked_margin(margin)
        self.levels = domain.levels if isinstance(domain, Discrete) else bins
        D = domain.entries
        small = D * math.log2(self.levels) <= math.log2(SMALL if isinstance(domain, Discrete) else FLAT) + 1e-9
        self.joint = small if joint is None else joint
        digits = D * math.log10(self.levels) if self.joint else math.log10(D * self.levels)
        if digits > math.log10(LARGEST):
            count = f"{self.levels}^{D} = 10^{digits:.0f}" if self.joint else str(D * self.levels)
            raise BadInput(
                f"The table would have {count} cells: at most {LARGEST} fit into memory.",
                got=f"{D} entries of {self.levels} values, {'joint' if self.joint else 'one by one'}",
                hint="use joint=false, or fewer bins",
            )
        shape = (1, self.levels**D) if self.joint else (D, self.levels)
        self.register_buffer("table", torch.full(shape, 1 / shape[1], dtype=torch.float64))
        self.register_buffer("low", torch.zeros(D, dtype=torch.float64))
        self.register_buffer("high", torch.full((D,), float(self.levels), dtype=torch.float64))

    @classmethod
    def tiny(cls, domain: Domain, given: Domain | None = None) -> Self:
        """Four bins."""
        return cls(domain, given, bins=4)

    @property
    def freedom(self) -> int:
        """The cells less one of each table, and the edges of the box of real data."""
        edges = 0 if isinstance(self.domain, Discrete) else 2 * self.domain.entries
        return self.table.numel() - len(self.table) + edges

    @property
    def probabilities(self) -> Tensor:
        """The joint table ``(L, …, L)``, or the entries' tables ``(D, L)``."""
        return self.table.reshape((self.levels,) * self.domain.entries) if self.joint else self.table

    def initialise(self, subset: Batch, generator: Generator) -> None:
        """Set the range of real data."""
        if not isinstance(self.domain, Discrete):
            low, high = box_of(subset, self.margin)
            self.low.copy_(low.flatten())
            self.high.copy_(high.flatten())

    def statistics(self, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """The counts. Missing and out-of-range values count nowhere; a joint table counts complete data only."""
        digits, counted = self._digits(batch.x, None if batch.observed is None else self._rows(batch.observed))
        if self.joint:
            digits, counted = self._cells(digits)[:, None], counted.all(1, keepdim=True)
        F, C = self.table.shape
        flat = (digits + C * torch.arange(F, device=digits.device))[counted]
        counts = torch.bincount(flat, minlength=F * C).double().reshape(F, C)
        return {"n": torch.tensor(float(len(batch.x)), dtype=torch.float64, device=digits.device), "counts": counts}

    def maximise(self, statistics: Mapping[str, Tensor]) -> None:
        """Proportions; an entry that was never observed is uniform."""
        counts = statistics["counts"] + self.smoothing
        totals = counts.sum(1, keepdim=True)
        self.table.copy_(torch.where(totals > 0, counts / totals, 1 / counts.shape[1]))

    def _rows(self, x: Tensor) -> Tensor:
        return x.reshape(-1, self.domain.entries)

    def _digits(self, x: Tensor, observed: Tensor | None) -> tuple[Tensor, Tensor]:
        """The level or bin of each entry ``(N, D)``, and whether it is observed and in range; 0 where it is not."""
        rows = self._rows(x)
        seen = torch.ones_like(rows, dtype=torch.bool) if observed is None else observed
        if isinstance(self.domain, Discrete):
            return torch.where(seen, rows, 0), seen
        inside = seen & (rows >= self.low) & (rows <= self.high)
        place = (rows.double() - self.low) / (self.high - self.low) * self.levels
        return torch.where(inside, place, 0.0).long().clamp(0, self.levels - 1), inside

    def _cells(self, digits: Tensor) -> Tensor:
        """The number of the cell with these digits, the first entry the most significant."""
        cells = torch.zeros(len(digits), dtype=torch.int64, device=digits.device)
        for column in digits.T:
            cells = cells * self.levels + column
        return cells

    def _values(self, digits: Tensor, generator: Generator) -> Tensor:
        """Data with these digits ``(n, D)``: a real entry is uniform within its bin."""
        shape = (len(digits), *self.domain.shape)
        if isinstance(self.domain, Discrete):
            return digits.reshape(shape)
        u = torch.rand(digits.shape, generator=generator, dtype=torch.float64, device=digits.device)
        return (self.low + (self.high - self.low) * (digits + u) / self.levels).reshape(shape)

    def _sample(self, n: int, given: Tensor | None, generator: Generator) -> Tensor:
        return self._values(self._drawn(n, generator), generator)

    def _drawn(self, n: int, generator: Generator) -> Tensor:
        """Digits of ``n`` draws, ``(n, D)``."""
        if n == 0:
            return torch.zeros(0, self.domain.entries, dtype=torch.int64, device=self.device)
        cells = torch.multinomial(self.table, n, replacement=True, generator=generator).T
        return self._unravelled(cells[:, 0], self.domain.entries) if self.joint else cells

    def _unravelled(self, cells: Tensor, entries: int) -> Tensor:
        """The digits of cell numbers, the inverse of ``_cells``."""
        places = self.levels ** torch.arange(entries - 1, -1, -1, device=cells.device)
        return cells[:, None] // places % self.levels

    def _log_prob(self, x: Tensor, given: Tensor | None) -> Tensor:
        return self._log_marginal(x, torch.ones_like(x, dtype=torch.bool), given)

    def _log_marginal(self, x: Tensor, observed: Tensor, given: Tensor | None) -> Tensor:
        seen = self._rows(observed)
        digits, inside = self._digits(x, seen)
        width = (self.high - self.low) / self.levels
        outside = (seen & ~inside).any(1)
        volume = torch.where(seen, width.log(), 0.0).sum(1)
        return torch.where(outside, -math.inf, self._log_mass(digits, seen)) - volume

    def _log_mass(self, digits: Tensor, seen: Tensor) -> Tensor:
        """The log-probability of the digits that are seen."""
        if not self.joint:
            entries = torch.arange(digits.shape[1], device=digits.device)
            return torch.where(seen, self.table.log()[entries, digits], 0.0).sum(1)
        out = torch.zeros(len(digits), dtype=torch.float64, device=digits.device)
        for pattern, rows in patterns(seen):
            out[rows] = self._split(pattern).sum(1).log()[self._cells(digits[rows][:, pattern])]
        return out

    def _split(self, pattern: Tensor) -> Tensor:
        """The joint table as a matrix, (cells of the seen entries, cells of the others)."""
        order = [*pattern.nonzero()[:, 0].tolist(), *(~pattern).nonzero()[:, 0].tolist()]
        return self.probabilities.permute(order).reshape(self.levels ** int(pattern.sum()), -1)

    def _complete(self, x: Tensor, observed: Tensor, given: Tensor | None, generator: Generator) -> Tensor:
        seen = self._rows(observed)
        digits = self._digits(x, seen)[0]
        drawn = self._drawn(len(x), generator)
        if self.joint:
            for pattern, rows in patterns(seen):
                if not bool(pattern.all()):
                    keys = self._cells(digits[rows][:, pattern])
                    drawn[rows[:, None], (~pattern).nonzero().T] = self._conditional(pattern, keys, generator)
        return self._values(drawn, generator)

    def _conditional(self, pattern: Tensor, keys: Tensor, generator: Generator) -> Tensor:
        """Digits of the unseen entries given the cells of the seen ones; from their marginal where those are impossible."""
        table = self._split(pattern)
        marginal, parts = table.sum(0), []
        for part in torch.split(keys, max(1, SMALL // len(marginal))):
            masses = torch.where(table[part].sum(1, keepdim=True) > 0, table[part], marginal)
            parts.append(torch.multinomial(masses, 1, generator=generator)[:, 0])
        return self._unravelled(torch.cat(parts), int((~pattern).sum()))
