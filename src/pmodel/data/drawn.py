"""Pictures that pmodel draws itself: biscuit tins, whose only factors are how high and how wide they are."""

from __future__ import annotations

import torch
from torch import Tensor

from ..domain import Discrete
from ..errors import RangeError, ShapeError
from ..randomness import generator
from .dataset import Dataset, Split, assemble

__all__ = ["FACTORS", "SIDE", "draw_tins", "load_tins", "measure_tins"]

SIDE = 32
"""Pixels along each side of a picture."""

FACTORS = {"height": (10.0, 28.0), "width": (8.0, 26.0)}
"""The factors and their ranges in pixels, each uniform: the whole height along the axis, and the diameter."""

COUNT = 5_000
FLATTENING = 0.15
"""The half height of the lid's ellipse as a share of the diameter: from how far above one looks."""

GREY = {"body": 160, "lid": 240}  # on black
FINE = 4
"""A pixel is the mean of this many columns, each covered exactly."""


def draw_tins(height: Tensor, width: Tensor) -> Tensor:
    """Upright cylinders in the middle of the picture, seen from slightly above.

    Args:
        height: The whole height along the axis in pixels, ``(N,)``.
        width: The diameter in pixels, ``(N,)``.

    Returns:
        Grey pictures, uint8 ``(N, 1, 32, 32)``.

    Raises:
        ShapeError: if the factors are not two vectors of one length.
        RangeError: if a tin does not fit the picture, or is too low for its width.
    """
    if height.ndim != 1 or height.shape != width.shape:
        raise ShapeError("Height and width must be vectors of one length.", got=(height.shape, width.shape))
    _require_fitting(height, width)
    pairs = zip(torch.split(height.double(), 256), torch.split(width.double(), 256), strict=True)
    return torch.cat([_draw(h[:, None, None], w[:, None, None]) for h, w in pairs])


def _require_fitting(height: Tensor, width: Tensor) -> None:
    fits = (height <= SIDE) & (width <= SIDE) & (width > 0) & (height >= 4 * FLATTENING * width)
    if not bool(fits.all()):
        where = int((~fits).nonzero()[0])
        got = f"height {float(height[where]):g}, width {float(width[where]):g}"
        hint = f"both at most {SIDE} pixels, and the height at least {4 * FLATTENING:g} times the width"
        raise RangeError("This tin does not fit the picture.", got=got, hint=hint)


def _draw(height: Tensor, width: Tensor) -> Tensor:
    x = (torch.arange(SIDE * FINE, dtype=torch.float64) + 0.5) / FINE - SIDE / 2
    reach = (1 - (2 * x / width).square()).clamp_min(0).sqrt() * FLATTENING * width  # half an ellipse above x
    lid = FLATTENING * width - height / 2  # the middle of the lid; y points down
    inside = 2 * x.abs() <= width
    grey = GREY["lid"] * _overlap(lid - reach, lid + reach) + GREY["body"] * _overlap(lid + reach, reach - lid)
    pixels: Tensor = (grey * inside).reshape(-1, SIDE, SIDE, FINE).mean(3).round()
    return pixels.to(torch.uint8)[:, None]


def _overlap(top: Tensor, bottom: Tensor) -> Tensor:
    """How much of each pixel of a column lies between two heights: ``(N, 1, M) -> (N, SIDE, M)``."""
    edge = torch.arange(SIDE, dtype=torch.float64)[:, None] - SIDE / 2
    return (bottom.minimum(edge + 1) - top.maximum(edge)).clamp_min(0)


def measure_tins(x: Tensor) -> Tensor:
    """Height and width of drawn, or modelled, tins, read from the pixels: float64 ``(N, 2)`` in pixels.

    The height is the covered length of the two middle columns, to half a pixel (the lid's bright edge counts in full), and
    the width that of the two middle rows, to a quarter.
    """
    covered = (x.double() / GREY["body"]).clamp(0, 1).flatten(1, 2)
    middle = SIDE // 2
    height = covered[:, :, middle - 1 : middle + 1].sum(1).mean(1)
    width = covered[:, middle - 1 : middle + 1].sum(2).mean(1)
    return torch.stack([height, width], 1)


def load_tins(seed: int) -> Dataset:
    """Tins of random height and width; the true factors are in ``Split.factors``."""
    low, high = torch.tensor(list(FACTORS.values()), dtype=torch.float64).T
    shares = torch.rand(COUNT, len(FACTORS), generator=generator(seed, "tins"), dtype=torch.float64)
    factors = low + (high - low) * shares
    factors[:, 0] = torch.maximum(factors[:, 0], 4 * FLATTENING * factors[:, 1])
    whole = Split(draw_tins(factors[:, 0], factors[:, 1]), factors=factors)
    domain = Discrete((1, SIDE, SIDE), 256)
    note = "drawn from two factors, height and width in pixels"
    return assemble("tins", domain, whole, seed=seed, note=note, factor_names=tuple(FACTORS))
