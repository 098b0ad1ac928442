"""What one datum is: its shape, its values, and whether probability is mass or density there.

Every border of pmodel passes through ``Domain.check``: it accepts arrays, lists and tensors, and answers with a tensor of one
known type and shape, or with an error that names the first offending value. The condition of a conditional model is a datum
too, and so has a domain: a class label is ``Discrete((), levels=10)``.

==========  =======================================  ===================  ==================
domain      datum                                    tensor               probability is
==========  =======================================  ===================  ==================
Discrete    whole numbers 0 … levels - 1             int64 (N, *shape)    mass
Real        real numbers                             float (N, *shape)    density
Table       columns: real, stepped, or categories    float64 (N, D)       mass × density
==========  =======================================  ===================  ==================
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, final

import numpy as np
import torch
from torch import Tensor

from .errors import BadInput, DtypeError, RangeError, ShapeError

__all__ = ["Column", "Discrete", "Domain", "Real", "Table", "domain_from_json"]

LARGEST = 2**26
"""The most entries that one datum may have: a guard against absurd shapes from files and arguments."""


class Domain(ABC):
    """The set that a datum belongs to. Immutable, comparable, and written to JSON as it is."""

    shape: tuple[int, ...]

    @property
    def entries(self) -> int:
        """The number of scalar entries of one datum (the D of bits per dimension)."""
        return math.prod(self.shape)

    @property
    def image(self) -> bool:
        """Whether a datum is a picture: channels first, one or three of them."""
        return len(self.shape) == 3 and self.shape[0] in (1, 3)

    @property
    @abstractmethod
    def measure(self) -> Literal["mass", "density", "mixed"]:
        """What ``exp(log_prob)`` is: a probability, a density in original units, or a product of both."""

    @property
    @abstractmethod
    def steps(self) -> Tensor:
        """The spacing of the values of each entry, of shape ``shape``; 0 where the entry is real."""

    @abstractmethod
    def _check_values(self, x: Tensor, name: str) -> Tensor: ...

    def check(self, x: object, name: str = "x") -> Tensor:
        """The batch as a tensor of shape ``(N, *shape)`` and of this domain's type.

        Raises:
            DtypeError: if it is not numeric.
            ShapeError: if one datum has another shape.
            RangeError: if a value is NaN, infinite, or outside the domain.
        """
        tensor = _as_tensor(x, name)
        if tensor.ndim != 1 + len(self.shape) or tuple(tensor.shape[1:]) != self.shape:
            wanted = "(N" + "".join(f", {side}" for side in self.shape) + ("," if not self.shape else "") + ")"
            raise ShapeError(
                f"{name} does not have the shape of this data.",
                got=tuple(tensor.shape),
                hint=f"pass a batch of shape {wanted}",
            )
        return self._check_values(tensor, name)

    def to_json(self) -> dict[str, Any]:
        """The domain as JSON; ``domain_from_json`` reads it back."""
        return {"kind": type(self).__name__.lower(), **asdict(self)}  # type: ignore[call-overload]


@final
@dataclass(frozen=True)
class Discrete(Domain):
    """Whole numbers from 0 to ``levels - 1``: a die, bits, pixels.

    Args:
        shape: The shape of one datum; ``(C, H, W)`` is an image and ``()`` a label.
        levels: How many values an entry can take.
    """

    shape: tuple[int, ...]
    levels: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", _checked_shape(self.shape))
        object.__setattr__(self, "levels", _whole("levels", self.levels, 1, 2**31))

    @property
    def measure(self) -> Literal["mass"]:
        """Probability mass."""
        return "mass"

    @property
    def steps(self) -> Tensor:
        """One everywhere."""
        return torch.ones(self.shape, dtype=torch.float64)

    def _check_values(self, x: Tensor, name: str) -> Tensor:
        if x.is_floating_point() and bool((x != x.round()).any()):  # NaN differs from itself
            bad = x[x != x.round()][0].item()
            raise RangeError(
                f"{name} must hold whole numbers from 0 to {self.levels - 1}.",
                got=bad,
                hint="pass the raw levels, such as uint8 pixels, not values scaled to [0, 1]",
            )
        if x.numel() and (float(x.min()) < 0 or float(x.max()) >= self.levels):
            bad = x[(x < 0) | (x >= self.levels)][0].item()
            raise RangeError(f"{name} must hold whole numbers from 0 to {self.levels - 1}.", got=bad)
        return x.to(torch.int64)


@final
@dataclass(frozen=True)
class Real(Domain):
    """Real numbers.

    Args:
        shape: The shape of one datum.
    """

    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", _checked_shape(self.shape))

    @property
    def measure(self) -> Literal["density"]:
        """Probability density in the units of the data."""
        return "density"

    @property
    def steps(self) -> Tensor:
        """Zero everywhere: a real entry has no spacing."""
        return torch.zeros(self.shape, dtype=torch.float64)

    def _check_values(self, x: Tensor, name: str) -> Tensor:
        _require_finite(x, name)
        return x if x.dtype == torch.float64 else x.to(torch.float32)


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

    def _check_values(self, x: Tensor, name: str) -> Tensor:
        x = x.to(torch.float64)
        for index, column in enumerate(self.columns):
            values = x[:, index]
            if column.missing:
                values = values[~values.isnan()]
            where = f"{name}, column {column.name!r},"
            _require_finite(values, where)
            if column.kind == "category":
                Discrete((), len(column.categories))._check_values(values, where)
        return x


def domain_from_json(value: Mapping[str, Any]) -> Domain:
    """The domain that ``to_json`` wrote.

    Raises:
        BadInput: if it is not one.
    """
    kinds: dict[str, type[Discrete] | type[Real] | type[Table]] = {"discrete": Discrete, "real": Real, "table": Table}
    fields = dict(value) if isinstance(value, Mapping) else {}
    kind = kinds.get(str(fields.pop("kind", None)))
    if kind is None:
        raise BadInput("A domain is discrete, real or a table.", got=value)
    try:
        return kind(**fields)
    except TypeError as error:
        raise BadInput(f"This is not the description of a {kind.__name__} domain.", got=value) from error


def _as_tensor(x: object, name: str) -> Tensor:
    if not isinstance(x, Tensor):
        try:
            array = np.asarray(x)
        except ValueError as error:
            raise ShapeError(f"{name} is not a rectangular array.", got=x) from error
        if array.dtype.kind not in "biuf":
            raise DtypeError(f"{name} must be numeric.", got=array.dtype.name)
        if array.dtype.kind == "u" and array.dtype.itemsize > 1:
            array = array.astype(np.int64)
        x = torch.from_numpy(np.array(array, order="C"))  # a copy: arrays may be read-only
    if x.is_complex() or x.is_sparse:
        raise DtypeError(f"{name} must be a dense real tensor.", got=str(x.dtype))
    return x


def _require_finite(x: Tensor, name: str) -> None:
    if x.is_floating_point() and not bool(x.isfinite().all()):
        where = int((~x.isfinite()).flatten().nonzero()[0])
        raise RangeError(
            f"{name} must be finite.",
            got=f"{x.flatten()[where].item()} (entry {where} of the batch)",
            hint="drop these rows, or pass a table whose columns declare missing values",
        )


def _checked_shape(shape: Sequence[int]) -> tuple[int, ...]:
    if isinstance(shape, str) or not isinstance(shape, Sequence):
        raise BadInput("A shape is a sequence of whole numbers.", got=shape)
    sides = tuple(_whole("a side of the shape", side, 1, LARGEST) for side in shape)
    if math.prod(sides) > LARGEST:
        raise BadInput(f"A datum may have at most {LARGEST} entries.", got=sides)
    return sides


def _whole(what: str, value: object, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise BadInput(f"{what} must be a whole number from {low} to {high}.", got=value)
    return value
