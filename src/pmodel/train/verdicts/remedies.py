"""Which remedies a model can take: those whose options it has, and does not follow already."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Self, final

from ...model import Model

__all__ = ["Patient", "remedy"]

OPTION = re.compile(r"--set (\w+)=([a-z]*)")
"""An option of the model in a remedy, and its value if that is a word. Those of the training, ``train.rate``, are every model's
and do not match."""


@final
@dataclass(frozen=True)
class Patient:
    """What a verdict must know of the model, so as to advise what can be done to it.

    Args:
        options: Its options.
        variational: Whether codes are drawn from a posterior that is learned under a bound: only then does a KL weigh on them.
            The values of a map have none, nor has the exact posterior of a Boltzmann machine.
    """

    options: Mapping[str, Any]
    variational: bool = True

    @classmethod
    def of(cls, model: Model) -> Self:
        """The model that has the code and the chains, whatever is wrapped around it."""
        inner = model.nested[-1]
        variational = inner.can("elbo") and not getattr(inner, "deterministic", False)
        return cls(inner.options, variational)

    @property
    def silence(self) -> str:
        """The name of a code that says nothing."""
        return "posterior collapse" if self.variational else "silent code"


def remedy(ways: Collection[str], options: Mapping[str, Any]) -> str:
    """Those of the ways that name no option that the model lacks, and no word that it has there already, in one sentence."""
    possible = [way for way in ways if all(_new(options, *named) for named in OPTION.findall(way))]
    return f"{', '.join(possible[:-1])}, or {possible[-1]}" if len(possible) > 1 else "".join(possible)


def _new(options: Mapping[str, Any], name: str, value: str) -> bool:
    return name in options and str(options[name]) != value
