"""What a column of a table is, read off its values: real, stepped, or categories.

* Text is a category. A column that looks like an identifier or free text is refused, not modelled.
* Whole numbers are stepped: their step is the greatest that all of them are multiples of.
* Other numbers are stepped if they lie on a decimal grid *and* repeat: a density has no upper bound at a value that
  repeats, so that they are scored as mass at their step. Numbers that do not repeat are real.
* Columns with few values become categories, and so does a constant column, with one category: it costs nothing and means
  nothing. Steps and categories are both masses of the same values, so that this choice does not change what is measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..domain import Column
from ..errors import BadInput, DataError

__all__ = ["KINDS", "Kind", "Numbers", "Raw", "inferred", "repeats"]

Numbers = NDArray[np.float64]
Kind = Literal["real", "stepped", "category", "drop"]

KINDS = ("real", "stepped", "category", "drop")

FEW = 10
"""A column of numbers with at most this many values is a category, if each comes up as many times on average."""

CATEGORIES = 1000
"""More texts than this are no categories."""

REPEATS = 0.05
"""The share of repeated values from which a decimal grid counts as rounding."""

DECIMALS = 9
"""The finest grid that is looked for has a step of 10^-9."""


@dataclass(frozen=True)
class Raw:
    """A column as read from a file: its numbers, NaN where missing, or its texts, None where missing.

    Args:
        name: The name in the header.
        values: The values.
        file: Where they come from.
        lines: The number of each row there.
        unit: What the numbers count: lines or rows.
    """

    name: str
    values: Numbers | Sequence[str | None]
    file: str
    lines: Sequence[int]
    unit: str = "row"

    def place(self, row: int) -> str:
        """Where a value came from, for a message."""
        return f"{self.file}, {self.unit} {self.lines[row]}"

    @property
    def title(self) -> str:
        """The column, for the start of a message."""
        return f"Column {self.name!r} of {self.file}"


def inferred(raw: Raw, kind: Kind | None = None) -> tuple[Column, Numbers]:
    """The description of a column and its values as float64, NaN where missing.

    Args:
        raw: The column as read.
        kind: What the user says it is, or None to infer it.

    Raises:
        DataError: if it holds nothing, infinity, or texts that are no categories.
        BadInput: if it cannot be what the user says.
    """
    numbers = raw.values if isinstance(raw.values, np.ndarray) else None
    missing = np.isnan(numbers) if numbers is not None else np.array([text is None for text in raw.values], dtype=bool)
    if missing.all():
        raise DataError(f"{raw.title} has no values.", got=f"{len(missing)} missing", hint="drop it")
    if numbers is None:
        column, values = _texts(raw, missing, kind)
    else:
        column, values = _numbers(raw, numbers, missing, kind)
    return replace(column, missing=bool(missing.any())), values


def _texts(raw: Raw, missing: NDArray[np.bool_], kind: Kind | None) -> tuple[Column, Numbers]:
    if kind not in (None, "category"):
        row, text = next((row, text) for row, text in enumerate(raw.values) if _is_text(text))
        raise BadInput(f"{raw.title} is not {kind}: it holds text.", got=f"{text!r} in {raw.place(row)}")
    texts = [text for text in raw.values if isinstance(text, str)]
    names = sorted(set(texts))
    identifier = len(texts) > 100 and len(names) > len(texts) / 2
    if kind is None and (len(names) > CATEGORIES or identifier):
        numeric = sum(not _is_text(text) for text in names)
        hint = "drop this column"
        if numeric > len(names) / 2:
            row, odd = next((row, text) for row, text in enumerate(raw.values) if _is_text(text))
            hint = f"most are numbers, but {odd!r} in {raw.place(row)} is not"
        got = f"{len(names)} different texts in {len(texts)} rows"
        raise DataError(f"{raw.title} is not a category: it looks like an identifier or free text.", got=got, hint=hint)
    code = {name: float(level) for level, name in enumerate(names)}
    values = np.array([code.get(text, math.nan) if text is not None else math.nan for text in raw.values])
    return Column(raw.name, "category", categories=tuple(names)), values


def _is_text(value: object) -> bool:
    """Whether it is text that is no number."""
    try:
        float(str(value))
    except ValueError:
        return isinstance(value, str)
    return False


def _numbers(raw: Raw, numbers: Numbers, missing: NDArray[np.bool_], kind: Kind | None) -> tuple[Column, Numbers]:
    present = numbers[~missing]
    if np.isinf(present).any():
        row = int(np.isinf(numbers).argmax())
        raise DataError(f"{raw.title} must be finite.", got=f"{numbers[row]} in {raw.place(row)}", hint="drop this row")
    distinct = np.unique(present)
    step = _step(distinct, len(present), rounded=kind == "stepped")
    if kind is None:
        few = len(distinct) == 1 or FEW * len(distinct) <= min(len(present), FEW**2)
        kind = "category" if few else "stepped" if step > 0 else "real"
    if kind == "category":
        return _coded(raw, numbers, distinct, missing)
    if kind == "stepped":
        if step == 0:
            raise BadInput(f"{raw.title} is not stepped: its values lie on no decimal grid.", got=float(present[0]))
        return Column(raw.name, "stepped", step=step), np.round(numbers / step) * step
    return Column(raw.name, "real"), numbers.astype(np.float64)


def _coded(raw: Raw, numbers: Numbers, distinct: Numbers, missing: NDArray[np.bool_]) -> tuple[Column, Numbers]:
    """The numbers as categories in their order, named as they are written."""
    if len(distinct) > CATEGORIES:
        raise BadInput(f"{raw.title} has more than {CATEGORIES} different values.", got=len(distinct))
    names = tuple(np.format_float_positional(value, trim="-") for value in distinct)
    codes = np.searchsorted(distinct, numbers).astype(np.float64)
    return Column(raw.name, "category", categories=names), np.where(missing, math.nan, codes)


def _step(distinct: Numbers, count: int, *, rounded: bool) -> float:
    """The coarsest grid through zero that holds all values, if they are whole or repeat; else 0."""
    repeat = rounded or repeats(len(distinct), count)
    for decimals in range(DECIMALS + 1 if repeat else 1):
        scaled = distinct * 10.0**decimals
        whole = np.round(scaled)
        if np.abs(whole).max() < 2**53 and np.allclose(scaled, whole, rtol=1e-12, atol=0):
            divisor = int(np.gcd.reduce(whole.astype(np.int64)))
            return float(max(divisor, 1) / 10**decimals)
    return 0.0


def repeats(distinct: int, count: int) -> bool:
    """Whether enough of the values come up more than once."""
    return distinct <= (1 - REPEATS) * count
