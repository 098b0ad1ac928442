"""Arrays, from memory, ``.npy``, ``.npz`` and IDX files.

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

from ..domain import Discrete, Domain, Real
from ..errors import BadInput, DataError, DtypeError, RangeError, ShapeError
from .dataset import LIMIT, Dataset, Split, assemble, hold_out, stored
from .idx import read_images_and_labels

__all__ = ["from_arrays", "load_idx", "load_npy", "load_npz"]

PARTS = ("x_train", "y_train", "x_test", "y_test")
VALID = 0.1
"""The share of a given training set that is held out for validation."""

CLASSES = 1000
"""More labels than this are no classes."""


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
        x: The data, ``(N, ...)``. The table above says how they are understood.
        y: Labels, ``(N,)``: whole numbers from 0, or None.
        name: What reports call it.
        seed: Of the split.
        levels: How many levels the values have, where that is more than the largest of them shows.

    Raises:
        BadInput: if an array is empty, ragged, not numeric, not finite, or not of one length with its labels.
    """
    array = _numeric(x, "x")
    domain, data = _understood(array, levels)
    labels, label_names = _labels(None if y is None else _numeric(y, "y"), len(data))
    return assemble(name, domain, Split(data, labels), seed=seed, label_names=label_names, note=_note(domain, data))


def load_npy(path: Path, *, seed: int = 0, levels: int | None = None) -> Dataset:
    """The data in a ``.npy`` file.

    Raises:
        DataError: if the file is damaged, larger than it should be, or holds Python objects.
        BadInput: as ``from_arrays``.
    """
    with path.open("rb") as file:
        array = _read_npy(file, path.stat().st_size, str(path))
    return from_arrays(array, name=path.name, seed=seed, levels=levels)


def load_npz(path: Path, *, seed: int = 0, levels: int | None = None) -> Dataset:
    """The data in a ``.npz`` file: ``x`` and perhaps ``y``, or ``x_train`` and ``x_test`` and perhaps labels of both.

    Raises:
        DataError: if the file is damaged, unpacks to too much, lacks these arrays, or holds Python objects.
        BadInput: as ``from_arrays``.
    """
    arrays = _read_npz(path)
    if "x" in arrays:
        return from_arrays(arrays["x"], arrays.get("y"), name=path.name, seed=seed, levels=levels)
    x_train, y_train, x_test, y_test = (arrays.get(name) for name in PARTS)
    if x_train is None or x_test is None:
        raise DataError(f"{path} should hold an array x, or x_train and x_test.", got=f"only {', '.join(arrays)}")
    if x_train.shape[1:] != x_test.shape[1:]:
        raise ShapeError(f"{path}: x_train and x_test differ in shape.", got=[x_train.shape, x_test.shape])
    n = len(x_train)
    domain, data = _understood(np.concatenate([x_train, x_test]), levels)
    y = None if y_train is None or y_test is None else np.concatenate([y_train, y_test])
    labels, label_names = _labels(y, len(data))
    whole = Split(data, labels)
    train, test = whole.take(torch.arange(n)), whole.take(torch.arange(n, len(data)))
    parts = (*hold_out(train, round(VALID * n), seed), test)
    return assemble(path.name, domain, parts, label_names=label_names, note=_note(domain, data))


def load_idx(path: Path, *, seed: int = 0, levels: int | None = None) -> Dataset:
    """The data in an IDX file, with the labels beside it if it has any.

    Raises:
        DataError: if a file is damaged or not IDX.
        BadInput: as ``from_arrays``.
    """
    x, y = read_images_and_labels(path)
    return from_arrays(x, y, name=path.name, seed=seed, levels=levels)


def _numeric(values: ArrayLike | Tensor, name: str) -> NDArray[Any]:
    try:
        array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    except ValueError as error:
        raise ShapeError(f"{name} is not a rectangular array.", got=values) from error
    if array.dtype.kind not in "biuf":
        raise DtypeError(f"{name} must be numeric.", got=f"dtype {array.dtype}")
    if array.ndim == 0 or not array.size:
        raise ShapeError(f"{name} must hold at least one datum.", got=f"shape {array.shape}")
    return array


def _understood(array: NDArray[Any], levels: int | None) -> tuple[Domain, Tensor]:
    """What one datum is, and the data as they are kept."""
    if array.dtype in (np.uint8, np.bool_) and array.ndim in (3, 4):
        array = _channels_first(array)
    if array.ndim == 1:
        array = array[:, None]
    if array.dtype.kind == "f":
        _require_finite(array)
        domain: Domain = Real(array.shape[1:]) if levels is None else Discrete(array.shape[1:], levels)
    else:
        domain = Discrete(array.shape[1:], _levels(array) if levels is None else levels)
    native = array.astype(np.int64) if array.dtype.kind == "u" and array.dtype.itemsize > 1 else array
    native = np.ascontiguousarray(native, native.dtype.newbyteorder("="))
    return domain, stored(torch.tensor(native), domain)


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
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= 256:
        hint = "pass levels= for more, or a table (.csv) for numbers that are not levels, or floats"
        raise RangeError(
            "Whole numbers are levels, and these are not from 0 to 255.", got=f"{low} to {high}", hint=hint
        )
    return high + 1


def _note(domain: Domain, x: Tensor) -> str:
    top = int(x.max()) if isinstance(domain, Discrete) and domain.levels == 256 else 255
    return "" if top >= 16 else f"the largest of 256 levels in use is {top}: pass levels={top + 1} if there are no more"


def _require_finite(array: NDArray[Any]) -> None:
    bad = ~np.isfinite(array)
    if bad.any():
        place = tuple(int(index) for index in np.argwhere(bad)[0])
        hint = "drop this datum, or use a table (.csv), where values may be missing"
        raise RangeError("x must be finite.", got=f"{array[place]} at index {place}", hint=hint)


def _labels(y: NDArray[Any] | None, n: int) -> tuple[Tensor | None, tuple[str, ...]]:
    """The labels renumbered from 0 without gaps, and what they were."""
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


def _read_npz(path: Path) -> Mapping[str, NDArray[Any]]:
    """Those arrays of the file whose names mean something."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
            total = sum(member.file_size for member in members.values())
            if total > LIMIT:
                raise DataError(f"{path} unpacks to more than {LIMIT} bytes.", got=total)
            wanted = [name for name in ("x", "y", *PARTS) if name in members]
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
    if dtype.hasobject:
        raise DataError(f"{what} holds Python objects, which are not read.", got=dtype, hint="save numbers")
    wanted = math.prod(shape) * dtype.itemsize
    content = file.read(wanted) if 0 <= wanted <= min(size, LIMIT) else b""
    if len(content) != wanted:
        raise DataError(f"{what} ends too early.", got=f"{size} bytes for {shape} of {dtype}", hint="write it anew")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")


def _npy_header(file: IO[bytes], what: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        return read(file)
    except Exception as error:  # NumPy's parser lets a hostile header raise almost anything
        raise DataError(f"{what} is damaged or not .npy.", got=f"{type(error).__name__}: {error}") from error
