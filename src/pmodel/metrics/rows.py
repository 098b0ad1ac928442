"""Features as every distance takes them: a float64 matrix with a row for each datum, refused in words where it is not."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import BadInput, RangeError, ShapeError

__all__ = ["all_equal", "matrix", "same_columns"]


def matrix(features: Tensor, *, least: int = 0, what: str = "Features") -> Tensor:
    """The features in float64 and without gradients, on the device where they are.

    Args:
        features: ``(N, D)``, of any real type.
        least: Rows that are needed.
        what: They are, in words, for the error.

    Raises:
        ShapeError: if it is not a matrix.
        RangeError: if an entry is not finite.
        BadInput: if there are too few rows.
    """
    if features.ndim != 2:
        raise ShapeError(f"{what} must be of shape (N, D).", got=tuple(features.shape))
    if features.numel() and not all(bool(end.isfinite()) for end in torch.aminmax(features)):  # no copy of all
        wrong = int((~features.isfinite()).sum())
        raise RangeError(f"{what} must be finite.", got=f"{wrong} that are not, of {features.numel()}")
    if len(features) < least:
        raise BadInput(f"{what}: at least {least} rows are needed here.", got=len(features), hint="draw more samples")
    return features.detach().double()


def same_columns(first: int, second: int) -> None:
    """Refuses two sets of features that differ in number.

    Raises:
        ShapeError: if they do.
    """
    if first != second:
        raise ShapeError("Both sets need the same features.", got=(first, second))


def all_equal(x: Tensor, whose: str) -> list[str]:
    """A flag where all rows are the same, which no distance of features makes sense of."""
    return [f"all {len(x)} {whose} have the same features"] if bool((x == x[:1]).all()) else []
