"""Pictures of data: grids of images."""

from __future__ import annotations

import io
import math

import torch
from PIL import Image
from torch import Tensor

from .domain import Discrete, Domain
from .errors import NotSupported

__all__ = ["grid", "png", "to_bytes"]


def to_bytes(x: Tensor, domain: Domain) -> Tensor:
    """Images as bytes: levels, or real values from 0 to 1, spread over 0 … 255. ``(N, C, H, W)`` uint8."""
    top = domain.levels - 1 if isinstance(domain, Discrete) else 1
    return (x.double() * (255 / max(top, 1))).round().clamp(0, 255).to(torch.uint8).cpu()


def grid(x: Tensor, domain: Domain, *, columns: int | None = None, gap: int = 1) -> Image.Image:
    """Images side by side, about square unless told how many columns.

    Args:
        x: Images, ``(N, C, H, W)``.
        domain: Their domain.
        columns: Images in a row.
        gap: Pixels between images.

    Raises:
        NotSupported: if the data are not images.
    """
    if not domain.image:
        raise NotSupported("Only images can be drawn as a grid.", got=domain, hint="write samples to .npz or .csv")
    pixels = to_bytes(x, domain)
    n, channels, height, width = pixels.shape
    columns = columns or max(1, math.ceil(math.sqrt(n)))
    rows = math.ceil(n / columns)
    sheet = torch.full((channels, rows * (height + gap) + gap, columns * (width + gap) + gap), 128, dtype=torch.uint8)
    for index in range(n):
        top = gap + index // columns * (height + gap)
        left = gap + index % columns * (width + gap)
        sheet[:, top : top + height, left : left + width] = pixels[index]
    array = sheet.permute(1, 2, 0).squeeze(-1).numpy() if channels == 1 else sheet.permute(1, 2, 0).numpy()
    return Image.fromarray(array)


def png(image: Image.Image) -> bytes:
    """The image as a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
