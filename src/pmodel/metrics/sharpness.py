r"""The energy of the finest details of pictures, against that of real data: the notes' "blurry" as a number.

The detail of a picture is the mean square of its discrete Laplacian, over the pixels whose four neighbours exist and over
channels:

.. math:: e(x) = \frac{1}{C (H-2)(W-2)} \sum_{c, i, j} \bigl(4 x_{ij} - x_{i-1,j} - x_{i+1,j} - x_{i,j-1} - x_{i,j+1}\bigr)^2

By Parseval it weighs the energy at frequencies :math:`(a, b)` with :math:`(4 - 2 \cos a - 2 \cos b)^2`: 0 for a constant, 64
for a checkerboard, and no threshold in between to be chosen, as a part of the spectrum would need one, or an assumption about
what lies beyond the border. It is linear in nothing but the pixels: brightness does not count, and contrast counts by its
square, because a blur takes contrast away from details as well. How much of the ratio is the contrast of pictures as a whole
stands beside it. Colours count channel by channel, so that noise in the colours alone is seen.

Blur lowers the ratio and noise raises it; blur *and* noise may cancel, so it is read beside the pictures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from ..errors import BadInput, RangeError, ShapeError

__all__ = ["Details", "Sharpness", "details", "sharpness"]

LEAST_SIDE = 3
"""Pixels of either side: below, no pixel has all neighbours."""
SMALL_SIDE = 6
"""Below, the interior is less than half of the picture."""
CHUNK = 2**22
"""Pixels that are looked at at a time."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Details:
    """What is measured of each picture.

    Args:
        energy: Mean square of the Laplacian, ``(N,)`` float64.
        variance: Of the pixels about the mean of their picture and channel, ``(N,)``.
        side: The smaller side of the pictures in pixels.
    """

    energy: Tensor
    variance: Tensor
    side: int


@final
@dataclass(frozen=True, kw_only=True)
class Sharpness:
    """The details of samples against those of real data.

    Args:
        value: The ratio of the mean energies: below 1 is blurred, above 1 is noisy.
        stderr: Of the ratio, from the spread over samples and over real data; None where one of these is single.
        contrast: The ratio of the mean variances.
        n: Samples.
        n_reference: Real data.
        flags: What makes the number less than it seems.
    """

    value: float
    stderr: float | None
    contrast: float
    n: int
    n_reference: int
    flags: tuple[str, ...] = ()


def details(pictures: Tensor) -> Details:
    """The energy of the finest details of each picture.

    Args:
        pictures: ``(N, C, H, W)`` of any type.

    Raises:
        ShapeError: if these are no pictures, or are less than ``LEAST_SIDE`` pixels wide or high.
        RangeError: if a pixel is not finite.
    """
    if pictures.ndim != 4:
        raise ShapeError("Pictures must be of shape (N, C, H, W).", got=tuple(pictures.shape))
    side = min(pictures.shape[2:])
    if side < LEAST_SIDE:
        hint = f"fine details need pictures of {LEAST_SIDE}x{LEAST_SIDE} pixels at least"
        raise ShapeError("These pictures are too small to be sharp or blurred.", got=tuple(pictures.shape), hint=hint)
    parts = torch.split(pictures, max(1, CHUNK // max(1, math.prod(pictures.shape[1:]))))
    energy, variance = zip(*(_of(part) for part in parts), strict=True)
    return Details(energy=torch.cat(energy), variance=torch.cat(variance), side=side)


def sharpness(samples: Tensor | Details, real: Tensor | Details) -> Sharpness:
    r"""How sharp samples are, as the ratio of their mean energy to that of real data.

    The standard error is that of a ratio of independent means, :math:`r \sqrt{s_1^2 / m_1^2 + s_2^2 / m_2^2}`.

    Args:
        samples: Pictures ``(N, C, H, W)``, or what ``details`` says of them.
        real: The same of real data, in the same units.

    Raises:
        ShapeError: if these are no pictures, or too small ones.
        RangeError: if a pixel is not finite.
        BadInput: if there are none, or the real ones have no details.
    """
    samples, real = (x if isinstance(x, Details) else details(x) for x in (samples, real))
    if not len(samples.energy) or not len(real.energy):
        raise BadInput("Sharpness needs samples and real data.", got=(len(samples.energy), len(real.energy)))
    energy, reference = float(samples.energy.mean()), float(real.energy.mean())
    if reference <= 0:
        raise BadInput("The real pictures have no details to compare with.", got=f"a mean energy of {reference}")
    errors = [_stderr(samples.energy) / reference, _stderr(real.energy) * energy / reference**2]
    return Sharpness(
        value=energy / reference,
        stderr=None if any(math.isnan(error) for error in errors) else math.hypot(*errors),
        contrast=float(samples.variance.mean() / real.variance.mean()),
        n=len(samples.energy),
        n_reference=len(real.energy),
        flags=_flags(min(samples.side, real.side)),
    )


def _of(pictures: Tensor) -> tuple[Tensor, Tensor]:
    x = pictures.detach().to("cpu", torch.float64)
    if not bool(x.isfinite().all()):
        raise RangeError("Pixels must be finite.", got=f"{int((~x.isfinite()).sum())} that are not")
    inside = x[..., 1:-1, 1:-1]
    laplacian = 4 * inside - x[..., :-2, 1:-1] - x[..., 2:, 1:-1] - x[..., 1:-1, :-2] - x[..., 1:-1, 2:]
    centred = x - x.mean((2, 3), keepdim=True)
    return laplacian.square().mean((1, 2, 3)), centred.square().mean((1, 2, 3))


def _stderr(values: Tensor) -> float:
    return float(values.std()) / len(values) ** 0.5 if len(values) > 1 else math.nan


def _flags(side: int) -> tuple[str, ...]:
    if side >= SMALL_SIDE:
        return ()
    return (f"pictures {side} pixels wide: most of them is border, which is not looked at",)
