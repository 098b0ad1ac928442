"""Two unpaired sets: pictures of one kind and pictures of another, in which none is paired with one of the other.

``unpaired(a, b)`` is the data set ``b`` that remembers ``a`` as its ``origin``: a model that translates learns p(b | a) from
the two, with a permutation for each set and one count of steps for both. The hash is that of both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Generator, Tensor

from ..domain import Domain
from ..errors import BadInput, DataError
from .dataset import Dataset
from .loading import load_data

__all__ = ["condition", "conditions", "described", "load_described", "require_one_set", "unpaired"]


def unpaired(a: Dataset, b: Dataset) -> Dataset:
    """Data to translate: from ``a`` to ``b``.

    Args:
        a: What models are given.
        b: What they answer with.

    Raises:
        BadInput: if one of them is two sets already.
    """
    for data in (a, b):
        require_one_set(data, "A side of a translation")
    return replace(b, name=f"{a.name} to {b.name}", origin=a)


def require_one_set(data: Dataset, who: str) -> None:
    """Refuse two sets where one is wanted.

    Raises:
        BadInput: if the data are two.
    """
    if data.origin is not None:
        raise BadInput(f"{who} is one set of data.", got=f"two: {data.name}", hint="leave the second out")


def condition(data: Dataset, *, labels: bool) -> Domain | None:
    """The domain of what a model of these data is told: a datum of the other set, where there are two.

    Args:
        data: The data.
        labels: Whether it is to be told their labels.

    Raises:
        BadInput: if there are no labels, or there is another set already.
    """
    if not labels:
        return None if data.origin is None else data.origin.domain
    if data.origin is not None:
        raise BadInput(f"{data.name}: the condition is the first set.", got="labels", hint="leave out conditional=true")
    if data.given is None:
        raise BadInput(f"{data.name} has no labels to condition on.", hint="leave out conditional=true")
    return data.given


def conditions(data: Dataset, n: int, split: str, generator: Generator) -> Tensor | None:
    """Data of the other set, ``(n, *shape)``, to sample by, each as often as the others; None where there is one set alone.

    Args:
        data: The data.
        n: How many.
        split: Of the other set.
        generator: Of their order.
    """
    if data.origin is None:
        return None
    x = data.origin.split(split).x
    rounds = [torch.randperm(len(x), generator=generator) for _ in range(-(-n // len(x)))]
    rows = torch.cat(rounds)[:n] if rounds else torch.zeros(0, dtype=torch.int64)
    return data.origin.domain.unpacked(x[rows])


def described(data: Dataset) -> dict[str, Any]:
    """Where data came from and what they were, as a run records it."""
    origin = {} if data.origin is None else {"origin": described(data.origin)}
    return {
        "name": data.name,
        "source": data.source,
        "options": dict(data.options),
        "hash": data.hash,
        "n": len(data.train),
        "note": data.note,
        "labels": list(data.label_names),
        **origin,
    }


def load_described(known: Mapping[str, Any]) -> Dataset:
    """The data that ``described`` told of, loaded again; whether their content is still the same, their hash tells.

    Raises:
        DataError: if they were in memory, or cannot be read.
        UnknownName: if they are not there any more.
    """
    source, options, origin = (known.get(name) for name in ("source", "options", "origin"))
    if not isinstance(source, str) or not source:
        raise DataError("These data were in memory.", got=known.get("name"), hint="pass them again")
    data = load_data(source, **(options if isinstance(options, dict) else {}))
    return unpaired(load_described(origin), data) if isinstance(origin, dict) else data
