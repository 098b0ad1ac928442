"""A row of the catalogue."""

from __future__ import annotations

import importlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, final

if TYPE_CHECKING:
    from ..model import Model

__all__ = ["Row", "imported"]


@final
@dataclass(frozen=True, kw_only=True)
class Row:
    """What is known of a model without importing it.

    Args:
        name: Its name on the command line.
        target: ``"module:Class"``.
        family: Its place in the taxonomy.
        density: What its likelihood is on its native domain; an ``estimate`` may be exact, with a log-probability, in instances
            that are small enough.
        capabilities: Its verbs at any size.
        domains: The kinds of data it takes by itself; wrappers add others.
        year: Of the paper.
        paper: Where it is described.
        line: What it is, in a line.
    """

    name: str
    target: str
    family: str
    density: Literal["exact", "lower_bound", "estimate", "none"]
    capabilities: tuple[str, ...]
    domains: tuple[str, ...]
    year: int
    paper: str
    line: str

    def to_json(self) -> dict[str, Any]:
        """The row as JSON."""
        return asdict(self)

    def load(self) -> type[Model]:
        """Import the class."""
        return imported(self.target)


def imported(target: str) -> type[Model]:
    """The class that ``"module:Class"`` names."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]
