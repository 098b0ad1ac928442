"""Which remedies a model can take: those whose options it has."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Self, final

from ...wrappers import ByClass, WithPrior
from ...wrappers.volume import Wrapper

__all__ = ["Patient", "remedy"]

OPTION = re.compile(r"--set (\w+)=")
"""An option of the model in a remedy. Those of the training, ``train.rate``, are every model's and do not match."""


@final
@dataclass(frozen=True)
class Patient:
    """What a verdict must know of the model, so as to advise what can be done to it.

    Args:
        options: The names of its options.
        drawn: Whether codes are drawn from a posterior, and not the values of a map: only then does a KL weigh on them.
    """

    options: frozenset[str]
    drawn: bool = True

    @classmethod
    def of(cls, model: Any) -> Self:
        """The model that has the code and the chains, whatever is wrapped around it."""
        inner = model
        while isinstance(inner, WithPrior | Wrapper | ByClass):
            if isinstance(inner, ByClass):
                inner = inner.models[0]
            else:
                inner = inner.autoencoder if isinstance(inner, WithPrior) else inner.model
        return cls(frozenset(inner.options), not getattr(model, "deterministic", False))

    @property
    def silence(self) -> str:
        """The name of a code that says nothing."""
        return "posterior collapse" if self.drawn else "silent code"


def remedy(ways: Collection[str], options: Collection[str]) -> str:
    """Those of the ways that name no option that the model lacks, in one sentence."""
    possible = [way for way in ways if set(OPTION.findall(way)) <= set(options)]
    return f"{', '.join(possible[:-1])}, or {possible[-1]}" if len(possible) > 1 else "".join(possible)
