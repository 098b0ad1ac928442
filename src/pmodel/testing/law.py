"""A law, and the conditions under which a capability implies it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from ..domain import Domain
from ..learning import Batch
from .subject import Subject

__all__ = ["VERBS", "Law", "always", "calls", "can", "learns"]

VERBS = ("sample", "score", "log_prob", "elbo", "energy", "encode", "decode", "complete", "marginalise")


@final
@dataclass(frozen=True)
class Law:
    """A law that models must keep.

    Args:
        run: Raises ``ConformanceError`` if the subject breaks it; its name and first line are the law's.
        when: Whether the law applies to a subject, judged without training it.
        slow: Whether it takes long.
    """

    run: Callable[[Subject], None]
    when: Callable[[Subject], bool]
    slow: bool = False

    @property
    def name(self) -> str:
        """Of the function."""
        return self.run.__name__

    @property
    def line(self) -> str:
        """What the law says."""
        return (self.run.__doc__ or "").strip().splitlines()[0]


def always(subject: Subject) -> bool:
    """For every model."""
    return True


def can(verb: str) -> Callable[[Subject], bool]:
    """For models that have a verb."""
    return lambda subject: bool(subject.blank.can(verb))


def learns(way: str) -> Callable[[Subject], bool]:
    """For models that learn by ``phases``, or from ``statistics``."""
    return lambda subject: way in subject.blank.learns


def calls(model: Any, domain: Domain, data: Batch, seed: int = 0) -> dict[str, Callable[[], Any]]:
    """A call of every verb, whether the model has it or not; each answers with a tensor."""
    x, given = data.x, data.given
    n = len(x)
    mask = halves(domain)

    @functools.cache
    def code() -> Tensor:
        z: Tensor = model.encode(x, given=given).mode if model.can("encode") else torch.zeros(n, 1)
        return z

    return {
        "sample": lambda: model.sample(n, given=given, generator=seed),
        "score": lambda: model.score(x, given=given, generator=seed, effort=2).values,
        "log_prob": lambda: model.log_prob(x, given=given),
        "elbo": lambda: model.elbo(x, given=given, generator=seed, effort=2).values,
        "energy": lambda: model.energy(x, given=given),
        "encode": lambda: model.encode(x, given=given).mean,
        "decode": lambda: model.decode(code(), given=given).mean,
        "complete": lambda: model.complete(x, mask, given=given, generator=seed),
        "marginalise": lambda: model.score(x, given=given, observed=mask, generator=seed, effort=2).values,
    }


def halves(domain: Domain) -> Tensor:
    """A mask of one datum: the first half of the entries is observed, or none of a single one."""
    mask = torch.zeros(domain.entries, dtype=torch.bool)
    mask[: domain.entries // 2] = True
    return mask.reshape(domain.shape)
