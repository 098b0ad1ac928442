"""Numbers as people read them: as many digits as the error allows, and thin spaces between thousands."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

__all__ = [
    "KINDS",
    "TINY",
    "count",
    "duration",
    "fixed",
    "likelihood",
    "metric",
    "number",
    "place",
    "rate",
    "share",
    "size",
]

KINDS = {"exact": "=", "lower_bound": "≥", "estimate": "≈"}
"""How a likelihood stands to the true one."""
COST_KINDS = {"exact": "=", "lower_bound": "≤", "estimate": "≈"}
"""How a cost does: below a likelihood's lower bound lies nothing, above a cost's nothing either."""
TINY = 1e-4
"""Below this, numbers are written with a power of ten."""
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float, stderr: float | None = None) -> str:
    """The value to two digits of its error, or to four digits; with a real minus sign."""
    if not math.isfinite(value):
        return "∞" if value > 0 else "−∞" if value < 0 else "–"
    error = stderr if stderr is not None and stderr > 0 and math.isfinite(stderr) else 0.0
    if 0 < max(abs(value), error) < TINY:
        power = _power(max(abs(value), error))
        return f"{number(value / 10**power, error / 10**power)} × 10{_raised(power)}"
    digits = max(0, min(6, 1 - _power(error) if error else 3 - _power(value) if value else 0))
    return fixed(value, digits)


def fixed(value: float, decimals: int) -> str:
    """The value with so many decimals."""
    text = f"{value:,.{decimals}f}"
    if not text.strip("-0."):  # no digit is left of it, and so no sign
        text = text.lstrip("-")
    return text.replace("-", "−").replace(",", "\N{THIN SPACE}")


def _power(value: float) -> int:
    return math.floor(math.log10(abs(value)))


def _raised(power: int) -> str:
    return str(power).translate(RAISED)


def _with_error(value: float, stderr: float | None) -> str:
    if not stderr or stderr < 1e-9 * abs(value):
        return number(value)
    if max(abs(value), stderr) < TINY:
        power = _power(max(abs(value), stderr))
        return f"({_with_error(value / 10**power, stderr / 10**power)}) × 10{_raised(power)}"
    return f"{number(value, stderr)} ± {number(stderr, stderr)}"


def likelihood(written: Mapping[str, Any] | None) -> str:
    """A likelihood or cost with its sign: ``≥ −89.1 ± 0.4``."""
    if written is None:
        return "none"
    if written["impossible"]:
        return f"impossible: {count(written['impossible'])} of {count(written['n'])}"
    kinds = COST_KINDS if written["unit"].startswith("bits/") else KINDS
    return f"{kinds[written['kind']]} {_with_error(written['value'], written['stderr'])}"


def metric(written: Mapping[str, Any] | None, *, shares: bool = False) -> str:
    """A metric with its error.

    Args:
        written: The metric as an evaluation holds it.
        shares: Whether it is a part of one, to be written as per cent.
    """
    if written is None or written.get("value") is None:
        return "–"
    return (
        share(written["value"], written.get("stderr"))
        if shares
        else _with_error(written["value"], written.get("stderr"))
    )


def share(value: float | None, stderr: float | None = None) -> str:
    """A part of one as per cent, to a tenth or as finely as its error allows, with its error if there is one."""
    if value is None:
        return "–"
    percent = 100 * (stderr or 0)
    decimals = 1 if percent == 0 or percent >= 0.1 else min(4, -_power(percent))
    error = f" ± {fixed(percent, decimals)}" if percent else ""
    return f"{fixed(100 * value, decimals)}{error}\N{NARROW NO-BREAK SPACE}%"


def count(value: float | None) -> str:
    """A whole number with thin spaces."""
    return "–" if value is None else f"{value:,.0f}".replace(",", "\N{THIN SPACE}")


def rate(value: float) -> str:
    """How many a second, to two digits: speeds vary more than that."""
    rounded = float(f"{value:.2g}")
    return count(rounded) if rounded >= 10 else number(value)


def size(bytes_: float | None) -> str:
    """Bytes in the unit that suits them."""
    if bytes_ is None:
        return "–"
    for unit, one in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if bytes_ >= one:
            return f"{bytes_ / one:.1f} {unit}"
    return f"{bytes_:.0f} B"


def duration(seconds: float | None) -> str:
    """Seconds in the unit that suits them."""
    if seconds is None:
        return "–"
    for unit, one in (("h", 3600), ("min", 60), ("s", 1)):
        if seconds >= one * (2 if unit != "s" else 1):
            return f"{seconds / one:.1f} {unit}"
    return f"{1000 * seconds:.0f} ms" if seconds >= 0.001 else "< 1 ms"


def place(found: Mapping[str, int] | None, of: int) -> str:
    """A place, or the places between which it is undecided: ``place 2–4 of 5``."""
    if found is None or of < 2:
        return ""
    best, worst = found["best"], found["worst"]
    return f"place {best} of {of}" if best == worst else f"place {best}–{worst} of {of}"
