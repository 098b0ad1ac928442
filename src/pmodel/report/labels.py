"""Where the names of points stand, so that none lies on another or on a point."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

__all__ = ["Box", "Label", "placed", "width"]

HEIGHT = 14.0
"""Of a line of text."""
CHARACTER = 6.9
"""The width of a character, on the safe side."""
RADII = (9.0, 18.0, 30.0, 44.0, 60.0, 80.0, 105.0, 135.0)
ANGLES = 16
FAR = 16.0
"""A name further than this from its point is tied to it by a line."""


@final
@dataclass(frozen=True)
class Box:
    """A rectangle: left, top, right, bottom."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        """Whether the two have a place in common."""
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def within(self, other: Box) -> bool:
        """Whether it lies inside the other."""
        return (
            self.left >= other.left
            and self.right <= other.right
            and self.top >= other.top
            and self.bottom <= other.bottom
        )


@final
@dataclass(frozen=True)
class Label:
    """A name's place: the left end of its base line, its box, and whether a line ties it to its point."""

    x: float
    y: float
    box: Box
    tied: bool


def width(text: str) -> float:
    """About how wide a text is, rather more than less."""
    return CHARACTER * len(text) + 2


def placed(
    points: Sequence[tuple[float, float]], names: Sequence[str], taken: Sequence[Box], frame: Box
) -> list[Label | None]:
    """A free place near each point for its name, or None where there is no room at all.

    Args:
        points: Where the points are.
        names: What they are called.
        taken: What no name may cover: points, error bars, other words.
        frame: Where names may stand.
    """
    found: list[Label | None] = []
    full = list(taken)
    for (x, y), name in zip(points, names, strict=True):
        free = (
            c for c in _candidates(x, y, width(name)) if c.box.within(frame) and not any(c.box.meets(b) for b in full)
        )
        label = next(free, None)
        found.append(label)
        if label is not None:
            full.append(label.box)
    return found


def _candidates(x: float, y: float, wide: float) -> Iterator[Label]:
    """Places around a point: right of it, left, above, below, then on growing circles."""
    for radius in RADII:
        for k in sorted(range(ANGLES), key=lambda k: (k % (ANGLES // 4), (k * 4 // ANGLES) % 2, k)):
            angle = 2 * math.pi * k / ANGLES
            across, up = math.cos(angle), math.sin(angle)
            middle = y - up * (radius + (HEIGHT / 2 if abs(up) > 0.5 else 0))
            left = x + across * radius - (0.0 if across > 0.3 else wide if across < -0.3 else wide / 2)
            box = Box(left, middle - HEIGHT / 2, left + wide, middle + HEIGHT / 2)
            yield Label(left, middle + 4, box, radius > FAR)
