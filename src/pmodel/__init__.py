"""pmodel learns p_model ≈ p_data with every family of generative model, behind one interface.

>>> import pmodel
>>> data = pmodel.load_data("digits")
>>> model = pmodel.fit("mixture", data)
>>> model.sample(16, generator=0).shape
torch.Size([16, 1, 8, 8])

Importing pmodel imports nothing heavy: each name is fetched when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .catalogue import models as models
    from .comparison import compare as compare
    from .construction import make as make
    from .data import Dataset as Dataset
    from .data import load_data as load_data
    from .domain import Column as Column
    from .domain import Discrete as Discrete
    from .domain import Real as Real
    from .domain import Sequences as Sequences
    from .domain import Table as Table
    from .evaluation import evaluate as evaluate
    from .storage import load as load
    from .storage import save as save
    from .train import fit as fit
    from .train import replay as replay

__version__ = "0.1.0"

_HOMES = {
    "Column": "domain",
    "Dataset": "data",
    "Discrete": "domain",
    "Real": "domain",
    "Sequences": "domain",
    "Table": "domain",
    "compare": "comparison",
    "evaluate": "evaluation",
    "fit": "train",
    "load": "storage",
    "load_data": "data",
    "make": "construction",
    "models": "catalogue",
    "replay": "train",
    "save": "storage",
}

__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module 'pmodel' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
