"""Batches as a function of their number: shuffled passes without a state to save."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import final

import torch
from torch import Tensor

from ..data import Split
from ..domain import Discrete, Domain, Table
from ..learning import Batch
from ..randomness import generator

__all__ = ["Batches"]

BLOCK = 2**24
"""Entries in one block of a pass over all data."""


@final
class Batches:
    """The training data, in shuffled batches or in one ordered pass.

    Batch number k is the k-th run of ``size`` data in an endless sequence of permutations, each derived from the seed and
    its number: any batch can be had at any time, so a run needs to store no more than a step.

    Args:
        split: Data, kept in memory as they are.
        domain: Their domain.
        size: Data in a batch; at most all.
        seed: Of the run.
        device: Where batches go.
        conditional: Whether labels go along.
    """

    def __init__(
        self, split: Split, domain: Domain, size: int, seed: int, device: torch.device, *, conditional: bool
    ) -> None:
        self.x, self.y = split.x, split.y if conditional else None
        self.domain = domain
        self.size = min(size, len(split.x))
        self.device = device
        self._permutation = lru_cache(2)(
            lambda number: torch.randperm(len(split.x), generator=generator(seed, "order", number))
        )

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, number: int) -> Batch:
        start, n = number * self.size, len(self.x)
        first, offset = divmod(start, n)
        rows = self._permutation(first)[offset : offset + self.size]
        if len(rows) < self.size:
            rows = torch.cat([rows, self._permutation(first + 1)[: self.size - len(rows)]])
        return self._batch(self.x[rows], None if self.y is None else self.y[rows])

    def blocks(self) -> Iterator[Batch]:
        """All data once, in order, in blocks as large as memory comfortably allows."""
        rows = max(1, BLOCK // self.domain.entries)
        for start in range(0, len(self.x), rows):
            stop = start + rows
            yield self._batch(self.x[start:stop], None if self.y is None else self.y[start:stop])

    def subset(self, most: int, seed: int) -> Batch:
        """At most so many data, drawn at random without replacement."""
        rows = torch.randperm(len(self.x), generator=generator(seed, "subset"))[:most]
        return self._batch(self.x[rows], None if self.y is None else self.y[rows])

    def _batch(self, x: Tensor, y: Tensor | None) -> Batch:
        x = x.to(self.device)
        x = x.to(torch.int64) if isinstance(self.domain, Discrete) else x
        observed = ~x.isnan() if isinstance(self.domain, Table) and self.domain.missing else None
        given = None if y is None else y.to(self.device, torch.int64)
        return Batch(x, given, None if observed is None or bool(observed.all()) else observed)
