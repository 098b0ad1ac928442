"""The cases that models are tried on: small domains, with and without a label, and data with structure to learn.

They are few and cover pairs of properties (discrete or real, one entry or many, vector, image or sequence, labelled or not,
complete or with missing values), because errors sit in single properties and in pairs of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Generator, Tensor

from ..domain import Column, Discrete, Domain, Real, Sequences, Table
from ..learning import Batch

__all__ = ["CASES", "FREQUENCIES", "Case", "toy"]

LABEL = Discrete((), levels=3)
FREQUENCIES = (0.5, 0.3, 0.2)
"""How often each label occurs in the toy data: unequal, so that a marginal with equal weights is found out."""
MISSING = 0.2
"""The part of the values that is missing in a column that declares it."""


@final
@dataclass(frozen=True)
class Case:
    """A domain, and a condition or none.

    Args:
        name: What reports call it.
        domain: What one datum is.
        given: The domain of the label or, of a model that translates, of the other set; or None.
        bare: Without wrappers, on data whose scale is neither one nor far from it: a variance taken for a standard deviation
            goes unseen at scale one, and what a wrapper checks the model itself need not.
    """

    name: str
    domain: Domain
    given: Domain | None = None
    bare: bool = False


_REAL = Column("length")
_ROUNDED = Column("height", "stepped", step=0.5)
_CATEGORY = Column("colour", "category", categories=("red", "green", "blue"))
_GAPPY = Column("weight", missing=True)

CASES: tuple[Case, ...] = (
    Case("die", Discrete((1,), 6)),
    Case("die, given a label", Discrete((1,), 6), LABEL),
    Case("bits", Discrete((2,), 2)),
    Case("bits, given a label", Discrete((2,), 2), LABEL),
    Case("2x2 levels", Discrete((1, 2, 2), 4)),
    Case("2x1 colours, given a label", Discrete((3, 2, 1), 3), LABEL),
    Case("4x4 bits", Discrete((1, 4, 4), 2)),
    Case("4x4 levels, given a label", Discrete((1, 4, 4), 17), LABEL),
    Case("4x4 colours", Discrete((3, 4, 4), 8)),
    Case("8x8 levels", Discrete((1, 8, 8), 17)),
    Case("8x8 bits, given a label", Discrete((1, 8, 8), 2), LABEL),
    Case("line", Real((1,))),
    Case("plane", Real((2,))),
    Case("plane, given a label", Real((2,)), LABEL),
    Case("plane, without wrappers", Real((2,)), bare=True),
    Case("rounded", Table((_ROUNDED,))),
    Case("real and category", Table((_REAL, _CATEGORY))),
    Case("mixed table", Table((_REAL, _ROUNDED, _CATEGORY, _GAPPY))),
    Case("mixed table, given a label", Table((_GAPPY, _CATEGORY)), LABEL),
    Case("words", Sequences(Discrete((), 3), 4)),
    Case("words, given a label", Sequences(Discrete((), 3), 4), LABEL),
    Case("text", Sequences(Discrete((), 3), 4, ends=True)),
    Case("curves", Sequences(Real((1,)), 2)),
    Case("curves with gaps", Sequences(Real((2,)), 5, missing=True)),
)


def toy(case: Case, n: int, generator: Generator, *, complete: bool = False) -> Batch:
    """Data with structure: correlated, skewed, in units far from standard, and different for each label.

    A hidden normal factor and a label shift every entry; the result is squashed into the domain. Data of another set that
    stand for conditions are unpaired with them.

    Args:
        case: Whose data.
        n: How many.
        generator: Of the draws.
        complete: Leave no value missing, even where the domain allows it.
    """
    domain, given = case.domain, case.given
    entries = torch.arange(domain.entries, dtype=torch.float64)
    labels, conditions = None, None
    t = 0.6 * torch.randn(n, 1, generator=generator, dtype=torch.float64) + 0.5 * (entries % 3 - 1)
    t = t + 0.8 * torch.randn(n, domain.entries, generator=generator, dtype=torch.float64)
    if given is not None and not given.label:
        conditions = toy(Case(case.name, given), n, generator, complete=True).x
    if isinstance(given, Discrete) and given.label:
        weights = torch.tensor(FREQUENCIES[: given.levels]) if given.levels <= 3 else torch.ones(given.levels)
        labels = torch.multinomial(weights, n, replacement=True, generator=generator)
        t = t + 1.5 * (labels.unsqueeze(1) - (given.levels - 1) / 2) * (1 - 2 * (entries % 2))
    x = (0.5 + 2 * t if case.bare else _squashed(t, domain)).reshape(n, *domain.shape)
    if isinstance(domain, Sequences):
        x = domain.cut(x, _lengths(domain, n, labels, generator))
        if domain.missing and not complete:
            x[(torch.rand(x.shape, generator=generator) < MISSING) & x.isfinite()] = torch.nan
    if isinstance(domain, Table) and not complete:
        gaps = torch.tensor([MISSING if column.missing else 0.0 for column in domain.columns])
        x[torch.rand(x.shape, generator=generator) < gaps] = torch.nan
    observed = ~x.isnan()
    return Batch(
        domain.check(x), labels if conditions is None else conditions, None if bool(observed.all()) else observed
    )


def _lengths(domain: Sequences, n: int, labels: Tensor | None, generator: Generator) -> Tensor:
    """Lengths that are skewed, to the other side for the first label; all of them occur."""
    u = torch.rand(n, generator=generator).square()
    u = torch.where(labels == 0, 1 - u, u) if labels is not None else u
    shortest = 0 if domain.ends else 1
    return shortest + (u * (domain.longest + 1 - shortest)).floor().clamp(max=domain.longest - shortest).long()


def _squashed(t: Tensor, domain: Domain) -> Tensor:
    """The hidden variable as values of the domain, entry by entry."""
    if isinstance(domain, Sequences):
        return _squashed(t, domain.element)
    if isinstance(domain, Discrete):
        return _levels(t, domain.levels)
    if not isinstance(domain, Table):
        return 30 + 5 * t
    return torch.stack([_column(value, column) for value, column in zip(t.unbind(1), domain.columns, strict=True)], 1)


def _column(t: Tensor, column: Column) -> Tensor:
    """The hidden variable as values of a column."""
    if column.kind == "category":
        return _levels(t, len(column.categories))
    x = 30 + 5 * t
    return (x / column.step).round() * column.step if column.step else x


def _levels(t: Tensor, levels: int) -> Tensor:
    """Skewed levels: low ones are common."""
    share: Tensor = torch.special.ndtr(t).square()
    return (share * levels).floor().clamp(max=levels - 1)
