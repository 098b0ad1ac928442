"""What arrays mean: the domain of their data, their labels, and how they are kept.

=======================================  ============================================================
array                                    datum
=======================================  ============================================================
truth values                             ``Discrete`` with 2 levels; of rank 3 or 4 a picture
uint8 of rank 3 or 4                     a picture, ``Discrete`` with 256 levels, channels first or last
whole numbers from 0 to less than 256    ``Discrete`` with as many levels as there are
floats                                   ``Real``
=======================================  ============================================================
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ..domain import Discrete, Domain, Real
from ..errors import BadInput, DtypeError, RangeError, ShapeError
from .dataset import stored

__all__ = [
    "DIM",
    "arranged",
    "codes_of",
    "counted",
    "dim",
    "numeric",
    "require_finite",
    "require_numbers",
    "tensor_of",
    "understood",
]

CLASSES = 1000
"""More labels than this are no classes."""

DIM = 16
"""Pictures of 256 levels that use none from here on have fewer, as likely as not."""


def numeric(values: ArrayLike | Tensor, name: str) -> NDArray[Any]:
    """The array.

    Raises:
        BadInput: if it is empty, ragged or not numeric.
    """
    try:
        array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    except ValueError as error:
        raise ShapeError(f"{name} is not a rectangular array.", got=values) from error
    require_numbers(array.dtype, array.shape, name)
    return array


def require_numbers(dtype: np.dtype[Any], shape: tuple[int, ...], name: str) -> None:
    """Refuse an array of this type and shape, unless it holds numbers, and at least one datum.

    Raises:
        BadInput: saying which.
    """
    if dtype.kind not in "biuf":
        raise DtypeError(f"{name} must be numeric.", got=f"dtype {dtype}")
    if not shape or min(shape) <= 0:
        raise ShapeError(f"{name} must hold at least one datum.", got=f"shape {shape}")


def understood(array: NDArray[Any], levels: int | None) -> tuple[Domain, Tensor]:
    """What one datum is, and the data as they are kept.

    Raises:
        BadInput: if the values are none that a datum can have.
    """
    array = arranged(array)
    if array.dtype.kind == "f":
        require_finite(array)
        domain: Domain = Real(array.shape[1:]) if levels is None else Discrete(array.shape[1:], levels)
    else:
        domain = Discrete(array.shape[1:], _levels(array) if levels is None else levels)
    return domain, stored(torch.tensor(_native(array)), domain)


def arranged(array: NDArray[Any]) -> NDArray[Any]:
    """The array with pictures as ``(N, C, H, W)`` and numbers as ``(N, 1)``."""
    if array.dtype in (np.uint8, np.bool_) and array.ndim in (3, 4):
        return _channels_first(array)
    return array[:, None] if array.ndim == 1 else array


def tensor_of(rows: NDArray[Any]) -> Tensor:
    """Rows of an array as a tensor of data, of one memory with them where that can be."""
    return torch.from_numpy(_native(arranged(rows)))


def _native(array: NDArray[Any]) -> NDArray[Any]:
    """The array in a type that PyTorch has, and in this machine's byte order."""
    signed = array.astype(np.int64) if array.dtype.kind == "u" and array.dtype.itemsize > 1 else array
    return np.ascontiguousarray(signed, signed.dtype.newbyteorder("="))


def _channels_first(pictures: NDArray[Any]) -> NDArray[Any]:
    if pictures.ndim == 3:
        return pictures[:, None]
    first, last = pictures.shape[1] in (1, 3), pictures.shape[3] in (1, 3)
    if first == last:
        hint = "pass (N, C, H, W) or (N, H, W, C) with 1 or 3 channels"
        raise ShapeError("It is not clear which axis holds the channels.", got=pictures.shape, hint=hint)
    return pictures if first else np.moveaxis(pictures, 3, 1)


def _levels(array: NDArray[Any]) -> int:
    if array.dtype.kind == "b":
        return 2
    if array.dtype == np.uint8 and array.ndim == 4:
        return 256
    return counted(int(array.min()), int(array.max()))


def counted(low: int, high: int) -> int:
    """How many levels whole numbers from ``low`` to ``high`` have.

    Raises:
        RangeError: if that is no range of levels.
    """
    if low < 0 or high >= 256:
        hint = "pass levels= for more, or a table (.csv) for numbers that are not levels, or floats"
        raise RangeError(
            "Whole numbers are levels, and these are not from 0 to 255.", got=f"{low} to {high}", hint=hint
        )
    return high + 1


def dim(top: int) -> str:
    """The note on data of 256 levels of which ``top`` is the largest in use."""
    return (
        "" if top >= DIM else f"the largest of 256 levels in use is {top}: pass levels={top + 1} if there are no more"
    )


def require_finite(array: NDArray[Any], first: int = 0) -> None:
    """Refuse NaN and infinity.

    Args:
        array: The data, or a block of them.
        first: The number of the block's first datum.

    Raises:
        RangeError: naming the place.
    """
    bad = ~np.isfinite(array)
    if bad.any():
        place = tuple(int(index) for index in np.argwhere(bad)[0])
        hint = "drop this datum, or use a table (.csv), where values may be missing"
        raise RangeError(
            "x must be finite.", got=f"{array[place]} at index {(first + place[0], *place[1:])}", hint=hint
        )


def codes_of(y: NDArray[Any] | None, n: int) -> tuple[Tensor | None, tuple[str, ...]]:
    """The labels renumbered from 0 without gaps, and what they were.

    Raises:
        BadInput: if they are no labels of ``n`` data.
    """
    if y is None:
        return None, ()
    y = y.reshape(len(y), -1)
    if y.shape != (n, 1):
        raise ShapeError("There must be one label a datum.", got=f"{y.shape} for {n} data")
    if y.dtype.kind == "f" and not np.array_equal(y, np.round(y)):
        raise DtypeError("Labels must be whole numbers.", got=float(y[y != np.round(y)][0]))
    names, codes = np.unique(y[:, 0], return_inverse=True)
    if len(names) > CLASSES:
        raise BadInput(f"More than {CLASSES} different labels are no classes.", got=len(names))
    return torch.from_numpy(codes.astype(np.int64)), tuple(str(int(name)) for name in names)
