r"""The kernel distance: the squared maximum mean discrepancy under the cubic kernel :math:`k(x, y) = (x^\top y / D + 1)^3`.

With samples :math:`x_1 \dots x_n` and real data :math:`y_1 \dots y_m` it is estimated without bias by the U-statistic

.. math:: \hat d = \frac{1}{n (n-1)} \sum_{i \ne j} k(x_i, x_j) + \frac{1}{m (m-1)} \sum_{i \ne j} k(y_i, y_j)
          - \frac{2}{n m} \sum_{i, j} k(x_i, y_j),

so equal distributions get 0 on average, and less than 0 half of the time. It takes all pairs: subsets throw most of them away.

*Standard error.* Hoeffding's decomposition splits :math:`\hat d` into uncorrelated terms: with the witness :math:`g(x) =
\mathbb E_{x'} k(x, x') - \mathbb E_y k(x, y)`, and :math:`\tilde k` the kernel less its means over either argument,

.. math:: \operatorname{Var} \hat d = \frac{4 \sigma_x^2}{n} + \frac{4 \sigma_y^2}{m} + \frac{2 \zeta_{xx}}{n (n-1)}
          + \frac{2 \zeta_{yy}}{m (m-1)} + \frac{4 \zeta_{xy}}{n m}, \qquad
          \sigma_x^2 = \operatorname{Var} g(x), \quad \zeta_{xy} = \mathbb E \tilde k(x, y)^2 .

This is exact. Under equal distributions g is constant: the first order vanishes, and an error from it alone would be far too
small. Every term has an unbiased estimate. Let :math:`a_i = \sum_{j \ne i} k(x_i, x_j)`, :math:`A = \sum_i a_i` and
:math:`b_i = \sum_j k(x_i, y_j)`. From U-centred kernels (Székely and Rizzo) and from the interaction of rows and columns,

.. math:: \hat\zeta_{xx} &= \frac{1}{n (n-3)} \Bigl( \sum_{i \ne j} k(x_i, x_j)^2 - \frac{2}{n-2} \sum_i a_i^2
          + \frac{A^2}{(n-1)(n-2)} \Bigr), \\
          \hat\zeta_{xy} &= \frac{1}{(n-1)(m-1)} \sum_{i, j} \bigl( k(x_i, y_j) - \bar k_{i \cdot} - \bar k_{\cdot j}
          + \bar k_{\cdot \cdot} \bigr)^2 .

The variance over i of :math:`a_i / (n-2) - b_i / m` is on average :math:`\sigma_x^2 + \zeta_{xx} / (n-2) + \zeta_{xy} / m`,
from which :math:`\sigma_x^2` follows. Where the first order comes out negative, it is taken to be 0: on equal distributions the
error is therefore up to 20 % too large rather than, at times, far too small. It is that of the draw of both sets.

Source:
    Demystifying MMD GANs (Bińkowski et al., 2018), section 4, https://arxiv.org/abs/1801.01401
    Partial Distance Correlation with Methods for Dissimilarities (Székely and Rizzo, 2014), proposition 1
    Unbiased Estimators for the Variance of MMD Estimators (Sutherland, 2019), https://arxiv.org/abs/1906.02104
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from torch import Generator, Tensor

from ..errors import BadInput
from .rows import all_equal, matrix, same_columns

__all__ = ["KernelSet", "Kid", "kid_of", "kid_over_subsets"]

TILE = 1024
"""Rows and columns of the kernel matrix that are held at a time: 8 MiB."""
LEAST = 4
"""Data that the standard error needs on either side."""


@final
@dataclass(frozen=True)
class Kid:
    """The distance of samples from real data.

    Args:
        value: The unbiased estimate, which may be negative.
        stderr: From the draw of both; None where either has fewer than four data.
        flags: Sentences on what makes the distance less than it seems.
    """

    value: float
    stderr: float | None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sums:
    """Sums of a kernel matrix: over each row, over each column, and of all squares."""

    rows: Tensor
    columns: Tensor
    squares: Tensor


@final
class KernelSet:
    """Features, with the sums of the kernel over their own pairs, computed once for all that they are compared with.

    Args:
        features: ``(N, D)``.

    Raises:
        ShapeError: if it is not a matrix.
        RangeError: if a feature is not finite.
        BadInput: if there are fewer than two.
    """

    def __init__(self, features: Tensor) -> None:
        self.x = matrix(features, least=2)

    def __len__(self) -> int:
        return len(self.x)

    @cached_property
    def sums(self) -> Sums:
        """Over all pairs of two different data; the matrix is symmetric, so only half of it is computed."""
        rows, squares = self.x.new_zeros(len(self)), self.x.new_zeros(())
        for i in _tiles(len(self)):
            for j in _tiles(i.stop):
                tile = _kernel(self.x[i], self.x[j])
                if i == j:
                    tile.fill_diagonal_(0)
                    rows[i] += tile.sum(1)
                    squares += tile.square_().sum()
                else:
                    rows[i] += tile.sum(1)
                    rows[j] += tile.sum(0)
                    squares += 2 * tile.square_().sum()
        return Sums(rows, rows, squares)

    @cached_property
    def degenerate(self) -> Tensor:
        """The unbiased estimate of zeta, the mean square of the kernel less its means."""
        n, a = len(self), self.sums.rows
        centred = self.sums.squares - 2 / (n - 2) * a.square().sum() + a.sum().square() / ((n - 1) * (n - 2))
        return centred.clamp_min(0) / (n * (n - 3))


def kid_of(reference: KernelSet, features: Tensor) -> Kid:
    """The distance of features from real data, with its standard error.

    Args:
        reference: The real data.
        features: Of the samples, ``(N, D)``.

    Raises:
        ShapeError: if it is not a matrix with the reference's features.
        RangeError: if a feature is not finite.
        BadInput: if there are fewer than two.
    """
    x, y = KernelSet(features.to(reference.x.device)), reference
    same_columns(y.x.shape[1], x.x.shape[1])
    cross = _cross(x.x, y.x)
    flags = (*all_equal(x.x, "samples"), *all_equal(y.x, "real data"))
    return Kid(_discrepancy(x, y, cross), _stderr(x, y, cross), flags)


def kid_over_subsets(
    reference: Tensor, features: Tensor, generator: Generator, *, subsets: int = 100, size: int = 1000
) -> Kid:
    """The mean over random subsets, as other implementations have it: to compare with their figures only.

    Args:
        reference: Features of real data, ``(M, D)``.
        features: Of the samples, ``(N, D)``.
        generator: Of the subsets, on the CPU.
        subsets: How many pairs of subsets, each drawn without replacement.
        size: Data in each. The whole of both sets, once, gives the value of ``kid_of``.

    Returns:
        The mean, without a standard error: subsets overlap, so their spread is none.

    Raises:
        BadInput: if there are fewer data than a subset has, or no subsets.
    """
    if subsets < 1 or not 2 <= size <= min(len(reference), len(features)):
        raise BadInput(
            "Subsets must be at least one, of two data or more, and no larger than either set.",
            got=f"{subsets} subsets of {size} out of {len(reference)} real data and {len(features)} samples",
        )
    values = []
    for _ in range(subsets):
        chosen = [torch.randperm(len(of), generator=generator)[:size].to(of.device) for of in (reference, features)]
        x, y = KernelSet(features[chosen[1]]), KernelSet(reference[chosen[0]])
        values.append(_discrepancy(x, y, _cross(x.x, y.x)))
    return Kid(math.fsum(values) / subsets, None)


def _discrepancy(x: KernelSet, y: KernelSet, cross: Sums) -> float:
    n, m = len(x), len(y)
    within = x.sums.rows.sum() / (n * (n - 1)) + y.sums.rows.sum() / (m * (m - 1))
    return float(within - 2 * cross.rows.sum() / (n * m))


def _stderr(x: KernelSet, y: KernelSet, cross: Sums) -> float | None:
    n, m = len(x), len(y)
    if min(n, m) < LEAST:
        return None
    interaction = cross.squares - cross.rows.square().sum() / m - cross.columns.square().sum() / n
    mixed = (interaction + cross.rows.sum().square() / (n * m)).clamp_min(0) / ((n - 1) * (m - 1))
    first = _first_order(x, cross.rows / m, mixed / m) / n + _first_order(y, cross.columns / n, mixed / n) / m
    second = 2 * x.degenerate / (n * (n - 1)) + 2 * y.degenerate / (m * (m - 1)) + 4 * mixed / (n * m)
    return float((4 * first.clamp_min(0) + second).sqrt())


def _first_order(own: KernelSet, across: Tensor, noise: Tensor) -> Tensor:
    """The variance of the witness: that of its estimate at each datum, less what the estimates' own noise adds."""
    n = len(own)
    witness = own.sums.rows / (n - 2) - across
    return witness.var() - own.degenerate / (n - 2) - noise


def _cross(x: Tensor, y: Tensor) -> Sums:
    rows, columns, squares = x.new_zeros(len(x)), x.new_zeros(len(y)), x.new_zeros(())
    for i in _tiles(len(x)):
        for j in _tiles(len(y)):
            tile = _kernel(x[i], y[j])
            rows[i] += tile.sum(1)
            columns[j] += tile.sum(0)
            squares += tile.square_().sum()
    return Sums(rows, columns, squares)


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    """The cubic kernel of all pairs, ``(N, D), (M, D) -> (N, M)``."""
    base = (x @ y.T).div_(x.shape[1]).add_(1)
    return base.square().mul_(base)


def _tiles(n: int) -> Iterator[slice]:
    return (slice(start, min(start + TILE, n)) for start in range(0, n, TILE))
