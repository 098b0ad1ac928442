r"""Counts of what is not known beforehand, in a table of fixed size that adds up: an invertible Bloom lookup table.

How often each n-gram occurs is a sum over data; but which n-grams there are differs from batch to batch and from process to
process, and sums of statistics are sums of tensors. So every distinct row s of n symbols adds to three cells, which hashes of s
choose,

.. math:: \left( c,\; c\, s_1, \dots, c\, s_n,\; c\, h(s) \right)

with its count c and another hash h. Sums of tables are the tables of sums. A cell to which one row alone has added gives it
back: :math:`s_i = (c\, s_i) / c`, and h(s) confirms it; the row is taken out of its two other cells, which may leave others
alone in theirs, and so on. With fewer rows than about 0.8 times the cells this ends, almost surely, with an empty table, and
all rows and counts are known exactly. Where it does not, there were more rows than the table was made for, and that is noticed.

Source:
    Invertible Bloom lookup tables (Goodrich and Mitzenmacher 2011), https://arxiv.org/abs/1101.2245
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

__all__ = ["Sketch"]

PARTS = 3
"""Cells of a row, each in its own part of the table."""
SPARE = 64
"""Cells of a part beyond those that the capacity asks for: small tables fill less evenly."""
FACTOR = 0x5851F42D4C957F2D
"""A multiplier whose products spread over 64 bits (Knuth's)."""
LARGEST_CHECK = 2**20


@final
class Sketch:
    """Where rows add their counts, and how they are read back.

    Args:
        capacity: The most distinct rows.
        symbols: n of a row.
    """

    def __init__(self, capacity: int, symbols: int) -> None:
        self.symbols = symbols
        self.part = capacity // 2 + SPARE

    def table(self, rows: Tensor, counts: Tensor) -> Tensor:
        """The table ``(cells, n + 2)`` in float64 of rows ``(U, n)`` with counts ``(U,)``."""
        empty = torch.zeros(PARTS * self.part, self.symbols + 2, dtype=torch.float64, device=rows.device)
        return self._added(empty, rows, counts.double())

    def rows(self, table: Tensor) -> tuple[Tensor, Tensor] | None:
        """The rows ``(U, n)`` and counts ``(U,)`` of a table, in no order; None if it holds more than it can give back."""
        table, found = table.clone(), list[tuple[Tensor, Tensor]]()
        cells = torch.arange(len(table), device=table.device)
        while len(cells):
            rows, counts = self._alone(table, cells)
            found.append((rows, counts))
            self._added(table, rows, -counts)
            cells = torch.unique(self._cells(rows))
        if bool((table != 0).any()):
            return None
        return torch.cat([rows for rows, _ in found]), torch.cat([counts for _, counts in found])

    def _added(self, table: Tensor, rows: Tensor, counts: Tensor) -> Tensor:
        content = torch.cat([torch.ones_like(rows[:, :1]), rows, self._check(rows).unsqueeze(1)], 1)
        content = (content * counts.unsqueeze(1)).repeat(PARTS, 1)
        return table.index_add_(0, self._cells(rows), content)

    def _alone(self, table: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
        """The rows that are alone in one of these cells, each once, and their counts."""
        content = table[cells]
        cells, content = cells[content[:, 0] > 0], content[content[:, 0] > 0]
        quotients = content[:, 1:] / content[:, :1]
        rows = quotients[:, :-1].round().long()
        whole = (quotients == quotients.round()).all(1) & (quotients[:, -1] == self._check(rows))
        home = (self._cells(rows).reshape(PARTS, -1) == cells).any(0)
        alone = whole & home
        rows, places = torch.unique(rows[alone], dim=0, return_inverse=True)
        return rows, torch.zeros(len(rows), dtype=torch.float64, device=rows.device).scatter(
            0, places, content[alone, 0]
        )

    def _cells(self, rows: Tensor) -> Tensor:
        """The cells of rows, ``(PARTS · U,)``: first those in the first part."""
        return torch.cat([part * self.part + _hashed(rows, part + 1) % self.part for part in range(PARTS)])

    def _check(self, rows: Tensor) -> Tensor:
        return _hashed(rows, PARTS + 1) % LARGEST_CHECK


def _hashed(rows: Tensor, salt: int) -> Tensor:
    """A number from 0 to 2^63 - 1 for each row ``(U, n)``; products wrap around."""
    h = torch.full_like(rows[:, 0], salt * FACTOR % 2**62)
    for column in rows.unbind(1):
        h = (h ^ column) * FACTOR
        h = h ^ ((h >> 31) & (2**33 - 1))
    return h & (2**63 - 1)
