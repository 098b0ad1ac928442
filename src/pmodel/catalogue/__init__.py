"""The catalogue: one literal row for each model, shelf by shelf. Reading it imports nothing heavy.

Names are resolved here and nowhere else: a run folder can name a model of this table, a wrapper, or a model that an
installed package offers under the entry-point group ``pmodel.models``, and nothing more. Such an entry point is a function
without arguments that returns a ``Row``.
"""

from __future__ import annotations

import importlib.metadata
from functools import cache
from typing import TYPE_CHECKING

from ..errors import unknown
from .approximate import MODELS as APPROXIMATE
from .implicit import MODELS as IMPLICIT
from .row import Row, imported
from .tractable import MODELS as TRACTABLE

if TYPE_CHECKING:
    from ..model import Model

__all__ = ["MODELS", "WRAPPERS", "Row", "able", "find", "models", "resolve"]


MODELS: tuple[Row, ...] = (*TRACTABLE, *APPROXIMATE, *IMPLICIT)

WRAPPERS: dict[str, str] = {
    "Standardised": "pmodel.wrappers:Standardised",
    "Dequantised": "pmodel.wrappers:Dequantised",
    "ByClass": "pmodel.wrappers:ByClass",
    "WithPrior": "pmodel.wrappers:WithPrior",
}


@cache
def models() -> tuple[Row, ...]:
    """All rows: those of this table, then those of installed packages."""
    found = [point.load()() for point in importlib.metadata.entry_points(group="pmodel.models")]
    return (*MODELS, *(row for row in found if isinstance(row, Row)))


def find(name: str) -> Row:
    """The row of a name.

    Raises:
        UnknownName: with the nearest names and all of them.
    """
    for row in models():
        if row.name == name:
            return row
    raise unknown("model", name, [row.name for row in models()])


def able(verb: str) -> list[str]:
    """The names of the models that have a verb."""
    return [row.name for row in models() if verb in row.capabilities]


def resolve(name: str) -> type[Model]:
    """The class behind a class name in a run folder.

    Raises:
        UnknownName: if it is neither a wrapper nor a model of the catalogue.
    """
    targets = WRAPPERS | {row.target.partition(":")[2]: row.target for row in models()}
    if name not in targets:
        raise unknown("model class", name, targets)
    return imported(targets[name])
