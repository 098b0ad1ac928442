r"""The Fréchet distance between Gaussians fitted to two sets of features.

.. math:: d^2 = \lVert \mu_1 - \mu_2 \rVert^2 + \operatorname{tr} S_1 + \operatorname{tr} S_2
          - 2 \operatorname{tr} (S_1^{1/2} S_2 S_1^{1/2})^{1/2} .

With any factors :math:`S_1 = A_1^\top A_1` and :math:`S_2 = A_2^\top A_2` the last trace is the sum of the singular values of
:math:`A_1 A_2^\top`, that is, of the roots of the eigenvalues of the positive semi-definite

.. math:: A_1 S_2 A_1^\top \quad (D \times D) \qquad \text{or} \qquad A_2 S_1 A_2^\top \quad (n \times n) .

So there is no general matrix root, no complex number, and no failure where a covariance is singular. The reference's factor is
computed once. Fewer than D samples are kept as they are: the centred samples over :math:`\sqrt{n - 1}` *are* a factor, and the
distance costs :math:`n D^2 + n^3` instead of a multiple of :math:`D^3`. All in float64.

*Standard error.* That of the draw of the samples, by the grouped jackknife. It is right where the distance is well above its
floor; at the floor, where the distance is of second order in the samples' deviations, it is up to 1.7 times too large. The
bootstrap would be three to five times too large there: samples that are drawn twice look like lost dimensions.

Source:
    GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium (Heusel et al., 2017), eq. 6
    https://arxiv.org/abs/1706.08500
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from torch import Generator, Tensor

from ..errors import BadInput
from .resampling import jackknife
from .rows import matrix, same_columns

__all__ = ["Fid", "Moments", "fid_of", "frechet_distance"]

CHUNK = 2**21
"""Entries of features that are centred at a time: 16 MiB."""
BLOCK = 512
"""Columns in a block of a symmetric product, of which only the blocks on and below the diagonal are computed."""
WIDE = 512
"""Beyond, eigenvalues are taken instead of singular values: six times as quick, but a root of less than 1e-8 of the largest is
then rounding alone."""
CONSTANT = 1e-12
"""A feature whose standard deviation is this part of its mean does not vary but by rounding."""


@final
@dataclass(frozen=True)
class Fid:
    """The distance of samples from a reference.

    Args:
        value: The squared Fréchet distance.
        stderr: From the draw of the samples, the reference being given; None where there are too few.
        rank: Of the samples' covariance.
        flags: Sentences on what makes the distance less than it seems.
    """

    value: float
    stderr: float | None
    rank: int
    flags: tuple[str, ...] = ()


@final
class Moments:
    """Mean and covariance of features, gathered in parts that add (Chan, Golub and LeVeque 1979).

    The sum does not depend on how the data were split, nor in which order or process the parts were gathered. As long as there
    are fewer data than features they are kept themselves; from then on their scatter is. They stay on the device they are on.

    Args:
        dimensions: The number of features D.
    """

    def __init__(self, dimensions: int) -> None:
        self.n = 0
        self.mean = torch.zeros(dimensions, dtype=torch.float64)
        self._rows: Tensor | None = torch.zeros(0, dimensions, dtype=torch.float64)
        self._scatter: Tensor | None = None

    @classmethod
    def of(cls, features: Tensor) -> Moments:
        """The moments of features, ``(N, D)``.

        Raises:
            ShapeError: if it is not a matrix.
            RangeError: if a feature is not finite.
        """
        x = matrix(features)
        return cls._of(x.clone() if len(x) < x.shape[1] else x)  # what is kept must not change when the caller's does

    @classmethod
    def known(cls, n: int, mean: Tensor, covariance: Tensor) -> Moments:
        """The moments of n data of which only ``mean``, ``(D,)``, and the unbiased ``covariance``, ``(D, D)``, are known.

        Raises:
            ShapeError: if the shapes do not fit.
            RangeError: if an entry is not finite.
        """
        mean, covariance = matrix(mean[None], what="A mean")[0], matrix(covariance, what="A covariance")
        same_columns(*covariance.shape)
        same_columns(len(mean), len(covariance))
        return cls._with(n, mean, scatter=(covariance + covariance.T) * ((n - 1) / 2))

    @classmethod
    def _of(cls, x: Tensor) -> Moments:
        if not len(x):
            return cls(x.shape[1])
        mean = x.mean(0)
        if len(x) < x.shape[1]:
            return cls._with(len(x), mean, rows=x)
        return cls._with(len(x), mean, scatter=_scatter(x, mean))

    @classmethod
    def _with(cls, n: int, mean: Tensor, *, rows: Tensor | None = None, scatter: Tensor | None = None) -> Moments:
        moments = cls(0)
        moments.n, moments.mean, moments._rows, moments._scatter = n, mean, rows, scatter
        return moments

    def __add__(self, other: Moments) -> Moments:
        """The moments of both sets together, on this one's device.

        Raises:
            ShapeError: if the features differ in number.
        """
        same_columns(len(self.mean), len(other.mean))
        if not (self.n and other.n):
            return self if self.n else other
        few, many = (self, other) if self._rows is not None else (other, self)
        if many._rows is not None and few._rows is not None:
            return self._of(torch.cat([few._rows, many._rows.to(self.mean)]))
        n = self.n + other.n
        shift = other.mean.to(self.mean) - self.mean
        between = shift * math.sqrt(self.n * other.n / n)
        if few._rows is None:
            scatter = torch.addr(self.scatter + other.scatter.to(self.mean), between, between)
        else:
            extra = torch.cat([few.centred.to(self.mean), between[None]])
            scatter = torch.addmm(many.scatter.to(self.mean), extra.T, extra)
        return self._with(n, self.mean + shift * (other.n / n), scatter=scatter)

    @property
    def centred(self) -> Tensor:
        """The data less their mean, ``(n, D)``, where they are fewer than the features."""
        if self._rows is None:
            raise BadInput("Only fewer data than features are kept.", got=f"{self.n} data of {len(self.mean)} features")
        return self._rows - self.mean

    @property
    def scatter(self) -> Tensor:
        """The sum of squares and products about the mean, ``(D, D)``."""
        if self._scatter is not None:
            return self._scatter
        centred = self.centred
        return centred.T @ centred

    @property
    def covariance(self) -> Tensor:
        """The unbiased covariance, ``(D, D)``.

        Raises:
            BadInput: if there are fewer than two data.
        """
        return self.scatter / self._freedom

    @cached_property
    def variances(self) -> Tensor:
        """The diagonal of the covariance, ``(D,)``."""
        squares = self.centred.square().sum(0) if self._scatter is None else self._scatter.diagonal()
        return squares / self._freedom

    @cached_property
    def factor(self) -> Tensor:
        """An ``A`` of shape ``(rank or n, D)`` with ``A.T @ A`` the covariance; kept for all that is compared with it."""
        if self._scatter is None:
            return self.centred / math.sqrt(self._freedom)
        values, vectors = torch.linalg.eigh(self.covariance)
        kept = values > _tolerance(values)
        factor: Tensor = (vectors[:, kept] * values[kept].sqrt()).T.contiguous()
        return factor

    @cached_property
    def rank(self) -> int:
        """The numerical rank of the covariance."""
        if "factor" in self.__dict__ and self._scatter is not None:
            return len(self.factor)
        square = self.centred @ self.centred.T if self._scatter is None else self._scatter
        values = torch.linalg.eigvalsh(square)
        return int((values > _tolerance(values)).sum())

    @property
    def deficient(self) -> bool:
        """Whether the covariance is singular: too few data, or features that do not vary or depend on each other."""
        return self.rank < len(self.mean)

    def flags(self, whose: str) -> list[str]:
        """What makes the covariance singular, in words."""
        dimensions, found = len(self.mean), []
        if self.n <= dimensions:
            found.append(f"{self.n} {whose} cannot span {dimensions} features: the distance is too large by that")
        if constant := int((self.variances.sqrt() <= CONSTANT * self.mean.abs()).sum()):
            found.append(f"{constant} of {dimensions} features do not vary among the {whose}")
        if not found and self.deficient:
            found.append(
                f"the features of the {whose} depend on each other and span only {self.rank} of {dimensions} dimensions"
            )
        return found

    @property
    def _freedom(self) -> int:
        if self.n < 2:
            raise BadInput("A covariance needs at least two data.", got=self.n, hint="draw more samples")
        return self.n - 1


def frechet_distance(reference: Moments, other: Moments) -> float:
    """The squared Fréchet distance d², which is what is called FID.

    Args:
        reference: Its factor is computed once and kept.
        other: May be on another device.

    Raises:
        ShapeError: if the features differ in number.
        BadInput: if either has fewer than two data.
    """
    same_columns(len(reference.mean), len(other.mean))
    means = (reference.mean - other.mean.to(reference.mean)).square().sum()
    traces = reference.variances.sum() + other.variances.sum().to(reference.mean)
    return max(0.0, float(means + traces - 2 * _root_trace(reference, other)))


def fid_of(reference: Moments, features: Tensor, generator: Generator) -> Fid:
    """The distance of features from a reference, with its standard error and what is to be said of it.

    Args:
        reference: Moments of the real data.
        features: Of the samples, ``(N, D)``.
        generator: Of the resampling that gives the standard error.

    Raises:
        ShapeError: if it is not a matrix with the reference's features.
        RangeError: if a feature is not finite.
        BadInput: if either has fewer than two data.
    """
    x = matrix(features, least=2)

    def distance(moments: Moments) -> float:
        return frechet_distance(reference, moments)

    moments = Moments.of(x)
    flags = (*moments.flags("samples"), *reference.flags("real data"))
    return Fid(distance(moments), jackknife(distance, x, generator, gather=Moments.of), moments.rank, flags)


def _root_trace(reference: Moments, other: Moments) -> Tensor:
    """The trace of the root: the sum of the singular values of the product of factors, or of roots of eigenvalues if wide."""
    factor = reference.factor
    if len(factor) > WIDE and other._scatter is not None:
        square = _lower((factor @ other._scatter.to(factor)).T, factor.T).div_(other.n - 1)
        return _roots(square, other.n - 1)
    product = other.factor.to(factor) @ factor.T
    tall = product if len(product) >= len(factor) else product.T
    if tall.shape[1] > WIDE:
        return _roots(_lower(tall, tall), min(reference.n, other.n) - 1)
    triangle: Tensor = torch.linalg.qr(tall, mode="r").R
    total: Tensor = torch.linalg.svdvals(triangle).sum()
    return total


def _roots(square: Tensor, rank: int) -> Tensor:
    """The sum of roots of the largest eigenvalues: those beyond the rank would be roots of rounding errors."""
    values = torch.linalg.eigvalsh(square, UPLO="L")
    total: Tensor = values[max(0, len(values) - rank) :].clamp_min(0).sqrt().sum()
    return total


def _scatter(x: Tensor, mean: Tensor) -> Tensor:
    """The sum over rows of the squares and products about the mean, ``(D, D)``."""
    total = x.new_zeros(len(mean), len(mean))
    for part in torch.split(x, max(1, CHUNK // max(1, len(mean)))):
        centred = part - mean
        _lower(centred, centred, total)
    return total.tril_().add_(total.tril(-1).T)


def _lower(a: Tensor, b: Tensor, total: Tensor | None = None) -> Tensor:
    """A symmetric ``a.T @ b``, added to ``total``: right in the lower triangle only, at little more than half the cost."""
    columns = a.shape[1]
    total = a.new_zeros(columns, columns) if total is None else total
    for start in range(0, columns, BLOCK):
        end = min(start + BLOCK, columns)
        total[start:end, :end].addmm_(a[:, start:end].T, b[:, :end])
    return total


def _tolerance(eigenvalues: Tensor) -> float:
    """Eigenvalues up to this are zero but for rounding."""
    largest = float(eigenvalues[-1]) if len(eigenvalues) else 0.0
    return max(0.0, largest) * len(eigenvalues) * torch.finfo(torch.float64).eps
