"""Arrays, from memory, ``.npy``, ``.npz`` and IDX files. ``pmodel.data.understood`` says what they mean."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ..domain import Discrete, Domain
from ..errors import DataError, ShapeError
from .dataset import LIMIT, Dataset, Split, assemble, hold_out
from .idx import is_packed, layout, read_images_and_labels, read_labels
from .row_file import RowFile
from .sequences import from_padded, with_lengths
from .streamed import map_data
from .understood import codes_of, dim, numeric, require_numbers, understood

__all__ = ["from_arrays", "load_idx", "load_npy", "load_npz"]

PARTS = ("x_train", "y_train", "x_test", "y_test")
VALID = 0.1
"""The share of a given training set that is held out for validation."""

MAPPED = 2**30
"""A file of more bytes than this is mapped, where nothing else is said."""


def from_arrays(
    x: ArrayLike | Tensor,
    y: ArrayLike | Tensor | None = None,
    *,
    name: str = "arrays",
    seed: int = 0,
    levels: int | None = None,
) -> Dataset:
    """A data set from arrays in memory.

    Args:
        x: The data, ``(N, ...)``. ``pmodel.data.understood`` says what they mean.
        y: Labels, ``(N,)``: whole numbers from 0, or None.
        name: What reports call it.
        seed: Of the split.
        levels: How many levels the values have, where that is more than the largest of them shows.

    Raises:
        BadInput: if an array is empty, ragged, not numeric, not finite, or not of one length with its labels.
    """
    domain, data = understood(numeric(x, "x"), levels)
    labels, label_names = codes_of(None if y is None else numeric(y, "y"), len(data))
    return assemble(name, domain, Split(data, labels), seed=seed, label_names=label_names, note=_note(domain, data))


def load_npy(
    path: Path,
    *,
    seed: int = 0,
    levels: int | None = None,
    label: str | None = None,
    mapped: bool | None = None,
    sequences: bool = False,
) -> Dataset:
    """The data in a ``.npy`` file.

    Args:
        path: The file.
        seed: Of the split.
        levels: How many levels the values have, where that is more than the largest of them shows.
        label: A ``.npy`` file of their labels.
        mapped: Whether they stay in the file; None lets its size decide.
        sequences: Whether a row is a sequence, with the end after its last element.

    Raises:
        DataError: if the file is damaged, larger than it should be, or holds Python objects.
        BadInput: as ``from_arrays``.
    """
    y = None if label is None else _npy_in(Path(label))
    rows = _rows_of_npy(path) if _is_mapped(path, mapped) else None
    if rows is None and mapped:
        hint = "save it in C order: numpy.save(path, numpy.ascontiguousarray(x))"
        raise DataError(f"{path} cannot be mapped: its data are not one after another.", got="Fortran order", hint=hint)
    if rows is None:
        load = from_padded if sequences else from_arrays
        return load(_npy_in(path), y, name=path.name, seed=seed, levels=levels)
    return map_data(rows, y, seed=seed, levels=levels, sequences=sequences)


def _is_mapped(path: Path, mapped: bool | None) -> bool:
    return path.stat().st_size > MAPPED if mapped is None else mapped


def _npy_in(path: Path) -> NDArray[Any]:
    with path.open("rb") as file:
        return _read_npy(file, path.stat().st_size, str(path))


def _rows_of_npy(path: Path) -> RowFile | None:
    """The rows of the file; None if they do not lie one after another."""
    with path.open("rb") as file:
        shape, fortran, dtype = _npy_header(file, str(path))
        return None if fortran and len(shape) > 1 else _rows(path, file.tell(), dtype, shape)


def _rows(path: Path, offset: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> RowFile:
    require_numbers(dtype, shape, "x")
    return RowFile(path, offset, dtype, shape)


def load_npz(path: Path, *, seed: int = 0, levels: int | None = None) -> Dataset:
    """The data in a ``.npz`` file: ``x`` and perhaps ``y``, or ``x_train`` and ``x_test`` and perhaps labels of both.

    With ``lengths`` beside ``x`` they are sequences: see ``pmodel.data.sequences``.

    Raises:
        DataError: if the file is damaged, unpacks to too much, lacks these arrays, or holds Python objects.
        BadInput: as ``from_arrays``.
    """
    arrays = _read_npz(path)
    if "x" in arrays and "lengths" in arrays:
        return with_lengths(arrays["x"], arrays["lengths"], arrays.get("y"), name=path.name, seed=seed, levels=levels)
    if "x" in arrays:
        return from_arrays(arrays["x"], arrays.get("y"), name=path.name, seed=seed, levels=levels)
    x_train, y_train, x_test, y_test = (arrays.get(name) for name in PARTS)
    if x_train is None or x_test is None:
        raise DataError(f"{path} should hold an array x, or x_train and x_test.", got=f"only {', '.join(arrays)}")
    if x_train.shape[1:] != x_test.shape[1:]:
        raise ShapeError(f"{path}: x_train and x_test differ in shape.", got=[x_train.shape, x_test.shape])
    n = len(x_train)
    domain, data = understood(np.concatenate([x_train, x_test]), levels)
    y = None if y_train is None or y_test is None else np.concatenate([y_train, y_test])
    labels, label_names = codes_of(y, len(data))
    whole = Split(data, labels)
    train, test = whole.take(torch.arange(n)), whole.take(torch.arange(n, len(data)))
    parts = (*hold_out(train, round(VALID * n), seed), test)
    return assemble(path.name, domain, parts, label_names=label_names, note=_note(domain, data))


def load_idx(path: Path, *, seed: int = 0, levels: int | None = None, mapped: bool | None = None) -> Dataset:
    """The data in an IDX file, with the labels beside it if it has any.

    Args:
        path: The file.
        seed: Of the split.
        levels: How many levels the values have, where that is more than the largest of them shows.
        mapped: Whether they stay in the file; None lets its size decide.

    Raises:
        DataError: if a file is damaged or not IDX, or is to be mapped and packed.
        BadInput: as ``from_arrays``.
    """
    if not _is_mapped(path, mapped) or (mapped is None and is_packed(path)):
        x, y = read_images_and_labels(path)
        return from_arrays(x, y, name=path.name, seed=seed, levels=levels)
    return map_data(_rows(path, *layout(path)), read_labels(path), seed=seed, levels=levels)


def _note(domain: Domain, x: Tensor) -> str:
    return dim(int(x.max())) if isinstance(domain, Discrete) and domain.levels == 256 else ""


def _read_npz(path: Path) -> Mapping[str, NDArray[Any]]:
    """Those arrays of the file whose names mean something."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
            total = sum(member.file_size for member in members.values())
            if total > LIMIT:
                raise DataError(f"{path} unpacks to more than {LIMIT} bytes.", got=total)
            wanted = [name for name in ("x", "y", "lengths", *PARTS) if name in members]
            if not wanted:
                got = ", ".join(members) or "an empty file"
                raise DataError(f"{path} should hold an array x, or x_train and x_test.", got=got)
            return {name: _read_member(archive, members[name], f"{path}, array {name},") for name in wanted}
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{path} is damaged or not .npz.", got=f"{type(error).__name__}: {error}") from error


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, what: str) -> NDArray[Any]:
    with archive.open(member) as file:
        return _read_npy(file, member.file_size, what)


def _read_npy(file: IO[bytes], size: int, what: str) -> NDArray[Any]:
    """One array, after its header has been held against the size of the file. Nothing is unpickled."""
    shape, fortran, dtype = _npy_header(file, what)
    wanted = math.prod(shape) * dtype.itemsize
    if LIMIT < wanted <= size:
        hint = "a .npy file in C order can be mapped: mapped=true"
        raise DataError(f"{what} holds more than {LIMIT} bytes, too much for memory.", got=wanted, hint=hint)
    content = file.read(wanted) if 0 <= wanted <= size else b""
    if len(content) != wanted:
        raise DataError(f"{what} ends too early.", got=f"{size} bytes for {shape} of {dtype}", hint="write it anew")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")


def _npy_header(file: IO[bytes], what: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except Exception as error:  # NumPy's parser lets a hostile header raise almost anything
        raise DataError(f"{what} is damaged or not .npy.", got=f"{type(error).__name__}: {error}") from error
    if dtype.hasobject:
        raise DataError(f"{what} holds Python objects, which are not read.", got=dtype, hint="save numbers")
    return shape, fortran, dtype
