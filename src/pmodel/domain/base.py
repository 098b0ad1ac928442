"""The set that a datum belongs to, and how a batch is checked."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..errors import BadInput, DtypeError, RangeError, ShapeError, require_whole

__all__ = ["Domain", "as_tensor", "checked_shape", "require_finite"]

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
    def label(self) -> bool:
        """Whether a datum is a class label: a whole number by itself."""
        return False

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
        tensor = as_tensor(x, name)
        if tensor.ndim != 1 + len(self.shape) or tuple(tensor.shape[1:]) != self.shape:
            wanted = "(N" + "".join(f", {side}" for side in self.shape) + ("," if not self.shape else "") + ")"
            raise ShapeError(
                f"{name} does not have the shape of this data.",
                got=tuple(tensor.shape),
                hint=f"pass a batch of shape {wanted}",
            )
        return self._check_values(tensor, name)

    @property
    @abstractmethod
    def storage(self) -> torch.dtype:
        """The type that data are kept in: as small as holds every value exactly, or to single precision."""

    def unpacked(self, x: Tensor) -> Tensor:
        """Stored data in the type that models take. The default keeps theirs."""
        return x

    @property
    def missing(self) -> bool:
        """Whether values may be missing: NaN stands for them."""
        return False

    def observed(self, x: Tensor, asked: Tensor | None = None) -> Tensor | None:
        """The mask of what is known of a batch, of the shape of ``x``; None where everything is.

        Args:
            x: Data of the domain.
            asked: What is to be taken for known at most; by default everything that is not missing.
        """
        if not self.missing:
            return asked
        return ~x.isnan() if asked is None else asked & ~x.isnan()

    def sound(self, x: Tensor) -> Tensor:
        """Where a batch holds finite numbers, or what stands for none: the mask of what no model broke."""
        return x.isfinite() | x.isnan() if self.missing else x.isfinite()

    def sizes(self, x: Tensor) -> Tensor:
        """The number of scalar entries of each datum, ``(N,)``: what bits per dimension divide by."""
        return torch.full((len(x),), self.entries, dtype=torch.int64, device=x.device)

    def to_json(self) -> dict[str, Any]:
        """The domain as JSON; ``domain_from_json`` reads it back."""
        return {"kind": type(self).__name__.lower(), **asdict(self)}  # type: ignore[call-overload]


def as_tensor(x: object, name: str) -> Tensor:
    """Any array as a tensor of its own type; arrays are copied."""
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


def require_finite(x: Tensor, name: str) -> None:
    """Refuse NaN and infinity."""
    if x.is_floating_point() and not bool(x.isfinite().all()):
        where = int((~x.isfinite()).flatten().nonzero()[0])
        raise RangeError(
            f"{name} must be finite.",
            got=f"{x.flatten()[where].item()} (entry {where} of the batch)",
            hint="drop these rows, or pass a table whose columns declare missing values",
        )


def checked_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape of whole numbers that is not absurdly large."""
    if isinstance(shape, str) or not isinstance(shape, Sequence):
        raise BadInput("A shape is a sequence of whole numbers.", got=shape)
    sides = tuple(require_whole("a side of the shape", side, 1, LARGEST) for side in shape)
    if math.prod(sides) > LARGEST:
        raise BadInput(f"A datum may have at most {LARGEST} entries.", got=sides)
    return sides
