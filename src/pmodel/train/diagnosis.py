"""What the doctor says of a model: a name for programs, a sentence with the figures, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, final

__all__ = ["REMEDY", "USELESS", "Diagnosis"]

USELESS = ", of no use as it is"
"""What follows the name of a fatal verdict."""
REMEDY = " Remedy: "
"""What stands before the remedy."""


@final
@dataclass(frozen=True)
class Diagnosis:
    """One verdict on a model in training.

    Args:
        name: Of the failure, in the field's words: the same for every model and every run.
        words: One sentence: what was seen, with its figures.
        remedy: What to try, most promising first.
        fatal: Whether the model is of no use as it is.
    """

    name: str
    words: str
    remedy: str
    fatal: bool = False

    def __str__(self) -> str:
        return f"{self.name}{USELESS if self.fatal else ''}: {self.words}{REMEDY}{self.remedy}"

    def to_json(self) -> dict[str, Any]:
        """The verdict as JSON, for ``run.json`` and the log."""
        return asdict(self)

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> Diagnosis:
        """The verdict that ``to_json`` wrote; whatever a file holds is turned into text, and nothing else is trusted."""
        name, words, remedy = (str(written.get(field, "")) for field in ("name", "words", "remedy"))
        return cls(name, words, remedy, written.get("fatal") is True)
