"""Axes of charts: where values lie, and which round ones are named."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

from .labels import width
from .numbers import TINY, fixed, number

__all__ = ["Scale", "amounts", "plain", "times"]

LOG_FROM = 30.0
"""A scale is logarithmic where its greatest value is so many times its least."""
FLAT = 1e-12
"""Values that differ by no more than this part of them are one value, but for rounding."""
TICKS = 5
TIMES = (*(10.0**k for k in range(-6, 2)), 60.0, 600.0, 3600.0, 36e3, 36e4, 36e5)
"""Round times, in seconds, about a decade apart."""


def plain(value: float) -> str:
    """A round number, without zeros at its end."""
    text = number(float(f"{value:.10g}"))
    return text.rstrip("0").rstrip(".") if "." in text and "×" not in text else text


def amounts(value: float) -> str:
    """A round number of things, thousands as k and millions as M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}\N{THIN SPACE}{unit}"
    return f"{value:g}"


def times(seconds: float) -> str:
    """A round time."""
    for size, unit in ((3600, "h"), (60, "min"), (1, "s")):
        if seconds >= size and float(f"{seconds / size:.6g}") == round(seconds / size, 1):
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s" if seconds >= 1 or not seconds else f"{1000 * seconds:g} ms"


@final
@dataclass(frozen=True)
class Scale:
    """Where values lie on a picture.

    Args:
        low: The least value.
        high: The greatest one, above it.
        start: Where the least one lies.
        end: Where the greatest one lies.
        log: Whether equal factors are equally far apart; then ``low`` is positive.
        name: How a tick is written.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False
    name: Callable[[float], str] = plain

    @classmethod
    def of(
        cls,
        values: Sequence[float],
        start: float,
        end: float,
        name: Callable[[float], str] = plain,
        *,
        log: bool | None = None,
    ) -> Scale:
        """The scale that holds all values, with a margin; logarithmic if they are far apart, unless told."""
        low, high = min(values), max(values)
        if log is None:
            log = low > 0 and high / low > LOG_FROM
        if log:
            margin = (high / low) ** 0.08 if high > low else 2.0
            return cls(low / margin, high * margin, start, end, True, name)
        spread = high - low if high - low > FLAT * max(abs(low), abs(high)) else 0.0
        margin = 0.08 * spread or 0.5 * abs(high) or 0.5
        floor = 0.0 if low >= 0 and low < margin else low - margin
        return cls(floor, high + margin, start, end, False, name)

    def __call__(self, value: float) -> float:
        """The place of a value; one beyond an end lies at the end."""
        low, high, value = (math.log(max(v, self.low)) if self.log else v for v in (self.low, self.high, value))
        part = min(max((value - low) / (high - low), 0.0), 1.0)
        return self.start + part * (self.end - self.start)

    def ticks(self) -> list[tuple[float, str]]:
        """Places and names of round values, at most seven."""
        inside = [v for v in self._round() if self.low <= v <= self.high]
        while len(inside) > TICKS + 2:
            inside = inside[::2]
        return [(self(v), name) for v, name in zip(inside, self._names(inside), strict=True)]

    def apart(self, right: float) -> list[tuple[float, str]]:
        """The ticks of a horizontal scale; a name that would lie on the one before it, or beyond ``right``, is empty."""
        found, edge = [], 0.0
        for at, name in self.ticks():
            half = width(name) / 2
            fits = at - half > edge and at + half < right
            edge = at + half if fits else edge
            found.append((at, name if fits else ""))
        return found

    def _names(self, values: Sequence[float]) -> list[str]:
        """Plain numbers get as many decimals as their step has, so that no two are called the same."""
        if self.name is not plain or self.log or len(values) < 2 or max(map(abs, values)) < TINY:
            return [self.name(v) for v in values]
        decimals = max(0, -math.floor(math.log10(values[1] - values[0]) + 1e-9))
        return [fixed(v, decimals) for v in values]

    def _round(self) -> list[float]:
        if not self.log:
            step = _step((self.high - self.low) / TICKS)
            return [k * step for k in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        tens = list(TIMES) if self.name is times else [10.0**k for k in decades]
        if sum(self.low <= v <= self.high for v in tens) >= 3:
            return tens
        return sorted({factor * 10.0**k for k in decades for factor in (1, 2, 5)})


def _step(least: float) -> float:
    """The next of 1, 2, 5, 10 … times a power of ten."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))
