"""CIFAR-10 in its binary version: small colour photographs, found on this machine, else downloaded.

The archive is read as a stream, and nothing of it is written to disk: six members are wanted, each a plain file of a known name
and length. Files that were unpacked already are taken as well; of these only the form is checked, for no hashes of theirs are
published: their length, their labels, and that every class has as many images as it should.

Source:
    Learning Multiple Layers of Features from Tiny Images (Krizhevsky, 2009), https://www.cs.toronto.edu/~kriz/cifar.html
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..domain import Discrete
from ..errors import DataError
from .dataset import Dataset, Split, assemble, hold_out
from .download import Remote, fetched
from .idx import DAMAGED, sha256_of
from .places import roots

__all__ = ["ARCHIVE", "IMAGE", "LABELS", "available", "load_cifar10"]

FOLDER = "cifar10"
INNER = "cifar-10-batches-bin"
IMAGE = (3, 32, 32)
LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FILES = (*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin")
"""In the official order, training first."""

ROWS = 10_000
"""Images in each file."""

WIDTH = 1 + 3 * 32 * 32
"""Bytes of an image: the label, then the planes of red, green and blue, each row by row."""

VALID = 5_000
"""How many of the 50 000 official training images are drawn at random for validation."""

ARCHIVE = Remote(
    "cifar-10-binary.tar.gz",
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    170_052_171,
    ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
    as_it_is=True,
)


def load_cifar10() -> Dataset:
    """CIFAR-10 with the official test set.

    Raises:
        DataError: if it is neither on this machine nor to be had, or is not what it should be.
    """
    folder = _unpacked()
    if folder is None:
        archive = _archive() or fetched(ARCHIVE, FOLDER)
        _require_hash(archive)
        parts = _packed_rows(archive)
    else:
        parts = _file_rows(folder)
    whole = np.empty((len(FILES), ROWS, WIDTH), np.uint8)
    for name, rows in parts:
        whole[FILES.index(name)] = rows
    train, test = _split(whole[:-1]), _split(whole[-1:])
    return assemble("cifar10", Discrete(IMAGE, 256), (*hold_out(train, VALID), test), label_names=LABELS)


def available() -> bool:
    """Whether the files, or the archive, are on this machine."""
    return _unpacked() is not None or _archive() is not None


def _archive() -> Path | None:
    paths = (root / FOLDER / ARCHIVE.name for root in roots())
    return next((path for path in paths if path.is_file()), None)


def _unpacked() -> Path | None:
    """The first folder that has all six files."""
    folders = (folder for root in roots() for folder in (root / FOLDER, root / FOLDER / INNER))
    return next((folder for folder in folders if all((folder / name).is_file() for name in FILES)), None)


def _require_hash(archive: Path) -> None:
    digest = sha256_of(archive, ARCHIVE.size, as_it_is=True)
    if digest != ARCHIVE.sha256:
        got, hint = f"SHA-256 {digest}, not {ARCHIVE.sha256}", "delete it, and it is fetched anew"
        raise DataError(f"{archive} is not the file it should be.", got=got, hint=hint)


def _file_rows(folder: Path) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    for name in FILES:
        with (folder / name).open("rb") as file:
            yield name, _rows(file.read(ROWS * WIDTH + 1), folder / name)


def _packed_rows(archive: Path) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """The wanted members, in the order in which they come."""
    wanted = {f"{INNER}/{name}": name for name in FILES}
    try:
        with tarfile.open(archive, "r|gz") as stream:
            for member in stream:
                name = wanted.pop(member.name.removeprefix("./"), None)
                if name is not None:
                    file = stream.extractfile(member) if member.isfile() else None
                    yield name, _rows(b"" if file is None else file.read(ROWS * WIDTH + 1), archive / member.name)
    except (tarfile.TarError, *DAMAGED) as error:
        got = f"{type(error).__name__}: {error}"
        raise DataError(f"{archive} is damaged.", got=got, hint="delete it, and it is fetched anew") from error
    if wanted:
        raise DataError(f"{archive} lacks files.", got=", ".join(wanted), hint="delete it, and it is fetched anew")


def _rows(content: bytes, path: Path) -> NDArray[np.uint8]:
    """One file: ``(ROWS, 3073)``.

    Raises:
        DataError: if its length is another, or a label is no label.
    """
    if len(content) != ROWS * WIDTH:
        got = "more" if len(content) > ROWS * WIDTH else f"only {len(content)}"
        raise DataError(f"{path} should hold {ROWS * WIDTH} bytes.", got=got, hint="fetch it anew")
    rows = np.frombuffer(content, np.uint8).reshape(ROWS, WIDTH)
    if rows[:, 0].max() >= len(LABELS):
        raise DataError(f"{path} should hold labels from 0 to 9.", got=int(rows[:, 0].max()), hint="fetch it anew")
    return rows


def _split(files: NDArray[np.uint8]) -> Split:
    rows = files.reshape(-1, files.shape[2])
    counts = np.bincount(rows[:, 0], minlength=len(LABELS))
    if (counts != len(rows) // len(LABELS)).any():
        wanted = f"{len(rows) // len(LABELS)} of each class"
        raise DataError(
            f"{FOLDER} should hold {wanted} in {len(rows)} images.", got=counts.tolist(), hint="fetch it anew"
        )
    x = torch.from_numpy(np.ascontiguousarray(rows[:, 1:])).reshape(-1, *IMAGE)
    return Split(x, torch.from_numpy(rows[:, 0].astype(np.int64)))
