"""What a conformance check is: a law, the model and case it is applied to, and the error of breaking it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from ..errors import PmodelError

__all__ = ["Check", "ConformanceError", "require"]


class ConformanceError(PmodelError, AssertionError):
    """A model breaks a law that its capabilities imply."""


@final
@dataclass(frozen=True, eq=False)
class Check:
    """One law for one model in one case; calling it returns nothing or raises.

    Args:
        law: The law's name, such as ``samples_follow_the_density``.
        case: The domain and condition it is tried on, such as ``plane`` or ``die, given a label``.
        line: What the law says, in a line.
        run: Applies it; raises ``ConformanceError`` if it is broken, or whatever the model raised.
        dequantised: Whether the model sees the case through a wrapper that adds noise, as it does all discrete data.
    """

    law: str
    case: str
    line: str
    run: Callable[[], None]
    dequantised: bool = False

    @property
    def name(self) -> str:
        """Law and case."""
        return f"{self.law}[{self.case}]"

    def __call__(self) -> None:
        """Apply the law.

        Raises:
            ConformanceError: if the model breaks it.
        """
        self.run()


def require(holds: object, problem: str, *, got: object = None, hint: str = "") -> None:
    """Raise ``ConformanceError`` with a sentence unless the condition holds."""
    if not holds:
        raise ConformanceError(problem, got=got, hint=hint)
