"""The options that ``make`` takes for a model: its own, those of the wrappers around it, and those of a prior of its codes."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from . import catalogue
from .capability import Density, Latent
from .domain import Real
from .errors import BadInput, unknown
from .model import Model, group_of
from .wrappers import Dequantised, WithPrior

__all__ = ["AUTO", "NONE", "PRIOR", "Option", "choices_of", "options_of", "parted", "prior_of", "types_of"]

PRIOR = "prior"
"""The option that names the model of the codes; its own options come after it and a dot."""
AUTO, NONE = "auto", "none"
"""The prior that the model usually has, and the one that it has by itself."""
PRIOR_DOC = (
    "The model that learns the codes once the autoencoder has learned: a name of the catalogue, or none for the p(z) that the "
    "model has by itself. Its own options are written prior.NAME."
)


@final
@dataclass(frozen=True)
class Option:
    """One option.

    Args:
        taker: The class whose it is: the model's, a wrapper's, or the prior's.
        name: Its name there.
        type: As it is declared.
        spelling: The type as it stands in the source.
        default: The value that it has unless it is set.
        doc: What it is, where no docstring of the taker says so.
    """

    taker: type[Model]
    name: str
    type: Any
    spelling: str
    default: Any
    doc: str = ""


def options_of(cls: type[Model]) -> dict[str, inspect.Parameter]:
    """The options of a model class: the keyword-only parameters of its constructor."""
    parameters = inspect.signature(cls.__init__).parameters
    return {name: p for name, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}


def choices_of(cls: type[Model], chosen: Mapping[str, Any]) -> dict[str, Option]:
    """Every option that ``make`` takes for a model.

    Args:
        cls: The model's class.
        chosen: What is set: the options of a prior are those of the one that is named.

    Raises:
        UnknownName: if a prior is named that is no model.
        BadInput: if its name is no word.
    """
    found = _own(cls) | (_own(Dequantised) if Real in cls.natives else {})
    if not issubclass(cls, Latent) or issubclass(cls, Density) or cls.searched:
        return found  # the exact density of a flow, and the samples of what is searched, rest on their own p(z)
    found[PRIOR] = Option(WithPrior, PRIOR, str, "str", AUTO, PRIOR_DOC)
    prior = prior_of(cls, chosen)
    if prior is None:
        return found
    _, within = parted(chosen)
    inner = choices_of(catalogue.find(prior).load(), within)
    return found | _own(WithPrior) | {f"{PRIOR}.{name}": option for name, option in inner.items()}


def types_of(cls: type[Model], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The declared type of every option that ``make`` takes for a model. Arguments and errors are those of ``choices_of``."""
    return {name: option.type for name, option in choices_of(cls, chosen).items()}


def prior_of(cls: type[Model], chosen: Mapping[str, Any]) -> str | None:
    """The name of the model that learns the codes, or None.

    Raises:
        UnknownName: if it is no model that is sampled and scored.
        BadInput: if it is no word.
    """
    usual = cls.usual_prior if issubclass(cls, Latent) else None
    name = chosen.get(PRIOR, AUTO)
    if not isinstance(name, str):
        raise BadInput("A prior is the name of a model, auto or none.", got=name)
    if name in (AUTO, NONE):
        return usual if name == AUTO else None
    known = [row.name for row in catalogue.models() if {"sample", "score"} <= set(row.capabilities)]
    if name not in known:
        raise unknown("prior", name, [*known, AUTO, NONE])
    return name


def parted(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options that are not the prior's, and those that are, under the names that they have there."""
    mark = f"{PRIOR}."
    within = {name.removeprefix(mark): value for name, value in options.items() if name.startswith(mark)}
    return {name: value for name, value in options.items() if not name.startswith(mark)}, within


def _own(cls: type[Model]) -> dict[str, Option]:
    hints = _hints(cls)
    return {
        name: Option(cls, name, hints.get(name, Any), str(p.annotation), p.default)
        for name, p in options_of(cls).items()
    }


def _hints(cls: type[Model]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(type(group_of(cls))) | typing.get_type_hints(cls.__init__)
    except NameError:  # a type that is imported for the type checker only: the model checks its options itself
        return {}
