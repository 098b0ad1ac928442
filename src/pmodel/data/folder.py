"""A folder of pictures. Its sub-folders, if it has any, are the labels."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..domain import Discrete
from ..errors import BadInput, DataError, unknown
from .dataset import LIMIT, Dataset, Split, assemble
from .picture_file import PIXELS, SUFFIXES, Alpha, Reader, attempted

__all__ = ["load_folder"]

Corrupt = Literal["refuse", "skip"]
Pictures = dict[Path, NDArray[np.uint8]]


def load_folder(
    path: Path,
    *,
    seed: int = 0,
    size: int | Sequence[int] | None = None,
    channels: int | None = None,
    corrupt: Corrupt = "refuse",
    alpha: Alpha = "white",
    whole: bool = False,
) -> Dataset:
    """Pictures of 8 bits a channel, in the order of their names.

    Args:
        path: The folder.
        seed: Of the split.
        size: A side, or height and width: each picture is scaled to cover that, and its middle is kept.
        channels: 1 for grey, 3 for colour; by default grey if every picture is grey everywhere.
        corrupt: Whether files that cannot be read are refused, by name, or skipped and noted.
        alpha: Whether transparent pictures are laid on white or refused.
        whole: Whether every split is all of them.

    Raises:
        DataError: if there are no pictures, some cannot be read, or they differ in size and ``size`` is not given.
        BadInput: if an option is not what it can be.
    """
    reader = _reader(size, channels, alpha)
    if corrupt not in ("refuse", "skip"):
        raise unknown("way with corrupt files", str(corrupt), ("refuse", "skip"))
    files = _listed(path)
    damaged: dict[Path, str] = {}
    sizes = _surveyed(files, reader, damaged)
    _refuse(path, damaged, len(files), corrupt)
    _require_one_size(path, sizes, reader)
    pictures = _decoded(sizes, reader, damaged)
    _refuse(path, damaged, len(files), corrupt)
    x = _stacked(list(pictures.values()), channels)
    y, names = _labels(path, list(pictures))
    note = f"skipped {len(damaged)} damaged: {_some(path, damaged)}" if damaged else ""
    domain = Discrete(tuple(x.shape[1:]), 256)
    parts = (Split(x, y),) * 3 if whole else Split(x, y)
    return assemble(path.resolve().name, domain, parts, seed=seed, label_names=names, note=note)


def _reader(size: int | Sequence[int] | None, channels: int | None, alpha: Alpha) -> Reader:
    if alpha not in ("white", "refuse"):
        raise unknown("way with transparency", str(alpha), ("white", "refuse"))
    if channels not in (None, 1, 3):
        raise BadInput("A picture has 1 or 3 channels.", got=channels)
    if size is None:
        return Reader(None, channels == 1, alpha)
    sides = (size, size) if isinstance(size, int) else tuple(size)
    whole = all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in sides)
    if len(sides) != 2 or not whole or math.prod(sides) > PIXELS:
        raise BadInput("A size is a whole number of pixels, or a height and a width.", got=size)
    return Reader((sides[0], sides[1]), channels == 1, alpha)


def _listed(path: Path) -> list[Path]:
    """The pictures in the order of their names, all in sub-folders or none."""
    found = (Path(folder) / name for folder, _, names in os.walk(path) for name in names)
    files = sorted(file for file in found if file.suffix.lower() in SUFFIXES and not file.name.startswith("."))
    if not files:
        hint = f"pictures end in {' '.join(sorted(SUFFIXES))}"
        raise DataError(f"{path} holds no pictures.", got=f"{len(list(path.iterdir()))} entries", hint=hint)
    loose = [file for file in files if file.parent == path]
    if loose and len(loose) < len(files):
        hint = "put every picture into a sub-folder, its label, or none"
        raise DataError(f"{path} has pictures both in and beside its sub-folders.", got=_some(path, loose), hint=hint)
    return files


def _surveyed(files: Sequence[Path], reader: Reader, damaged: dict[Path, str]) -> dict[Path, tuple[int, int]]:
    """The height and width that each file declares."""
    sizes = {}
    for file in files:
        with attempted(file, damaged):
            sizes[file] = reader.declared(file)
    return sizes


def _decoded(files: Mapping[Path, object], reader: Reader, damaged: dict[Path, str]) -> Pictures:
    pictures = {}
    for file in files:
        with attempted(file, damaged):
            pictures[file] = reader.pixels(file)
    return pictures


def _refuse(path: Path, damaged: Mapping[Path, str], total: int, corrupt: Corrupt) -> None:
    if len(damaged) == total or (damaged and corrupt == "refuse"):
        first, reason = next(iter(damaged.items()))
        got = (
            f"{_some(path, damaged)}; the first: {reason}" if len(damaged) > 1 else f"{_some(path, [first])}: {reason}"
        )
        hint = "mend or remove them, or pass corrupt=skip"
        raise DataError(f"{len(damaged)} of {total} pictures in {path} cannot be read.", got=got, hint=hint)


def _require_one_size(path: Path, sizes: Mapping[Path, tuple[int, int]], reader: Reader) -> None:
    found = Counter(sizes.values())
    if reader.size is None and len(found) > 1:
        examples = {size: file for file, size in reversed(list(sizes.items()))}
        listed = [f"{h}×{w} ({n}, such as {_some(path, [examples[h, w]])})" for (h, w), n in found.most_common(4)]
        got = f"{len(found)} sizes: {', '.join(listed)}"
        raise DataError(f"The pictures in {path} differ in height×width.", got=got, hint="pass size=, such as size=32")
    area = math.prod(reader.size or next(iter(found)))
    if 3 * area * len(sizes) > LIMIT:
        got = f"{len(sizes)} pictures of {area} pixels"
        raise DataError(f"{path} takes more than {LIMIT} bytes.", got=got, hint="pass a smaller size=")


def _stacked(pictures: Sequence[NDArray[np.uint8]], channels: int | None) -> Tensor:
    """Channels first; one channel if all of them are equal everywhere and colour was not asked for."""
    if channels is None and all((picture == picture[..., :1]).all() for picture in pictures):
        pictures = [picture[..., :1] for picture in pictures]
    return torch.from_numpy(np.ascontiguousarray(np.stack(pictures).transpose(0, 3, 1, 2)))


def _labels(path: Path, files: Sequence[Path]) -> tuple[Tensor | None, list[str]]:
    """The first sub-folder of each file."""
    if files[0].parent == path:
        return None, []
    labels = [_printable(file.relative_to(path).parts[0]) for file in files]
    names = sorted(set(labels))
    return torch.tensor([names.index(label) for label in labels]), names


def _some(path: Path, files: Mapping[Path, str] | Sequence[Path]) -> str:
    """Up to five of the files, as they are called in the folder."""
    shown = [_printable(file.relative_to(path).as_posix()) for file in list(files)[:5]]
    return ", ".join(shown) + (" …" if len(files) > 5 else "")


def _printable(name: str) -> str:
    """The name without the halves of characters that a file system may hold and no text file can."""
    return name.encode("utf-8", "replace").decode()
