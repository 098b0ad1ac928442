"""Sequences from memory, ``.npz`` and tables with a column that says which sequence a row belongs to.

===================================  =======================================================
values                               elements
===================================  =======================================================
floats ``(T, D)`` or ``(T,)``        ``Real((D,))``; NaN where a value is missing
whole numbers ``(T,)``               ``Discrete((), levels)``, with as many levels as there are
whole numbers ``(T, D)``             ``Discrete((D,), levels)``, and for one column ``Discrete((), levels)``
columns of numbers                   ``Real((D,))``, empty cells missing
one column of categories             ``Discrete((), categories)``
===================================  =======================================================

A sequence is one datum: it goes into one split as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ..domain import Column, Discrete, Real, Sequences
from ..errors import BadInput, DataError, RangeError, ShapeError, unknown
from .columns import Kind, Raw, inferred
from .dataset import Dataset, Split, assemble, stored
from .understood import codes_of, numeric, tensor_of

__all__ = ["from_padded", "from_sequences", "of_rows", "padded_domain", "with_lengths"]


def from_sequences(
    x: Sequence[ArrayLike | Tensor],
    y: ArrayLike | Tensor | None = None,
    *,
    name: str = "sequences",
    seed: int = 0,
    levels: int | None = None,
) -> Dataset:
    """A data set from a list of arrays of different lengths.

    Args:
        x: Sequences, ``(T, D)`` or ``(T,)`` each, all with the same features.
        y: Their labels, ``(N,)``: whole numbers from 0, or None.
        name: What reports call it.
        seed: Of the split.
        levels: Of whole numbers: how many there are, where that is more than the largest shows.

    Raises:
        BadInput: if there are none, one is empty, they differ in their features, or values are not numbers.
    """
    arrays = [_array(sequence, f"x[{index}]") for index, sequence in enumerate(x)]
    if not arrays:
        raise DataError(f"{name} holds no sequences.", got=0)
    odd = next((index for index, array in enumerate(arrays) if array.shape[1:] != arrays[0].shape[1:]), None)
    if odd is not None:
        raise ShapeError(
            "All sequences must have the same features.",
            got=f"{arrays[odd].shape[1:]} in sequence {odd}, {arrays[0].shape[1:]} in the first",
        )
    flat = np.concatenate(arrays)
    element = _element(flat, levels)
    missing = bool(np.isnan(flat).any()) if isinstance(element, Real) else False
    domain = Sequences(element, max(map(len, arrays)), missing=missing)
    data = domain.check([array.reshape(len(array), *element.shape) for array in arrays])
    labels, label_names = codes_of(None if y is None else numeric(y, "y"), len(data))
    whole = Split(stored(data, domain), labels)
    return assemble(name, domain, whole, seed=seed, label_names=label_names, note=_lengths_note(domain, data))


def _array(sequence: ArrayLike | Tensor, name: str) -> NDArray[Any]:
    array = sequence.detach().cpu().numpy() if isinstance(sequence, Tensor) else np.asarray(sequence)
    if array.ndim not in (1, 2):
        raise ShapeError(f"{name} must be a sequence of numbers or of rows.", got=array.shape)
    if len(array) == 0:
        hint = "leave it out: every sequence has at least one element"
        raise RangeError(f"{name} is a sequence of length 0.", got=array.shape, hint=hint)
    if array.dtype.kind == "f" and np.isinf(array).any():
        raise RangeError(f"{name} must be finite.", got=float(array[np.isinf(array)][0]))
    return numeric(array, name)


def _element(values: NDArray[Any], levels: int | None) -> Discrete | Real:
    """What one element of all sequences is."""
    if values.dtype.kind == "f":
        if levels is not None:
            raise BadInput("Levels are of whole numbers, and these are floats.", got=f"levels={levels}")
        return Real((values.shape[1] if values.ndim == 2 else 1,))
    low, high = int(values.min()), int(values.max())
    if low < 0:
        raise RangeError("Whole numbers of sequences are levels from 0.", got=low, hint="pass floats for numbers")
    shape = () if values.ndim == 1 or values.shape[1] == 1 else (values.shape[1],)
    if levels is not None and levels <= high:
        raise RangeError(f"The values need {high + 1} levels.", got=f"levels={levels}")
    return Discrete(shape, high + 1 if levels is None else levels)


def _lengths_note(domain: Sequences, x: Tensor) -> str:
    lengths = domain.lengths(x)
    low, high = int(lengths.min()), int(lengths.max())
    return f"sequences of {low} to {high} elements" if low < high else f"sequences of {high} elements"


def with_lengths(
    x: NDArray[Any], lengths: NDArray[Any], y: NDArray[Any] | None, *, name: str, seed: int, levels: int | None
) -> Dataset:
    """Sequences from an array and their lengths.

    Args:
        x: All elements one after another, ``(sum of lengths, ...)``, or sequences filled up to one length,
            ``(N, longest, ...)``. Where every length is 1, ``(N, D)`` is N elements of D entries, not N filled up.
        lengths: ``(N,)`` whole numbers from 1.
        y: Labels, ``(N,)``, or None.
        name: What reports call it.
        seed: Of the split.
        levels: As in ``from_sequences``.

    Raises:
        BadInput: if lengths are no whole numbers from 1, or are not those of the array.
    """
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or lengths.size == 0:
        raise ShapeError(
            "lengths must be whole numbers, one for each sequence.", got=(lengths.shape, lengths.dtype.name)
        )
    if int(lengths.min()) < 1:
        row = int(lengths.argmin())
        raise RangeError("Every sequence has at least one element.", got=f"length {lengths[row]} of sequence {row}")
    if int(lengths.sum()) == len(x):
        parts = np.split(x, np.cumsum(lengths)[:-1])
    elif len(lengths) == len(x) and x.ndim > 1 and int(lengths.max()) <= x.shape[1]:
        parts = [row[:length] for row, length in zip(x, lengths.tolist(), strict=True)]
    else:
        hint = "their sum is the length of x, or x is (N, longest, ...) with N lengths of at most longest"
        got = f"{len(lengths)} lengths with the sum {int(lengths.sum())}, and x of shape {x.shape}"
        raise ShapeError("lengths are not those of x.", got=got, hint=hint)
    return from_sequences(parts, y, name=name, seed=seed, levels=levels)


def from_padded(x: NDArray[Any], y: NDArray[Any] | None, *, name: str, seed: int, levels: int | None) -> Dataset:
    """Sequences from an array in which the end stands after the last elements: see ``padded_domain``."""
    x = np.array(x)  # what is read from a file is read-only, and no tensor is
    domain = padded_domain(lambda: [(0, x)], x.shape, x.dtype, levels)
    labels, label_names = codes_of(y, len(x))
    data = stored(tensor_of(x), domain)
    return assemble(
        name, domain, Split(data, labels), seed=seed, label_names=label_names, note=_lengths_note(domain, data)
    )


def padded_domain(
    blocks: Callable[[], Iterable[tuple[int, NDArray[Any]]]],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    levels: int | None,
) -> Sequences:
    """The domain of sequences that are filled up to one length, once all of them have been seen to lie in it.

    Args:
        blocks: Passes over the array in blocks, each with the number of its first row: floats ``(n, longest, D)`` with
            infinity after the last element and NaN where a value is missing, or whole numbers ``(n, longest)`` or
            ``(n, longest, D)`` with ``levels`` after the last.
        shape: Of all of it.
        dtype: Of its values.
        levels: Of whole numbers, how many there are.

    Raises:
        BadInput: if it is neither, or a value lies outside the domain.
    """
    if dtype.kind == "f" and len(shape) == 3:
        missing = any(bool(np.isnan(block).any()) for _, block in blocks())
        domain = Sequences(Real((shape[2],)), shape[1], missing=missing)
    elif dtype.kind in "iu" and len(shape) in (2, 3) and levels is not None:
        domain = Sequences(Discrete(shape[2:], levels), shape[1])
    else:
        hint = "floats (N, longest, D), or whole numbers (N, longest) or (N, longest, D) and levels="
        raise ShapeError("This array holds no sequences.", got=f"{dtype} of shape {shape}, levels={levels}", hint=hint)
    for start, block in blocks():
        stored(tensor_of(block), domain, f"x[{start}:{start + len(block)}]")
    return domain


def of_rows(
    raws: Sequence[Raw], sequence: str, label: str | None, kinds: Mapping[str, Kind], *, name: str, seed: int
) -> Dataset:
    """Sequences from the columns of a table; the rows of a sequence keep their order, and need not lie together.

    Args:
        raws: The columns as read.
        sequence: The column that names the sequence of each row.
        label: The column of the label, the same in all rows of a sequence, or None.
        kinds: Of columns that should not be inferred.
        name: What reports call it.
        seed: Of the split.

    Raises:
        UnknownName: if there is no column of a name.
        DataError: if the columns are no elements of sequences, or a sequence has more than one label.
    """
    by_name = {raw.name: raw for raw in raws}
    for asked in (sequence, label):
        if asked is not None and asked not in by_name:
            raise unknown(f"column in {name}", asked, by_name)
    rows = _rows_of(by_name[sequence])
    features = [raw for raw in raws if raw.name not in (sequence, label) and kinds.get(raw.name) != "drop"]
    if not features:
        raise DataError(f"{name} has no columns left to model.", got=", ".join(by_name))
    described, values = zip(*(_feature(raw, kinds, alone=len(features) == 1) for raw in features), strict=True)
    domain, data = _elements(described, np.stack(values, 1), [raw.title for raw in features], rows)
    labels, label_names = (None, ()) if label is None else _labels(by_name[label], rows)
    whole = Split(stored(domain.check(data), domain), labels)
    note = _lengths_note(domain, whole.x)  # type: ignore[arg-type]
    return assemble(name, domain, whole, seed=seed, label_names=label_names, note=note)


def _rows_of(raw: Raw) -> list[NDArray[np.int64]]:
    """The rows of each sequence, in the order in which sequences begin."""
    missing = [row for row, value in enumerate(raw.values) if value is None or value != value]
    if missing:
        raise DataError(f"{raw.title} says which sequence a row is of, but a row has none.", got=raw.place(missing[0]))
    found: dict[object, list[int]] = {}
    for row, value in enumerate(raw.values):
        found.setdefault(value, []).append(row)
    return [np.array(rows, dtype=np.int64) for rows in found.values()]


def _feature(raw: Raw, kinds: Mapping[str, Kind], *, alone: bool) -> tuple[Column, NDArray[np.float64]]:
    """A column of the elements: numbers beside others are real."""
    numbers = isinstance(raw.values, np.ndarray)
    return inferred(raw, kinds.get(raw.name, "real" if numbers and not alone else None))


def _elements(
    columns: Sequence[Column], values: NDArray[np.float64], titles: Sequence[str], rows: Sequence[NDArray[np.int64]]
) -> tuple[Sequences, list[Tensor]]:
    """The domain of the sequences, and they themselves."""
    longest = max(map(len, rows))
    if all(column.kind in ("real", "stepped") for column in columns):
        domain = Sequences(Real((len(columns),)), longest, missing=any(column.missing for column in columns))
        return domain, [torch.from_numpy(values[row]) for row in rows]
    if len(columns) > 1:
        raise DataError(
            "The elements of a sequence are all real numbers, or one category.",
            got=", ".join(f"{column.name}: {column.kind}" for column in columns),
            hint="drop columns, such as data.columns.NAME=drop, or make one column of them",
        )
    if columns[0].missing:
        row = int(np.isnan(values[:, 0]).argmax())
        raise DataError(f"{titles[0]} is a category, and a row of a sequence has none.", got=f"row {row + 1}")
    domain = Sequences(Discrete((), len(columns[0].categories)), longest)
    return domain, [torch.from_numpy(values[row, 0]).long() for row in rows]


def _labels(raw: Raw, rows: Sequence[NDArray[np.int64]]) -> tuple[Tensor, tuple[str, ...]]:
    """The label of each sequence."""
    column, codes = inferred(raw, "category")
    for row in rows:
        if np.isnan(codes[row]).any() or len(np.unique(codes[row])) > 1:
            raise DataError(f"{raw.title} is the label, and a sequence has not one.", got=raw.place(int(row[0])))
    return torch.from_numpy(np.array([codes[row[0]] for row in rows])).long(), column.categories
