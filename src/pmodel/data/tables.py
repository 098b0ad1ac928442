"""Tables from CSV and Parquet files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..domain import Column, Table
from ..errors import DataError, unknown
from .columns import KINDS, Kind, Numbers, Raw, inferred, repeats
from .csv_file import read_csv
from .dataset import Dataset, Split, assemble, stored
from .parquet_file import read_parquet
from .sequences import of_rows

__all__ = ["load_table"]


def load_table(
    path: Path,
    *,
    seed: int = 0,
    label: str | None = None,
    columns: Mapping[str, Kind] | None = None,
    encoding: str | None = None,
    sequence: str | None = None,
) -> Dataset:
    """A table, each column with its kind (see ``pmodel.data.columns``).

    Args:
        path: A ``.csv`` or ``.tsv`` file with a header, or ``.parquet``.
        seed: Of the split.
        label: The column that is the label, and no part of a datum.
        columns: The kind of columns that should not be inferred: real, stepped, category, or drop to leave one out.
        encoding: Of a text file that is neither UTF-8 nor marked UTF-16, such as ``cp949``.
        sequence: The column that says which sequence a row belongs to: the data are then sequences of rows.

    Raises:
        DataError: if the file cannot be read as a table; the message names the line or the column.
        UnknownName: if there is no column of a name.
        BadInput: if a column cannot be what ``columns`` says.
    """
    raws = read_parquet(path) if path.suffix.lower() in (".parquet", ".pq") else read_csv(path, encoding)
    kinds = _checked_kinds(columns or {}, raws, path)
    if sequence is not None:
        return of_rows(raws, sequence, label, kinds, name=path.name, seed=seed)
    y, label_names = _labels(raws, label, path)
    kept = [raw for raw in raws if raw.name != label and kinds.get(raw.name) != "drop"]
    if not kept:
        raise DataError(f"{path} has no columns left to model.", got=", ".join(raw.name for raw in raws))
    described, values = zip(*(inferred(raw, kinds.get(raw.name)) for raw in kept), strict=True)
    domain = Table(described)
    x = stored(torch.from_numpy(np.stack(values, axis=1)), domain)
    notes = [_note(column, numbers) for column, numbers in zip(described, values, strict=True)]
    whole = Split(x, y)
    return assemble(path.name, domain, whole, seed=seed, label_names=label_names, note="; ".join(filter(None, notes)))


def _checked_kinds(kinds: Mapping[str, Kind], raws: Sequence[Raw], path: Path) -> Mapping[str, Kind]:
    for name, kind in kinds.items():
        if name not in [raw.name for raw in raws]:
            raise unknown(f"column in {path.name}", name, [raw.name for raw in raws])
        if kind not in KINDS:
            raise unknown("kind of column", str(kind), KINDS)
    return kinds


def _labels(raws: Sequence[Raw], label: str | None, path: Path) -> tuple[Tensor | None, tuple[str, ...]]:
    if label is None:
        return None, ()
    raw = next((raw for raw in raws if raw.name == label), None)
    if raw is None:
        raise unknown(f"column in {path.name}", label, [raw.name for raw in raws])
    column, codes = inferred(raw, "category")
    if column.missing:
        row = int(np.isnan(codes).argmax())
        raise DataError(f"{raw.title} is the label, but a row has none.", got=raw.place(row), hint="drop this row")
    return torch.from_numpy(codes).long(), column.categories


def _note(column: Column, values: Numbers) -> str:
    """What a reader should know about a column."""
    present = values[~np.isnan(values)]
    distinct, counts = np.unique(present, return_counts=True)
    if len(distinct) == 1:
        return f"column {column.name!r} is constant"
    if column.kind == "real" and repeats(len(distinct), len(present)):
        often = distinct[counts.argmax()]
        return f"column {column.name!r} repeats values ({often:g} the most), where its density has no upper bound"
    return ""
