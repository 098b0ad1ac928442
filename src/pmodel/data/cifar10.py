"""CIFAR-10 in its binary version: small colour photographs, found on this machine, else downloaded.

The archive is read as a stream, and nothing of it is written to disk: six members are wanted, each a plain file of a known name
and length. Files that were unpacked already are taken as well; of these only the form is checked, for no hashes of theirs are
published: their length, their labels, and that every class has as many images as it should.

Source:
    Learning Multiple Layers of Features from Tiny Images (Krizhevsky, 2009), https://www.cs.toronto.edu/~kriz/cifar.html
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator
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
    files = _packed_rows(_checked_archive()) if folder is None else _file_rows(folder)
    train, test = _read(files)
    return assemble("cifar10", Discrete(IMAGE, 256), (*hold_out(train, VALID), test), label_names=LABELS)


def available() -> bool:
    """Whether the files, or the archive, are on this machine."""
    return _unpacked() is not None or _archive() is not None


def _read(files: Iterable[tuple[str, NDArray[np.uint8]]]) -> tuple[Split, Split]:
    """The official parts, each file put into its place as it comes: in memory there is one file more than the images."""
    parts = _Part(len(FILES) - 1), _Part(1)
    for name, rows in files:
        part, place = divmod(FILES.index(name), len(FILES) - 1)
        parts[part].put(place, rows)
    return parts[0].split(), parts[1].split()


class _Part:
    """The images and labels of several files."""

    def __init__(self, files: int) -> None:
        self.x = np.empty((files * ROWS, *IMAGE), np.uint8)
        self.y = np.empty(files * ROWS, np.int64)

    def put(self, place: int, rows: NDArray[np.uint8]) -> None:
        """The content of the file that has this place among them."""
        here = slice(place * ROWS, (place + 1) * ROWS)
        self.x[here], self.y[here] = rows[:, 1:].reshape(-1, *IMAGE), rows[:, 0]

    def split(self) -> Split:
        """All of them, in order.

        Raises:
            DataError: if a class has more images than another.
        """
        counts, share = np.bincount(self.y, minlength=len(LABELS)), len(self.y) // len(LABELS)
        if (counts != share).any():
            wanted = f"{share} of each class in {len(self.y)} images"
            raise DataError(f"{FOLDER} should hold {wanted}.", got=counts.tolist(), hint="fetch it anew")
        return Split(torch.from_numpy(self.x), torch.from_numpy(self.y))


def _archive() -> Path | None:
    paths = (root / FOLDER / ARCHIVE.name for root in roots())
    return next((path for path in paths if path.is_file()), None)


def _unpacked() -> Path | None:
    """The first folder that has all six files."""
    return next((folder for folder, missing in _folders() if not missing), None)


def _folders() -> Iterator[tuple[Path, list[str]]]:
    """Where unpacked files may be, and which of them are not there."""
    for folder in (folder for root in roots() for folder in (root / FOLDER, root / FOLDER / INNER)):
        yield folder, [name for name in FILES if not (folder / name).is_file()]


def _checked_archive() -> Path:
    """The archive on this machine, else the one that is fetched, which is checked before it gets its name."""
    archive = _archive()
    if archive is None:
        _require_no_remains()
        return fetched(ARCHIVE, FOLDER)
    _require_hash(archive)
    return archive


def _require_no_remains() -> None:
    """Refuse to fetch beside a folder that has some of the files: to add the others may be all that is wanted."""
    for folder, missing in _folders():
        if len(missing) < len(FILES):
            hint = "add them; or remove the others, and all are fetched"
            raise DataError(f"{folder} lacks files of {FOLDER}.", got=f"no {', '.join(missing)}", hint=hint)


def _require_hash(archive: Path) -> None:
    size = archive.stat().st_size
    digest = "" if size > ARCHIVE.size else sha256_of(archive, as_it_is=True)
    if digest != ARCHIVE.sha256:
        got = f"SHA-256 {digest}, not {ARCHIVE.sha256}" if digest else f"{size} bytes, not {ARCHIVE.size}"
        raise DataError(f"{archive} is not the file it should be.", got=got, hint="delete it, and it is fetched anew")


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
