"""One picture file: refused by its header where it can be, else decoded upright, on white, with 8 bits a channel."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

__all__ = ["PIXELS", "SUFFIXES", "Alpha", "Reader", "attempted"]

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"})

PIXELS = 2**25
"""A picture that declares more pixels than this is refused before it is decoded."""

DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
"""Modes of more than 8 bits, which 256 levels cannot hold without a choice that is the user's."""

ORIENTATION = 0x0112
TURNED = (5, 6, 7, 8)
"""The EXIF tag, and its values that swap width and height."""

DAMAGED = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
"""What Pillow raises for files that are not what they say."""

Alpha = Literal["white", "refuse"]


@dataclass(frozen=True)
class Reader:
    """How pictures are read.

    Args:
        size: Height and width to scale to and crop the middle of, or None to keep what is there.
        grey: Whether colour is turned into grey.
        alpha: Whether transparent pictures are laid on white or refused.
    """

    size: tuple[int, int] | None
    grey: bool
    alpha: Alpha

    def declared(self, path: Path) -> tuple[int, int]:
        """Height and width as the header gives them.

        Raises:
            ValueError: if the picture is too large, too deep, or transparent where that is refused.
        """
        with Image.open(path) as image:
            width, height = image.size
            if width * height > PIXELS:
                raise ValueError(f"it declares {width}×{height} pixels, more than the {PIXELS} allowed")
            if image.mode in DEEP:
                raise ValueError(f"it has more than 8 bits a channel (mode {image.mode})")
            if self.alpha == "refuse" and image.has_transparency_data:
                raise ValueError("it has transparent pixels")
            turned = image.getexif().get(ORIENTATION) in TURNED
        return (width, height) if turned else (height, width)

    def pixels(self, path: Path) -> NDArray[np.uint8]:
        """The picture as the reader wants it, of several its first frame: ``(H, W, 3)``, or ``(H, W, 1)`` if grey."""
        with Image.open(path) as image:
            picture = _opaque(ImageOps.exif_transpose(image)).convert("L" if self.grey else "RGB")
            if self.size is not None:
                height, width = self.size
                picture = ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)
            return np.atleast_3d(np.asarray(picture))


def _opaque(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)


@contextmanager
def attempted(path: Path, failures: dict[Path, str]) -> Iterator[None]:
    """Read a picture, and keep the reason if it cannot be read. Pillow's warnings are no news to the user."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except DAMAGED as error:
            failures[path] = " ".join(str(error).split()) or type(error).__name__
