"""Batches as a function of their number: shuffled passes without a state to save."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import final

import torch
from torch import Tensor

from ..data import Dataset, Mapped, Split
from ..domain import Domain
from ..learning import Batch, Recipe
from ..randomness import derive, generator, some
from .augmentation import augmented, binarised

__all__ = ["Batches"]

BLOCK = 2**24
"""Entries in one block of a pass over all data."""


@final
class Batches:
    """The training data, in shuffled batches or in one ordered pass.

    Batch number k is the k-th run of ``size`` data in an endless sequence of permutations, each derived from the seed and
    its number: any batch can be had at any time, so a run needs to store no more than a step. A batch is cut into equal
    shards, which is what processes share out among them.

    Args:
        split: Data: they stay on the device as one tensor, or mapped in their file.
        domain: Their domain.
        recipe: Data in a batch (at most all, and a multiple of the shards), and how they are changed.
        seed: Of the run.
        device: Where batches go.
        conditional: Whether labels go along.
        shards: Parts of a batch.
        origin: Of two unpaired sets, the one that the conditions are of: its batches have the same number, and permutations
            of their own.
    """

    def __init__(
        self,
        split: Split,
        domain: Domain,
        recipe: Recipe,
        seed: int,
        device: torch.device,
        *,
        conditional: bool,
        shards: int = 1,
        origin: Dataset | None = None,
    ) -> None:
        self.x = split.x.to(device) if isinstance(split.x, Tensor) else split.x
        self.y = split.y if conditional else None
        self.intensities = split.intensities.to(device) if recipe.binarise and split.intensities is not None else None
        self.domain, self.recipe, self.seed, self.device, self.shards = domain, recipe, seed, device, shards
        self.size = max(1, min(recipe.batch, len(split.x)) // shards) * shards
        self.origin: Batches | None = None
        if conditional and origin is not None:
            seed_there = derive(seed, "origin")
            self.origin = Batches(
                origin.train, origin.domain, recipe, seed_there, device, conditional=False, shards=shards
            )
            self.origin.size, self.y = self.size, None
        self._permutation = lru_cache(2)(
            lambda number: torch.randperm(len(split.x), generator=generator(seed, "order", number))
        )

    def __len__(self) -> int:
        return len(self.x)

    def shard(self, number: int, shard: int) -> Batch:
        """One shard of a batch, with the changes that the recipe asks for."""
        size = self.size // self.shards
        part = slice(shard * size, (shard + 1) * size)
        rows = self._rows(number)[part]
        if isinstance(self.x, Mapped):
            self.x.announce(self._rows(number + 1)[part])
        x = self._drawn(rows, number, shard)
        if self.recipe.augment:
            x = augmented(x, self.recipe.augment, generator(self.seed, "augment", number, shard))
        batch = self._batch(x, None if self.y is None else self.y[rows])
        return batch if self.origin is None else replace(batch, given=self.origin.shard(number, shard).x)

    def _drawn(self, rows: Tensor, number: int, shard: int) -> Tensor:
        if self.intensities is None:
            return _chosen(self.x, rows)
        return binarised(_chosen(self.intensities, rows), generator(self.seed, "binarise", number, shard))

    def _rows(self, number: int) -> Tensor:
        """The positions of a batch's data."""
        first, offset = divmod(number * self.size, len(self.x))
        rows = self._permutation(first)[offset : offset + self.size]
        while len(rows) < self.size:
            first += 1
            rows = torch.cat([rows, self._permutation(first)[: self.size - len(rows)]])
        return rows

    def blocks(self, first: int = 0, stride: int = 1) -> Iterator[tuple[int, Batch]]:
        """All data once, in order, in numbered blocks as large as memory comfortably allows; or every stride-th of them."""
        n, rows = len(self.x), max(1, BLOCK // self.domain.entries)
        count = max(self.shards, -(-n // rows))  # at least one for each process
        for number in range(first, count, stride):
            part = slice(number * n // count, (number + 1) * n // count)
            yield number, self._batch(self.x[part], None if self.y is None else self.y[part])

    def subset(self, most: int, seed: int) -> Batch:
        """At most so many data, drawn at random without replacement; of two sets, as many of each as there are of the fewer."""
        most = most if self.origin is None else min(most, len(self), len(self.origin))
        rows = some(len(self.x), most, generator(seed, "subset"))
        batch = self._batch(self.x[rows], None if self.y is None else self.y[rows])
        return batch if self.origin is None else replace(batch, given=self.origin.subset(most, seed).x)

    def _batch(self, x: Tensor, y: Tensor | None) -> Batch:
        x = self.domain.unpacked(x.to(self.device))
        observed = self.domain.observed(x)
        given = None if y is None else y.to(self.device, torch.int64)
        return Batch(x, given, None if observed is None or bool(observed.all()) else observed)


def _chosen(x: Tensor | Mapped, rows: Tensor) -> Tensor:
    """``x[rows]``, several times faster where ``x`` is a tensor."""
    return x.index_select(0, rows.to(x.device)) if isinstance(x, Tensor) else x[rows]
