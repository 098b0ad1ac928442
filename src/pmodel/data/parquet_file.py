"""Parquet: typed columns, read with pyarrow."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from .columns import Raw
from .dataset import LIMIT

__all__ = ["read_parquet"]


def read_parquet(path: Path) -> list[Raw]:
    """The columns of a file: numbers, texts and truth values.

    Raises:
        DataError: if pyarrow is missing, or the file is damaged, empty, too large, or has columns of another type.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise DataError(f"{path} needs pyarrow, which is not here.", hint='pip install "pmodel[parquet]"') from error
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            count = file.metadata.num_rows * file.metadata.num_columns
            if 8 * count > LIMIT:
                raise DataError(f"{path} holds more than {LIMIT // 8} values.", got=count)
            table = file.read()
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read as Parquet.", got=f"{type(error).__name__}: {error}") from error
    if not table.num_rows:
        raise DataError(f"{path} holds no rows.", got=f"{table.num_columns} columns")
    if len(set(table.column_names)) < len(table.column_names):
        raise DataError(f"Two columns of {path} have the same name.", got=", ".join(table.column_names))
    return [
        _from_arrow(pyarrow, name, column, path) for name, column in zip(table.column_names, table.columns, strict=True)
    ]


def _from_arrow(pyarrow: Any, name: str, column: Any, path: Path) -> Raw:
    types = pyarrow.types
    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    file, lines = str(path), range(1, len(column) + 1)
    values = column.to_pylist()
    if types.is_string(kind) or types.is_large_string(kind) or types.is_boolean(kind):
        return Raw(name, [None if value is None else str(value) for value in values], file, lines)
    if types.is_float32(kind) or types.is_float16(kind):  # as written: 0.1 in single precision is 0.1
        values = [None if value is None else float(str(np.float32(value))) for value in values]
    elif not (types.is_integer(kind) or types.is_float64(kind) or types.is_decimal(kind)):
        raise DataError(f"Column {name!r} of {path} is neither number nor text.", got=str(column.type), hint="drop it")
    return Raw(name, np.array([math.nan if value is None else float(value) for value in values]), file, lines)
