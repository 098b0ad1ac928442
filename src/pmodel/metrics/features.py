"""What a distance looks at: a map from data to features, with a name that goes into the distance's measure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor
from torch.nn import functional as F

from ..domain import Discrete, Domain, Table
from ..errors import NotSupported

__all__ = ["Columns", "Extractor"]

CHUNK = 2**22
SIDE = 8
"""Images that no judge is made for are averaged down to this many pixels a side, so that a covariance can be estimated."""
MOST_INDICATORS = 32
"""Discrete entries of at most this many levels become indicator columns where the datum is small."""


class Extractor(ABC):
    """A map from data of one domain to features, and perhaps from features to class probabilities.

    Args:
        domain: What one datum is.

    Attributes:
        classes: How many classes it tells apart; 0 if it has features only.
        class_names: What the data call these classes; empty if they are not the data's.
        record: What is known of how it was learned; None where it follows from the data by a rule.
    """

    chunk: int = CHUNK
    """Entries of data that are turned into features at a time."""
    classes: int = 0
    class_names: tuple[str, ...] = ()
    record: dict[str, Any] | None = None

    def __init__(self, domain: Domain) -> None:
        self.domain = domain

    @property
    @abstractmethod
    def name(self) -> str:
        """What it is, with the hash of whatever was learned: part of the distance's measure."""

    @abstractmethod
    def _features(self, x: Tensor) -> Tensor: ...

    def __call__(self, x: Tensor) -> Tensor:
        """Features of data, ``(N, *shape) -> (N, D)`` float64 on the CPU."""
        with torch.no_grad():
            rows = max(1, self.chunk // self.domain.entries)
            return torch.cat([self._features(part).to("cpu", torch.float64) for part in torch.split(x, rows)])

    def classified(self, features: Tensor) -> Tensor:
        """Class probabilities of data whose features are known, ``(N, D) -> (N, classes)`` float64.

        Raises:
            NotSupported: if it tells no classes apart.
        """
        raise NotSupported(
            "Without labels there are no classes, and so no class probabilities: this judge has features only.",
            got=self.name,
            hint="ask only for what needs no classes, such as distances, precision and recall",
        )

    def placed(self, features: Tensor) -> Tensor:
        """Where neighbours are looked for, ``(N, D) -> (N, D)``."""
        return features

    def save(self, path: str | Path) -> Path | None:
        """Write the file that it can be read from, if it was learned here; None if there is nothing to write."""
        return None

    def probabilities(self, x: Tensor) -> Tensor:
        """Class probabilities of data, ``(N, *shape) -> (N, classes)`` float64.

        Raises:
            NotSupported: if it tells no classes apart.
        """
        return self.classified(self(x))


@final
class Columns(Extractor):
    """The data themselves, each column with mean 0 and variance 1 on the training data.

    Categories become indicator columns, and so do the entries of small discrete data. A missing value becomes its column's
    mean, next to an indicator of being missing. Images are first averaged down to ``SIDE`` pixels a side.

    Args:
        domain: What one datum is.
        train: Training data, ``(N, *shape)``.
    """

    def __init__(self, domain: Domain, train: Tensor) -> None:
        super().__init__(domain)
        raw = torch.cat([self._columns(part) for part in torch.split(train, max(1, CHUNK // domain.entries))])
        self.loc = raw.nanmean(0).nan_to_num()
        scale = (raw - self.loc).square().nanmean(0).nan_to_num().sqrt()
        self.scale = torch.where(scale > 1e-12 * (1 + self.loc.abs()), scale, 1.0)

    @property
    def name(self) -> str:
        """They depend on nothing but the data, whose hash the measure holds."""
        return f"pixels averaged to {SIDE}x{SIDE}, standardised" if self.domain.image else "standardised columns"

    def _features(self, x: Tensor) -> Tensor:
        columns = (self._columns(x) - self.loc) / self.scale
        if not isinstance(self.domain, Table):
            return columns
        gaps = [x[:, k].isnan() for k, column in enumerate(self.domain.columns) if column.missing]
        return torch.cat([columns.nan_to_num(0.0), *(gap.double()[:, None] for gap in gaps)], 1)

    def _columns(self, x: Tensor) -> Tensor:
        x = x.cpu()
        if isinstance(self.domain, Table):
            return torch.cat([self._of_table(x[:, k], k) for k in range(self.domain.entries)], 1)
        if self.domain.image:
            height, width = (min(SIDE, side) for side in self.domain.shape[1:])
            return F.adaptive_avg_pool2d(x.double(), (height, width)).flatten(1)
        flat = x.flatten(1)
        if isinstance(self.domain, Discrete) and self.domain.levels * self.domain.entries <= MOST_INDICATORS:
            return F.one_hot(flat.long(), self.domain.levels).flatten(1).double()
        return flat.double()

    def _of_table(self, column: Tensor, index: int) -> Tensor:
        assert isinstance(self.domain, Table)  # noqa: S101 - only called for tables
        categories = len(self.domain.columns[index].categories)
        if not categories:
            return column[:, None].double()
        gap = column.isnan()
        indicators = F.one_hot(column.nan_to_num(0.0).long(), categories).double()
        return torch.where(gap[:, None], torch.nan, indicators)
