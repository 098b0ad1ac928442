"""Numbers as people read them: as many digits as the error allows, and thin spaces between thousands."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["KINDS", "count", "duration", "likelihood", "metric", "number", "place", "share"]

KINDS = {"exact": "=", "lower_bound": "≥", "estimate": "≈"}
"""How a likelihood stands to the true one."""
COST_KINDS = {"exact": "=", "lower_bound": "≤", "estimate": "≈"}
"""How a cost does: below a likelihood's lower bound lies nothing, above a cost's nothing either."""


def number(value: float, stderr: float | None = None) -> str:
    """The value to two digits of its error, or to four digits; with a real minus sign."""
    if not math.isfinite(value):
        return "∞" if value > 0 else "−∞" if value < 0 else "–"
    if stderr is not None and stderr > 0 and math.isfinite(stderr):
        digits = max(0, min(6, 1 - math.floor(math.log10(stderr))))
    else:
        digits = max(0, min(6, 3 - math.floor(math.log10(abs(value))))) if value else 0
    return f"{value:,.{digits}f}".replace("-", "−").replace(",", "\N{THIN SPACE}")


def _with_error(value: float, stderr: float | None) -> str:
    return (
        number(value)
        if not stderr or stderr < 1e-9 * abs(value)
        else f"{number(value, stderr)} ± {number(stderr, stderr)}"
    )


def likelihood(written: Mapping[str, Any] | None) -> str:
    """A likelihood or cost with its sign: ``≥ −89.1 ± 0.4``."""
    if written is None:
        return "none"
    if written["impossible"]:
        return f"impossible: {count(written['impossible'])} of {count(written['n'])}"
    kinds = COST_KINDS if written["unit"] == "bits/dim" else KINDS
    return f"{kinds[written['kind']]} {_with_error(written['value'], written['stderr'])}"


def metric(written: Mapping[str, Any] | None) -> str:
    """A metric with its error."""
    return "–" if written is None else _with_error(written["value"], written["stderr"])


def share(value: float | None) -> str:
    """A part of one as per cent."""
    return "–" if value is None else f"{100 * value:.1f}\N{NARROW NO-BREAK SPACE}%"


def count(value: float | None) -> str:
    """A whole number with thin spaces."""
    return "–" if value is None else f"{value:,.0f}".replace(",", "\N{THIN SPACE}")


def duration(seconds: float | None) -> str:
    """Seconds in the unit that suits them."""
    if seconds is None:
        return "–"
    for unit, size in (("h", 3600), ("min", 60), ("s", 1)):
        if seconds >= size * (2 if unit != "s" else 1):
            return f"{seconds / size:.1f} {unit}"
    return f"{1000 * seconds:.0f} ms" if seconds >= 0.001 else "< 1 ms"


def place(found: Mapping[str, int] | None, of: int) -> str:
    """A place, or the places between which nothing is decided."""
    if found is None or of < 2:
        return ""
    best, worst = found["best"], found["worst"]
    return f"{best} of {of}" if best == worst else f"undecided: {best} to {worst} of {of}"
