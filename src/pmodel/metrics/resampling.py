r"""Standard errors of a statistic :math:`\hat\theta(x_1, \dots, x_n)` of rows, from the rows themselves.

*Bootstrap*: with :math:`\hat\theta^*_b` the statistic of n rows that are drawn with replacement, the standard error is the
standard deviation over the draws,

.. math:: \widehat{\mathrm{se}}^2 = \frac{1}{B-1} \sum_{b=1}^B (\hat\theta^*_b - \bar\theta^*)^2 .

*Grouped jackknife*: a random permutation of the rows is cut into G groups of :math:`m_j` rows. With :math:`\hat\theta_{(j)}`
the statistic without group j, :math:`h_j = n / m_j` and pseudo-values :math:`\tilde\theta_j = h_j \hat\theta - (h_j - 1)
\hat\theta_{(j)}`,

.. math:: \widehat{\mathrm{se}}^2 = \frac1G \sum_{j=1}^G \frac{(\tilde\theta_j - \theta_J)^2}{h_j - 1}, \qquad
          \theta_J = G \hat\theta - \sum_{j=1}^G \Bigl(1 - \frac{m_j}{n}\Bigr) \hat\theta_{(j)} ,

which for equal groups is :math:`\frac{G-1}{G} \sum_j (\hat\theta_{(j)} - \bar\theta_{(\cdot)})^2`. It needs G + 1 evaluations
instead of B, and its subsets hold no row twice. The price is its own error, about :math:`1/\sqrt{2G}` of it.

Source:
    An Introduction to the Bootstrap (Efron and Tibshirani, 1993), chapters 6 and 11
    Delete-m Jackknife for Unequal m (Busing, Meijer and van der Leeden, 1999), eq. 4 and 5
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol, Self, TypeVar

import torch
from torch import Generator, Tensor

from ..errors import RangeError

__all__ = [
    "DRAWS",
    "GROUPS",
    "LEAST",
    "MOST_BOOTSTRAP",
    "binomial_stderr",
    "bootstrap",
    "jackknife",
    "stderr_of",
]

DRAWS = 200
"""Of the bootstrap: its standard error is then right to 1 / sqrt(2 · 200) = 5 %."""
GROUPS = 20
"""Of the jackknife."""
LEAST = 10
"""Rows that a standard error needs at least."""
MOST_BOOTSTRAP = 256
"""Dimensions up to which the bootstrap is taken: beyond, one evaluation takes too long for ``DRAWS`` of them."""


class Additive(Protocol):
    """What is gathered from rows such that the sum is what the rows together would give: moments, counts."""

    def __add__(self, other: Self, /) -> Self:
        """Of both sets of rows together."""
        ...


A = TypeVar("A", bound=Additive)


def bootstrap(
    statistic: Callable[[Tensor], float], rows: Tensor, generator: Generator, *, draws: int = DRAWS
) -> float | None:
    """The standard error by the bootstrap.

    Args:
        statistic: Of rows ``(N, …)``. It must not compare rows with each other by closeness, such as nearest neighbours do:
            draws hold rows twice.
        rows: ``(N, …)``.
        generator: Of the draws, on the CPU.
        draws: Their number B.

    Returns:
        The standard error, or None where there are fewer than ``LEAST`` rows or the statistic of a draw is not finite.

    Raises:
        RangeError: if there are fewer than two draws.
    """
    if draws < 2:
        raise RangeError("A bootstrap needs at least two draws.", got=draws)
    n = len(rows)
    if n < LEAST:
        return None
    values = [statistic(rows[torch.randint(n, (n,), generator=generator).to(rows.device)]) for _ in range(draws)]
    return _finite(torch.tensor(values, dtype=torch.float64).std())


def jackknife(
    statistic: Callable[[A], float],
    rows: Tensor,
    generator: Generator,
    *,
    gather: Callable[[Tensor], A],
    groups: int = GROUPS,
) -> float | None:
    """The standard error by the grouped jackknife.

    Args:
        statistic: Of what is gathered from rows.
        rows: ``(N, …)``, in any order.
        generator: Of the permutation, on the CPU.
        gather: What of some rows the statistic needs, such as ``Moments.of``. Each row is gathered once: what remains without
            a group is the sum of the groups before it and the groups after it.
        groups: Their number G; that of the rows, if there are fewer.

    Returns:
        The standard error, or None where there are fewer than ``LEAST`` rows or a statistic is not finite.

    Raises:
        RangeError: if there are fewer than two groups.
    """
    if groups < 2:
        raise RangeError("A jackknife needs at least two groups.", got=groups)
    n = len(rows)
    if n < LEAST:
        return None
    order = torch.randperm(n, generator=generator).to(rows.device)
    parts = order.tensor_split(min(groups, n))
    total, without = _left_out([gather(rows[part]) for part in parts])
    sizes = torch.tensor([len(part) for part in parts], dtype=torch.float64)
    return _delete_m(statistic(total), [statistic(rest) for rest in without], sizes)


def stderr_of(
    statistic: Callable[[Tensor], float], rows: Tensor, generator: Generator, *, draws: int = DRAWS
) -> float | None:
    """The standard error: by the bootstrap up to ``MOST_BOOTSTRAP`` dimensions, else by the grouped jackknife.

    Args:
        statistic: Of rows ``(N, …)``, of as many as there are or fewer. Not for one that rows which are drawn twice mislead,
            such as nearest neighbours or a covariance of few rows: for these take the jackknife.
        rows: ``(N, …)``.
        generator: Of every draw, on the CPU.
        draws: Of the bootstrap.
    """
    if math.prod(rows.shape[1:]) <= MOST_BOOTSTRAP:
        return bootstrap(statistic, rows, generator, draws=draws)
    return jackknife(lambda kept: statistic(kept.rows), rows, generator, gather=_Kept)


def binomial_stderr(count: int, n: int) -> float | None:
    r"""The standard error of the share :math:`k / n` of independent trials.

    It is :math:`\sqrt{p (1 - p) / n}` at :math:`p = (k + 1) / (n + 2)`, Laplace's rule: at k = 0 or n the share itself would
    claim an error of zero. None where nothing was tried.
    """
    if n < 1:
        return None
    p = (count + 1) / (n + 2)
    return math.sqrt(p * (1 - p) / n)


class _Kept:
    """Rows as they are: adding keeps both."""

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows

    def __add__(self, other: _Kept) -> _Kept:
        return _Kept(torch.cat([self.rows, other.rows]))


def _left_out(parts: Sequence[A]) -> tuple[A, list[A]]:
    """The sum of all parts, and for each the sum of all others: from sums of the first and of the last, never a difference."""
    first, last = [parts[0]], [parts[-1]]
    for part in parts[1:]:
        first.append(first[-1] + part)
    for part in reversed(parts[:-1]):
        last.append(part + last[-1])
    last.reverse()
    between = [before + after for before, after in zip(first[:-2], last[2:], strict=True)]
    return first[-1], [last[1], *between, first[-2]]


def _delete_m(whole: float, without: Sequence[float], sizes: Tensor) -> float | None:
    """The jackknife's error from the statistic of all rows, of those without each group, and how many rows each group has."""
    left = torch.tensor(without, dtype=torch.float64)
    h = sizes.sum() / sizes
    pseudo = h * whole - (h - 1) * left
    centre = len(left) * whole - ((1 - 1 / h) * left).sum()
    return _finite(((pseudo - centre).square() / (h - 1)).mean().sqrt())


def _finite(value: Tensor) -> float | None:
    return float(value) if bool(value.isfinite()) else None
