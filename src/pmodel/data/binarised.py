"""Binary MNIST: our own fixed draw, and the published one. Scores on the two are different measures."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..domain import Discrete
from ..errors import DataError
from .dataset import Dataset, Split, assemble, hold_out
from .mapped import in_memory
from .mnist import IMAGE, SOURCES, VALID, official
from .places import found, roots

__all__ = ["larochelle_files", "load_binary", "load_larochelle"]

BINARY_SHA256 = "5c418dfbeee66f32c1b5d3296c77f53c59b5aabebde5ddd1591eefbe0919747b"
"""Of the 70 000 binary images, one byte a pixel, in the official order, training first."""

LAROCHELLE = {"train": 50_000, "valid": 10_000, "test": 10_000}
"""How many images each of the published files holds."""


def load_binary() -> Dataset:
    """MNIST binarised once: each pixel is 1 with probability x/255, by a stream that NumPy has frozen (NEP 19).

    The splits keep the intensities x, so that training can draw its images anew.

    Raises:
        DataError: as ``load_mnist``, or if the binary images are not those that they should be.
    """
    train, test = official("mnist")
    stream = np.random.RandomState(0)
    grey = [in_memory(split.x) for split in (train, test)]
    binary = [_binarised(x, stream) for x in grey]
    drawn = hashlib.sha256(torch.cat(binary).numpy().data).hexdigest()
    if drawn != BINARY_SHA256:
        raise DataError("The binary images are not those of mnist-binary.", got=f"SHA-256 {drawn}", hint="update NumPy")
    train, test = (replace(split, x=x, intensities=v) for split, x, v in zip((train, test), binary, grey, strict=True))
    parts = (*hold_out(train, VALID), test)
    return assemble("mnist-binary", Discrete(IMAGE, 2), parts, label_names=SOURCES["mnist"].label_names)


def _binarised(x: Tensor, stream: np.random.RandomState) -> Tensor:
    """1 where u < x with u uniform on 0 ... 254, so that P(1) is x/255 exactly."""
    u = stream.randint(0, 255, size=tuple(x.shape), dtype=np.uint8)
    return (torch.from_numpy(u) < x).to(torch.uint8)


def larochelle_files() -> dict[str, Path | None]:
    """Where each of the three published files is, if it is."""
    return {part: found("mnist-larochelle", f"binarized_mnist_{part}.amat") for part in LAROCHELLE}


def load_larochelle() -> Dataset:
    """The binarisation that most papers score (Larochelle and Murray, 2011), from files that the user has.

    Raises:
        DataError: if a file is missing or is not what it should be.
    """
    files = larochelle_files()
    for part, path in files.items():
        if path is None:
            raise DataError(
                f"mnist-larochelle needs the published file binarized_mnist_{part}.amat, which is not fetched.",
                got=f"not in {' or '.join(str(root / 'mnist-larochelle') for root in roots())}",
                hint="put it there, or use mnist-binary, which is another draw and so another measure",
            )
    parts = [Split(_read_amat(path, LAROCHELLE[part])) for part, path in files.items() if path is not None]
    return assemble("mnist-larochelle", Discrete(IMAGE, 2), parts)


def _read_amat(path: Path, rows: int) -> Tensor:
    """``rows`` lines of 784 zeros and ones with spaces between."""
    digits = np.frombuffer(path.read_bytes().translate(None, b" \r\n\t"), np.uint8) - ord("0")
    if len(digits) != rows * 784 or digits.max(initial=0) > 1:
        found = f"{len(digits)} characters, {int((digits > 1).sum())} of them neither 0 nor 1"
        raise DataError(f"{path} should hold {rows} lines of 784 zeros and ones.", got=found)
    return torch.from_numpy(digits).reshape(-1, *IMAGE)
