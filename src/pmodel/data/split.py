"""One part of a data set: the data, and what is known of each beside them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import DataError, ShapeError
from .mapped import Mapped, in_memory

__all__ = ["Split"]


@dataclass(frozen=True, eq=False)
class Split:
    """One part of a data set.

    Args:
        x: The data, ``(N, *domain.shape)``, stored compactly; ``domain.check`` turns a batch into what models take. Training
            data that would not fit into memory are ``Mapped``: rows of theirs are tensors just the same.
        y: The labels, int64 ``(N,)``, or None.
        factors: The true factors that drawn data were drawn from, float64 ``(N, F)``, or None.
        intensities: The grey pictures that binary ones were drawn from, uint8 of the shape of ``x``, or None.
    """

    x: Tensor | Mapped
    y: Tensor | None = None
    factors: Tensor | None = None
    intensities: Tensor | None = None

    def __post_init__(self) -> None:
        for name, column in zip(("labels", "factors", "intensities"), self._columns, strict=True):
            if column is not None and len(column) != len(self.x):
                raise ShapeError(f"There must be as many {name} as data.", got=(len(column), len(self.x)))

    def __len__(self) -> int:
        return len(self.x)

    def take(self, index: Tensor) -> Split:
        """The data at these positions, or where the mask is true, in memory."""
        return Split(self.x[index], *self._beside(index))

    def part(self, index: Tensor) -> Split:
        """As ``take``, but mapped data stay in their file."""
        return Split(self.x.part(index), *self._beside(index)) if isinstance(self.x, Mapped) else self.take(index)

    def joined(self, *others: Split) -> Split:
        """This split followed by others, in memory. What one of them lacks, the whole lacks."""
        splits = (self, *others)
        columns = zip(*(split._columns for split in splits), strict=True)
        beside = (None if any(part is None for part in parts) else torch.cat(parts) for parts in columns)
        return Split(torch.cat([in_memory(split.x) for split in splits]), *beside)

    def labelled(self, column: int) -> Split:
        """The same data with a column of the factors as labels.

        Raises:
            DataError: if their factors are not known.
        """
        if self.factors is None:
            hint = "drawn data such as faces have factors; others keep the labels that they came with"
            raise DataError("The data have no factors to be labelled by.", got=f"column {column}", hint=hint)
        return replace(self, y=self.factors[:, column].long())

    def _beside(self, index: Tensor) -> tuple[Tensor | None, ...]:
        return tuple(None if column is None else column[index] for column in self._columns)

    @property
    def _columns(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        return (self.y, self.factors, self.intensities)
