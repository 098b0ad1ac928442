"""What a number was measured on. Numbers of different measures never stand in one column and are never compared."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, final

import torch
from torch import Tensor

from ..errors import BadInput
from ..randomness import generator, some

__all__ = ["Measure", "choose", "named", "same_measure"]


@final
@dataclass(frozen=True, kw_only=True)
class Measure:
    """The identity of a measurement: two numbers are comparable if and only if their measures are equal.

    Args:
        data: Content hash of the data set.
        split: Which part of it: ``train``, ``valid`` or ``test``.
        which: ``all`` data of the split, or the hash of the chosen indices.
        probability: What a likelihood is there: ``mass``, ``density`` (in original units) or ``mixed``; empty for a distance.
        extractor: Name and hash of what made the features of a distance; empty for a likelihood.
        n: How many samples a distance was computed from (its bias depends on it); 0 for a likelihood.
    """

    data: str
    split: str
    which: str = "all"
    probability: Literal["mass", "density", "mixed", ""] = ""
    extractor: str = ""
    n: int = 0

    def to_json(self) -> dict[str, Any]:
        """The fields that apply."""
        return {name: value for name, value in asdict(self).items() if value not in ("", 0)}

    def of(self, extractor: str, n: int) -> Measure:
        """The measure of a distance on the same data."""
        return replace(self, probability="", extractor=extractor, n=n)


def same_measure(measures: Sequence[Measure]) -> Measure:
    """The one measure that all share.

    Raises:
        BadInput: if two differ; it names the first field that does, with both values.
    """
    first, *others = measures
    for other in others:
        mine, theirs = asdict(first), asdict(other)
        for name in mine:
            if mine[name] != theirs[name]:
                raise BadInput(
                    f"These numbers have different measures and cannot be compared: their {name} differs.",
                    got=f"{mine[name]!r} and {theirs[name]!r}",
                    hint="score all models on the same data, split and selection",
                )
    return first


def choose(total: int, n: int, seed: int, purpose: str) -> Tensor:
    """``n`` of ``total`` indices at random, ascending; all of them if there are no more."""
    if n >= total:
        return torch.arange(total)
    return some(total, n, generator(seed, "choose", purpose)).sort().values


def named(indices: Tensor, total: int) -> str:
    """What a choice of indices is called in a measure: ``all``, or how many and the hash of which."""
    if len(indices) == total:
        return "all"
    digest = hashlib.sha256(indices.sort().values.numpy().astype("<i8").tobytes()).hexdigest()
    return f"{len(indices)} of {total}, sha256:{digest[:16]}"
