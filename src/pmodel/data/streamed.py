"""A data set whose training data stay in their file: checked in one pass, and split without being read."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..domain import Discrete, Domain, Real
from .dataset import SMALL, Dataset, Split, assemble, kept, set_apart, stored
from .mapped import AllBut, Mapped
from .row_file import RowFile
from .sequences import padded_domain
from .understood import DIM, arranged, codes_of, counted, dim, numeric, require_finite, tensor_of

__all__ = ["map_data"]

HELD_OUT, BYTES = 10_000, 2**27
"""Validation and test data are at most so many data and so many bytes each: they are read into memory."""


def map_data(
    file: RowFile, y: NDArray[Any] | None, *, seed: int, levels: int | None, sequences: bool = False
) -> Dataset:
    """The rows of a file as a data set; those for training stay there.

    All values but those of byte pictures, where each byte is a level, are read once to be checked. Where
    10 % of the data are no more than may be held out, the split is that of data in memory, and so is the hash.

    Args:
        file: At least one row of numbers.
        y: Their labels, or None.
        seed: Of the split.
        levels: How many levels the values have, where that is more than the largest of them shows.
        sequences: Whether a row is a sequence, with the end after its last element.

    Raises:
        DataError: if the file is changed meanwhile.
        BadInput: as ``from_arrays``.
    """
    n = len(file)
    domain = _of_sequences(file, levels) if sequences else _checked(file, levels)
    labels, label_names = codes_of(None if y is None else numeric(y, "y"), n)

    def kept_rows(rows: NDArray[Any]) -> Tensor:
        return kept(tensor_of(rows), domain)

    def part(rows: Tensor | AllBut) -> Split:
        x = Mapped(file, rows, kept_rows)
        y = None if labels is None else labels[rows if isinstance(rows, Tensor) else rows[torch.arange(len(rows))]]
        return Split(x[:] if isinstance(rows, Tensor) else x, y)

    note = dim(_top(file)) if isinstance(domain, Discrete) and domain.levels == 256 else ""
    if n <= SMALL:
        return assemble(file.path.name, domain, part(torch.arange(n)), label_names=label_names, note=note)
    valid, test = set_apart(n, seed, max(1, min(HELD_OUT, BYTES // file.width)))
    train = AllBut(n, torch.cat([valid, test]))
    return assemble(file.path.name, domain, (part(train), part(valid), part(test)), label_names=label_names, note=note)


def _of_sequences(file: RowFile, levels: int | None) -> Domain:
    return padded_domain(file.blocks, file.shape, file.dtype, levels)


def _checked(file: RowFile, levels: int | None) -> Domain:
    """The domain of the rows, once all of them have been seen to lie in it."""
    one = arranged(file.take(np.arange(1)))
    shape, kind = one.shape[1:], one.dtype.kind
    if levels is not None:
        return _within(file, Discrete(shape, levels))
    if kind == "f":
        return _within(file, Real(shape))
    if kind == "b":
        return Discrete(shape, 2)
    if one.dtype == np.uint8 and one.ndim == 4:
        return Discrete(shape, 256)
    ends = [(int(block.min()), int(block.max())) for _, block in file.blocks()]
    return Discrete(shape, counted(min(low for low, _ in ends), max(high for _, high in ends)))


def _within(file: RowFile, domain: Domain) -> Domain:
    for start, block in file.blocks():
        if block.dtype.kind == "f":
            require_finite(block, start)
        stored(tensor_of(block), domain, f"x[{start}:{start + len(block)}]")
    return domain


def _top(file: RowFile) -> int:
    """The largest value, or the first block's that is not dim."""
    top = 0
    for _, block in file.blocks():
        top = max(top, int(block.max()))
        if top >= DIM:
            break
    return top
