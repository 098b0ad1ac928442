"""Every error that pmodel raises on purpose.

::

    PmodelError
    ├── BadInput (ValueError)          data or an argument is not what was asked for
    │   ├── ShapeError                 … has the wrong shape
    │   ├── RangeError                 … has a value outside its range (NaN and infinity too)
    │   └── DtypeError (TypeError)     … has the wrong type
    ├── DataError (ValueError)         a data set cannot be found, read or trusted
    ├── NotSupported (TypeError)       this model cannot do that; says which models can
    ├── UnknownName (LookupError)      no such model, data set or option; says the nearest ones
    ├── RunError (ValueError)          a run folder is missing, damaged, hostile or in the way
    └── TrainingError (RuntimeError)
        ├── Diverged                   a loss or a statistic stopped being finite
        ├── LostProcess                another process of the run is gone
        └── Stopped                    a signal ended the run; everything is saved

A message has up to three parts: the problem (one sentence), what was got, and a hint that says what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "BadInput",
    "DataError",
    "Diverged",
    "DtypeError",
    "LostProcess",
    "NotSupported",
    "PmodelError",
    "RangeError",
    "RunError",
    "ShapeError",
    "Stopped",
    "TrainingError",
    "UnknownName",
    "require_whole",
    "unknown",
]

MOST = 2**12
"""The largest value of most options: a guard against absurd ones from files and arguments."""


class PmodelError(Exception):
    """The root: ``problem``, and where known ``got`` (the offending value) and ``hint`` (the cure)."""

    def __init__(self, problem: str, *, got: object = None, hint: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.got = None if got is None else shortened(got)
        self.hint = hint

    def __str__(self) -> str:
        lines = [self.problem]
        if self.got is not None:
            lines.append(f"  got:  {self.got}")
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)


class BadInput(PmodelError, ValueError):
    """Data or an argument is not what was asked for."""


class ShapeError(BadInput):
    """A tensor has the wrong shape."""


class RangeError(BadInput):
    """A value lies outside the range that its domain allows."""


class DtypeError(BadInput, TypeError):
    """A value has the wrong type."""


class DataError(PmodelError, ValueError):
    """A data set cannot be found, read or trusted."""


class NotSupported(PmodelError, TypeError, AttributeError):
    """The model lacks the capability that was asked for (and so the method, which ``hasattr`` can tell)."""


class UnknownName(PmodelError, LookupError):
    """A name that is not in the list it should be in."""


class RunError(PmodelError, ValueError):
    """A run folder is missing, damaged, hostile, or would be overwritten."""


class TrainingError(PmodelError, RuntimeError):
    """Training cannot go on."""


class Diverged(TrainingError):
    """A loss, a gradient or a sufficient statistic is not finite."""


class LostProcess(TrainingError):
    """Another process of the run is gone, so that its sums cannot be had.

    Attributes:
        told: Whether another process says so, or why; this one may then be silent.
    """

    told: bool = False


class Stopped(TrainingError):
    """A signal ended the run after a finished step; everything is saved."""


def shortened(value: object, limit: int = 200) -> str:
    """The value as text on one line, cut in the middle when it is long."""
    text = value if isinstance(value, str) else repr(value)
    text = " ".join(text.split())
    if len(text) <= limit:
        return text
    return f"{text[: limit // 2]} … {text[-limit // 4 :]}"


def unknown(what: str, name: str, known: Iterable[str]) -> UnknownName:
    """The error for a name that is not in ``known``, with the nearest names and the whole list."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if near:  # those that are nearly as near as the nearest
        best = difflib.SequenceMatcher(None, name, near[0]).ratio()
        near = difflib.get_close_matches(name, near, n=3, cutoff=best - 0.15)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return UnknownName(f"There is no {what} of that name.", got=name, hint=f"{hint}known: {', '.join(names)}")


def require_whole(name: str, value: object, low: int, high: int = MOST) -> int:
    """The value, if it is a whole number in its range; True and False are none.

    Raises:
        RangeError: if it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise RangeError(f"{name} must be a whole number from {low} to {high}.", got=value)
    return value
