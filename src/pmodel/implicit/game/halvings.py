"""Pictures from their own size down to the corner, where a generator starts and a discriminator ends, and back.

Sides that do not halve evenly are rounded up, and cut when they double again: halving what was doubled gives it back.
"""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F

__all__ = ["doubled", "groups", "halved", "halved_sides", "halvings", "widths"]

CORNER = 7
"""Pictures are halved until neither side is longer than this: at least once, and twice above 4×4."""
GROUPED = 16
"""Channels of a group. Of two normalised together too little is left of how bright a picture is: flat grounds were mottled."""


def halvings(shape: tuple[int, ...], corner: int = CORNER) -> list[tuple[int, int]]:
    """The sides at each scale, from the picture's own downwards; a side that is odd is rounded up when it is halved.

    Args:
        shape: Of a picture, ``(C, H, W)``.
        corner: No side is longer than this in the end.
    """
    sizes = [(shape[1], shape[2])]
    while max(sizes[-1]) > corner or len(sizes) < 2 or (len(sizes) < 3 and max(sizes[-1]) > 2):
        sizes.append(halved_sides(sizes[-1]))
    return sizes


def halved_sides(size: tuple[int, int]) -> tuple[int, int]:
    """Half of each side, rounded up."""
    return (size[0] + 1) // 2, (size[1] + 1) // 2


def halved(x: Tensor) -> Tensor:
    """Pictures ``(N, C, H, W)`` of half the sides, rounded up: each pixel the mean of those that it stands for."""
    return F.avg_pool2d(x, 2, ceil_mode=True)


def doubled(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Pictures with each pixel four times, cut to the size that was halved."""
    y: Tensor = F.interpolate(x, scale_factor=2.0, mode="nearest")
    return y[..., : size[0], : size[1]]


def widths(sizes: list[tuple[int, int]], channels: int) -> list[int]:
    """Channels at each scale below the picture's: twice as many with each halving."""
    return [channels * 2**step for step in range(len(sizes) - 1)]


def groups(channels: int) -> int:
    """How many groups are normalised: of ``GROUPED`` channels or more each, and one where there are fewer channels."""
    return math.gcd(channels, max(1, channels // GROUPED))
