"""Tables of mixed columns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from ..errors import BadInput
from .base import Domain, require_finite
from .plain import Discrete

__all__ = ["Column", "Table"]


@final
@dataclass(frozen=True)
class Column:
    """One column of a table.

    Args:
        name: What the column is called.
        kind: ``real`` (density), ``stepped`` (values on a grid such as whole or rounded numbers: mass at the step, because
            a density there would be unbounded) or ``category`` (mass; stored as 0 … levels - 1).
        step: The spacing of a stepped column.
        categories: The names of the categories.
        missing: Whether values may be missing (NaN).
    """

    name: str
    kind: Literal["real", "stepped", "category"] = "real"
    step: float = 0.0
    categories: tuple[str, ...] = ()
    missing: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "categories", tuple(str(name) for name in self.categories))
        if self.kind not in ("real", "stepped", "category"):
            raise BadInput("A column is real, stepped or category.", got=self.kind)
        if (self.kind == "stepped") != (self.step > 0) or not math.isfinite(self.step):
            raise BadInput(f"Column {self.name!r}: only a stepped column has a positive step.", got=self.step)
        if (self.kind == "category") != bool(self.categories):
            raise BadInput(f"Column {self.name!r}: only a category column lists categories.", got=self.categories)

    @property
    def spacing(self) -> float:
        """The distance between neighbouring values: 0 for a real column."""
        return {"real": 0.0, "stepped": self.step, "category": 1.0}[self.kind]


@final
@dataclass(frozen=True)
class Table(Domain):
    """Rows of mixed columns, float64 with NaN where a value is missing.

    Args:
        columns: The columns, in order.
    """

    columns: tuple[Column, ...]

    def __post_init__(self) -> None:
        columns = tuple(c if isinstance(c, Column) else Column(**c) for c in self.columns)
        object.__setattr__(self, "columns", columns)
        if not columns:
            raise BadInput("A table needs at least one column.", got=0)

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """One entry a column."""
        return (len(self.columns),)

    @property
    def measure(self) -> Literal["mass", "density", "mixed"]:
        """Mass if no column is real, density if all are, else the product of both."""
        real = [column.kind == "real" for column in self.columns]
        return "density" if all(real) else "mixed" if any(real) else "mass"

    @property
    def steps(self) -> Tensor:
        """The spacing of each column."""
        return torch.tensor([column.spacing for column in self.columns], dtype=torch.float64)

    @property
    def missing(self) -> bool:
        """Whether any column may have missing values."""
        return any(column.missing for column in self.columns)

    @property
    def storage(self) -> torch.dtype:
        """Double precision: whole numbers and categories are exact in it."""
        return torch.float64

    def _check_values(self, x: Tensor, name: str) -> Tensor:
        x = x.to(torch.float64)
        for index, column in enumerate(self.columns):
            values = x[:, index]
            if column.missing:
                values = values[~values.isnan()]
            where = f"{name}, column {column.name!r},"
            require_finite(values, where)
            if column.kind == "category":
                Discrete((), len(column.categories))._check_values(values, where)
        return x
