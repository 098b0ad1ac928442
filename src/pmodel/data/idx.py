"""IDX files, the format of MNIST: a magic number that gives type and rank, the sides, and the values, big-endian."""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .dataset import LIMIT

__all__ = ["is_idx", "is_packed", "layout", "read_idx", "read_images_and_labels", "read_labels", "sha256_of"]

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
GZIP = b"\x1f\x8b"
DAMAGED = (OSError, EOFError, zlib.error)


def opened(path: Path) -> BinaryIO:
    """The content of the file, unpacked on the way if it is gzip."""
    return gzip.open(path, "rb") if is_packed(path) else path.open("rb")  # type: ignore[return-value]


def is_packed(path: Path) -> bool:
    """Whether the file is packed by gzip."""
    with path.open("rb") as file:
        return file.read(2) == GZIP


def layout(path: Path) -> tuple[int, np.dtype[Any], tuple[int, ...]]:
    """Where the values of an IDX file start, their type and their shape.

    Raises:
        DataError: if it is packed, or its header damaged.
    """
    if is_packed(path):
        raise DataError(f"{path} cannot be mapped: it is packed by gzip.", got="mapped=True", hint=f"gunzip {path}")
    with path.open("rb") as file:
        head, kind, shape = _header(path, file)
    return len(head), kind, shape


def sha256_of(path: Path, limit: int = LIMIT, *, as_it_is: bool = False) -> str:
    """The SHA-256 of a file's content, which is unpacked if it is gzip, unless the file is to be taken as it is.

    Raises:
        DataError: if it cannot be unpacked, or unpacks to more than ``limit`` bytes.
    """
    total, length = hashlib.sha256(), 0
    try:
        with path.open("rb") if as_it_is else opened(path) as file:
            while block := file.read(2**20):
                total.update(block)
                length += len(block)
                if length > limit:
                    raise DataError(f"{path} holds too much.", got=f"more than {limit} bytes")
    except DAMAGED as error:
        raise DataError(f"{path} cannot be read.", got=f"{type(error).__name__}: {error}") from error
    return total.hexdigest()


def is_idx(path: Path) -> bool:
    """Whether the file starts as an IDX file does."""
    try:
        with opened(path) as file:
            return _is_magic(file.read(4))
    except DAMAGED:
        return False


def read_idx(path: Path, limit: int = LIMIT, *, sha256: str | None = None) -> NDArray[Any]:
    """The array in an IDX file, packed by gzip or not, in the byte order of this machine.

    Args:
        path: The file.
        limit: The most bytes of values that it may declare.
        sha256: What the hash of the unpacked content must be, or None.

    Raises:
        DataError: if the magic number is wrong, the file ends too early or too late, declares too much, or has another hash.
    """
    try:
        with opened(path) as file:
            head, kind, shape = _header(path, file)
            length = math.prod(shape) * kind.itemsize
            if length > limit:
                raise DataError(f"{path} declares more than {limit} bytes.", got=f"{shape} of {kind.itemsize} bytes")
            payload = file.read(length + 1)
    except DAMAGED as error:
        raise DataError(f"{path} is damaged.", got=f"{type(error).__name__}: {error}", hint="fetch it anew") from error
    if len(payload) != length:
        got = "more" if len(payload) > length else f"only {len(payload)}"
        raise DataError(f"{path} should hold {length} bytes of values.", got=got, hint="fetch the file anew")
    if sha256 is not None:
        _require_hash(path, head, payload, sha256)
    return np.frombuffer(payload, kind).reshape(shape).astype(kind.newbyteorder("="))


def _require_hash(path: Path, head: bytes, payload: bytes, wanted: str) -> None:
    total = hashlib.sha256(head)
    total.update(payload)
    if total.hexdigest() != wanted:
        got = f"SHA-256 {total.hexdigest()}, not {wanted}"
        raise DataError(f"{path} is not the file it should be.", got=got, hint="delete it, and it is fetched anew")


def _header(path: Path, file: BinaryIO) -> tuple[bytes, np.dtype[Any], tuple[int, ...]]:
    magic = file.read(4)
    if not _is_magic(magic):
        raise DataError(f"{path} is not an IDX file.", got=f"magic number {magic.hex() or 'missing'}")
    sides = file.read(4 * magic[3])
    if len(sides) < 4 * magic[3]:
        raise DataError(f"{path} ends within its header.", got=f"{4 + len(sides)} bytes")
    return magic + sides, np.dtype(TYPES[magic[2]]), tuple(int(side) for side in np.frombuffer(sides, ">u4"))


def _is_magic(magic: bytes) -> bool:
    return len(magic) == 4 and magic[:2] == b"\0\0" and magic[2] in TYPES and 1 <= magic[3] <= 8


def read_images_and_labels(path: Path) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """An IDX file of data, and the labels beside it if they are named after it as MNIST's are.

    ``train-images-idx3-ubyte`` has its labels in ``train-labels-idx1-ubyte``, with ``.gz`` or not.
    """
    return read_idx(path), read_labels(path)


def read_labels(path: Path) -> NDArray[Any] | None:
    """The labels beside a file of data; None if there are none."""
    stem = path.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    beside = [path.with_name(stem + end) for end in ("", ".gz") if stem not in path.name]
    return next((read_idx(other) for other in beside if other.is_file()), None)
