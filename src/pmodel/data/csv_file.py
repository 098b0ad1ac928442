"""CSV: text with a header line, read strictly, with the line number in every complaint."""

from __future__ import annotations

import csv
import io
import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import BadInput, DataError
from .columns import Raw
from .dataset import LIMIT

__all__ = ["MISSING", "decoded", "read_csv"]

MISSING = frozenset({"", "na", "n/a", "nan", "null"})
"""What a missing value is written as, in small letters."""

BOMS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}

DELIMITERS = ",;\t|"


def read_csv(path: Path, encoding: str | None) -> list[Raw]:
    """The columns of a file. A column is of numbers if all that is not missing is a number; after ``;`` also ``1,5``.

    Raises:
        DataError: if the file is not text of this encoding, has no header, or lines of different lengths.
        BadInput: if there is no such encoding.
    """
    text = decoded(path, encoding)
    delimiter = max(DELIMITERS, key=text.lstrip("\r\n").partition("\n")[0].count)
    header, lines, fields = _fields(path, text, delimiter)
    columns = zip(header, zip(*fields, strict=True), strict=True)
    return [_column(name, texts, str(path), lines, delimiter == ";") for name, texts in columns]


def _fields(path: Path, text: str, delimiter: str) -> tuple[list[str], list[int], list[list[str]]]:
    """The header, and for each row its line number and fields."""
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        numbered = [(rows.line_num, row) for row in rows if row]
    except csv.Error as error:
        got = f"line {rows.line_num}: {error}"
        raise DataError(f"{path} is not a table of comma-separated values.", got=got) from error
    if len(numbered) < 2:
        hint = "a header line and rows are expected"
        raise DataError(f"{path} holds no rows.", got=f"{len(numbered)} lines", hint=hint)
    header = _header(path, numbered.pop(0)[1])
    for line, row in numbered:
        if len(row) != len(header):
            got = f"{len(row)} fields in line {line}"
            raise DataError(f"Every line of {path} should have {len(header)} fields.", got=got)
    lines, fields = map(list, zip(*numbered, strict=True))
    return header, lines, fields


def decoded(path: Path, encoding: str | None) -> str:
    """The text of a file.

    Raises:
        DataError: if it is not text of this encoding, or larger than memory should hold.
        BadInput: if there is no such encoding.
    """
    if path.stat().st_size > LIMIT:
        raise DataError(f"{path} is larger than {LIMIT} bytes.", got=path.stat().st_size, hint="convert it to .npy")
    content = path.read_bytes()
    chosen = encoding or next((name for bom, name in BOMS.items() if content.startswith(bom)), "utf-8")
    try:
        text = content.decode(chosen)
    except LookupError as error:
        raise BadInput("There is no such encoding.", got=chosen, hint="for example utf-8, cp949 or latin-1") from error
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        got = f"byte {content[error.start]:#x} in line {line}"
        raise DataError(
            f"{path} is not {chosen} text.", got=got, hint="pass encoding=, such as cp949 or latin-1"
        ) from error
    before, zero, _ = text.partition("\0")
    if zero:
        raise DataError(f"{path} is not text: it holds a zero byte.", got=f"line {before.count(chr(10)) + 1}")
    return text


def _header(path: Path, row: Sequence[str]) -> list[str]:
    names = [name.strip() or f"column {index + 1}" for index, name in enumerate(row)]
    if all(_parsed(name, comma=False) is not None for name in names):
        raise DataError(
            f"The first line of {path} should name the columns.", got=", ".join(names), hint="add a header line"
        )
    twice = next((name for name, group in itertools.groupby(sorted(names)) if len(list(group)) > 1), None)
    if twice is not None:
        raise DataError(f"Two columns of {path} have the same name.", got=twice, hint="rename one")
    return names


def _column(name: str, fields: Sequence[str], file: str, lines: Sequence[int], comma: bool) -> Raw:
    texts = [field.strip() for field in fields]
    parsed = [_parsed(text, comma) for text in texts]
    if None not in parsed:
        return Raw(name, np.array(parsed, dtype=np.float64), file, lines, "line")
    return Raw(name, [None if text.lower() in MISSING else text for text in texts], file, lines, "line")


def _parsed(text: str, comma: bool) -> float | None:
    try:
        number = float(text.replace(",", ".") if comma else text)
    except ValueError:
        return math.nan if text.lower() in MISSING else None
    return None if "_" in text else number  # Python reads 1_000, and no table means it
