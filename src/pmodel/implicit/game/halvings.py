"""The sizes of a picture from its own down to the corner, where a generator starts and a discriminator ends."""

from __future__ import annotations

import math

__all__ = ["groups", "halvings", "widths"]

CORNER = 7
"""Pictures are halved until neither side is longer than this: at least once, and twice above 4×4."""


def halvings(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """The sides at each scale, from the picture's own downwards; a side that is odd is rounded up when it is halved."""
    sizes = [(shape[1], shape[2])]
    while max(sizes[-1]) > CORNER or len(sizes) < 2 or (len(sizes) < 3 and max(sizes[-1]) > 2):
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
    return sizes


def widths(sizes: list[tuple[int, int]], channels: int) -> list[int]:
    """Channels at each scale below the picture's: twice as many with each halving."""
    return [channels * 2**step for step in range(len(sizes) - 1)]


def groups(channels: int, size: tuple[int, int]) -> int:
    """At most eight groups to normalise in, each of several values: normalising one value would leave nothing of it."""
    return math.gcd(8, channels) if math.prod(size) >= 4 else 1
