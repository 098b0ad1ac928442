"""Painting many small pictures at once: shapes as signed distances, laid over one another with soft edges.

A shape is a function of the position that gives the distance to its edge in pixels, negative inside. A pixel is covered by
``1/2 - distance``, cut to 0 … 1, which is nearly the area that the shape takes of it. Every step is a sum, product, quotient or
square root of single floats, which IEEE 754 rounds alike everywhere: a picture has the same bytes on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["box", "capsule", "ellipse", "mixed", "painted", "root"]


def painted(pixels: Tensor, distance: Tensor, colour: Tensor, opacity: float = 1.0) -> Tensor:
    """The pictures with a shape laid over what is there.

    Args:
        pixels: ``(n, 3, side, side)``.
        distance: To the edge of the shape in pixels, ``(n, side, side)``.
        colour: ``(n, 3)``, in the unit of ``pixels``.
        opacity: From 0 to 1.
    """
    cover = (0.5 - distance).clamp(0, 1) * opacity
    return pixels + cover[:, None] * (colour[:, :, None, None] - pixels)


def ellipse(x: Tensor, y: Tensor, width: Tensor | float, height: Tensor | float) -> Tensor:
    r"""The distance, to first order, to an ellipse round the origin with these half axes.

    It is :math:`(q - 1) / |\nabla q|` of :math:`q = (x / w)^2 + (y / h)^2`, which is exact on the edge.
    """
    across, along = (x * (1 / width)).square(), (y * (1 / height)).square()
    slope = root(across * (1 / width**2) + along * (1 / height**2) + 1e-9)
    return (across + along - 1) / (2 * slope)


def box(x: Tensor, y: Tensor, width: Tensor | float, height: Tensor | float, radius: Tensor | float = 0.0) -> Tensor:
    """The distance to a box round the origin with these half sides and rounded corners."""
    across, along = x.abs() - (width - radius), y.abs() - (height - radius)
    outside = root(across.clamp_min(0).square() + along.clamp_min(0).square())
    return outside + torch.maximum(across, along).clamp_max(0) - radius


def capsule(x: Tensor, y: Tensor, end: float, rise: Tensor | float, radius: float) -> Tensor:
    """The distance to a line from the origin to ``(end, rise)``, ``radius`` thick on each side."""
    along = ((x * end + y * rise) / (end**2 + rise**2)).clamp(0, 1)
    return root((x - along * end).square() + (y - along * rise).square()) - radius


def root(x: Tensor) -> Tensor:
    """The square root, rounded to the nearest single float: libraries differ in the last bit of theirs, but not of this one."""
    return x.double().sqrt().to(x.dtype)


def mixed(stops: Sequence[tuple[int, int, int]], where: Tensor) -> Tensor:
    """The colours ``(n, 3)`` along an even row of stops, at places ``(n,)`` from 0 (the first) to 1 (the last)."""
    colours = torch.tensor(stops, dtype=torch.float32)
    place = where.float() * (len(stops) - 1)
    below = place.floor().clamp(0, len(stops) - 2).long()
    return colours[below] + (place - below)[:, None] * (colours[below + 1] - colours[below])
