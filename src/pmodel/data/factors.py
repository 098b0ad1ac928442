"""The factors that drawn data are drawn from: what they can be, how they are drawn, and how they are changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import final

import torch
from torch import Generator, Tensor

from ..errors import DtypeError, RangeError, ShapeError, unknown

__all__ = ["Factor", "changed", "drawn", "even", "named_values"]


@final
@dataclass(frozen=True)
class Factor:
    """Something that a picture is drawn from.

    Args:
        values: The names of its values, or none if it is numeric.
        shares: How often each value occurs; they add up to 1.
        low: The least value of a numeric factor, which is uniform.
        high: Its largest.
    """

    values: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()
    low: float = 0.0
    high: float = 1.0

    @property
    def words(self) -> str:
        """Its numbers, in words."""
        if self.values:
            return f"a whole number from 0 to {len(self.values) - 1}"
        return f"a number from {self.low:g} to {self.high:g}"

    def draw(self, n: int, generator: Generator) -> Tensor:
        """``(n,)`` float64: positions in ``values``, or numbers."""
        u = torch.rand(n, generator=generator, dtype=torch.float64)
        if not self.values:
            return self.low + (self.high - self.low) * u
        ends = torch.tensor(self.shares, dtype=torch.float64).cumsum(0)[:-1]
        return torch.searchsorted(ends, u, right=True).double()

    def holds(self, x: Tensor) -> Tensor:
        """Where a number is a value of this factor."""
        if self.values:
            return (x >= 0) & (x < len(self.values)) & (x == x.round())
        return (x >= self.low) & (x <= self.high)


def even(values: Iterable[str]) -> Factor:
    """A factor of equally likely values."""
    names = tuple(values)
    return Factor(names, (1 / len(names),) * len(names))


def named_values(known: Mapping[str, Factor]) -> dict[str, tuple[str, ...]]:
    """The names of the values of those factors that have such."""
    return {name: factor.values for name, factor in known.items() if factor.values}


def drawn(known: Mapping[str, Factor], n: int, generator: Callable[[str], Generator]) -> Tensor:
    """Independent draws of all factors, float64 ``(n, factors)``, each by the generator of its name."""
    return torch.stack([factor.draw(n, generator(name)) for name, factor in known.items()], 1)


def changed(
    factors: object, known: Mapping[str, Factor], changes: Mapping[str, str | float], *, of: str, one: str
) -> Tensor:
    """A copy of the factors with some of them otherwise in all data.

    Args:
        factors: float64 ``(N, factors)``, columns as in ``known``.
        known: The factors by name.
        changes: The names of those that change, and their values.
        of: What has the factors, such as ``faces``.
        one: One of it, such as ``a face``.

    Raises:
        ShapeError: if there is not a column for each factor.
        UnknownName: if there is no such factor to change, or no such value.
        DtypeError: if the factors are no tensor, or a change is neither a number nor, where values have names, a name.
        RangeError: if a number lies outside its factor; the message says which.
    """
    if not isinstance(factors, Tensor):
        raise DtypeError(f"The factors of {of} are a tensor.", got=type(factors).__name__)
    wanted = len(known)
    if factors.ndim != 2 or factors.shape[1] != wanted:
        raise ShapeError(
            f"{of.capitalize()} have {wanted} factors.", got=tuple(factors.shape), hint=f"pass (N, {wanted})"
        )
    table = factors.detach().double().clone()
    for name, value in changes.items():
        if name not in known:
            raise unknown(f"factor of {of}", name, known)
        table[:, list(known).index(name)] = _number(name, known[name], value, one)
    for column, (name, factor) in zip(table.T, known.items(), strict=True):
        if not bool((right := factor.holds(column)).all()):
            raise RangeError(f"The factor {name} of {one} is {factor.words}.", got=float(column[~right][0]))
    return table


def _number(name: str, factor: Factor, value: object, one: str) -> float:
    if isinstance(value, str) and factor.values:
        if value not in factor.values:
            raise unknown(f"value of {name}", value, factor.values)
        return float(factor.values.index(value))
    if isinstance(value, bool) or not isinstance(value, Real):
        names = f"; or one of {', '.join(factor.values)}" if factor.values else ""
        raise DtypeError(f"The factor {name} of {one} is {factor.words}{names}.", got=repr(value))
    return float(value)
