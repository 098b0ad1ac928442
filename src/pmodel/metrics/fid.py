r"""The Fréchet distance between Gaussians fitted to two sets of features.

.. math:: d^2 = \lVert \mu_1 - \mu_2 \rVert^2 + \operatorname{tr} S_1 + \operatorname{tr} S_2
          - 2 \operatorname{tr} (R S_2 R)^{1/2}, \qquad R = S_1^{1/2}.

:math:`R S_2 R` is symmetric and positive semi-definite, so the last trace is the sum of the roots of its eigenvalues: no
general matrix root, no complex numbers, and no failure where a covariance is singular. All in float64.

Source:
    GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium (Heusel et al., 2017), eq. 6
    https://arxiv.org/abs/1706.08500
"""

from __future__ import annotations

from functools import cached_property
from typing import final

import torch
from torch import Tensor

from ..errors import BadInput, RangeError, ShapeError

__all__ = ["Moments", "frechet_distance", "jackknife_stderr"]

GROUPS = 20
"""Groups of the jackknife: each leaves out a twentieth of the samples."""


@final
class Moments:
    """Mean and covariance of features, gathered batch by batch (Chan, Golub and LeVeque 1979), in float64.

    Args:
        dimensions: The number of features.
    """

    def __init__(self, dimensions: int) -> None:
        self.n = 0
        self.mean = torch.zeros(dimensions, dtype=torch.float64)
        self.scatter = torch.zeros(dimensions, dimensions, dtype=torch.float64)

    @classmethod
    def of(cls, features: Tensor) -> Moments:
        """The moments of one batch of features, ``(N, D)``.

        Raises:
            ShapeError: if it is not a matrix.
            RangeError: if a feature is not finite.
        """
        if features.ndim != 2:
            raise ShapeError("Features must be of shape (N, D).", got=tuple(features.shape))
        if not bool(features.isfinite().all()):
            raise RangeError("Features must be finite.", got=f"{int((~features.isfinite()).sum())} that are not")
        x = features.detach().to("cpu", torch.float64)
        moments = cls(x.shape[1])
        if len(x):
            moments.n = len(x)
            moments.mean = x.mean(0)
            centred = x - moments.mean
            moments.scatter = centred.T @ centred
        return moments

    def __add__(self, other: Moments) -> Moments:
        """The moments of both sets together."""
        if self.mean.shape != other.mean.shape:
            raise ShapeError("Moments of different features do not add.", got=(len(self.mean), len(other.mean)))
        total = Moments(len(self.mean))
        total.n = self.n + other.n
        if total.n:
            shift = other.mean - self.mean
            total.mean = self.mean + shift * (other.n / total.n)
            between = torch.outer(shift, shift) * (self.n * other.n / total.n)
            total.scatter = self.scatter + other.scatter + between
        return total

    @cached_property
    def covariance(self) -> Tensor:
        """The unbiased covariance, ``(D, D)``.

        Raises:
            BadInput: if there are fewer than two data.
        """
        if self.n < 2:
            raise BadInput("A covariance needs at least two data.", got=self.n)
        return self.scatter / (self.n - 1)

    @cached_property
    def root(self) -> Tensor:
        """The symmetric root of the covariance; computed once, then kept for every model that is compared with it."""
        values, vectors = torch.linalg.eigh(self.covariance)
        root: Tensor = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
        return root

    @cached_property
    def rank(self) -> int:
        """The numerical rank of the covariance."""
        return int(torch.linalg.matrix_rank(self.covariance, hermitian=True))

    @property
    def deficient(self) -> bool:
        """Whether the covariance is singular: too few data, or features that do not vary."""
        return self.rank < len(self.mean)


def frechet_distance(reference: Moments, other: Moments) -> float:
    """The squared Fréchet distance d², which is what is called FID.

    Raises:
        ShapeError: if the features differ in number.
        BadInput: if either has fewer than two data.
    """
    if reference.mean.shape != other.mean.shape:
        raise ShapeError("Both sets need the same features.", got=(len(reference.mean), len(other.mean)))
    product = reference.root @ other.covariance @ reference.root
    roots = torch.linalg.eigvalsh((product + product.T) / 2).clamp_min(0).sqrt()
    means = (reference.mean - other.mean).square().sum()
    traces = reference.covariance.trace() + other.covariance.trace()
    return max(0.0, float(means + traces - 2 * roots.sum()))


def jackknife_stderr(reference: Moments, features: Tensor) -> float | None:
    """The standard error of the distance that comes from the draw of ``features``, by a grouped jackknife.

    Groups are consecutive, so the rows must be in no order. None where there are too few for ``GROUPS`` groups.
    """
    if len(features) < 2 * GROUPS:
        return None
    parts = [Moments.of(part) for part in features.tensor_split(GROUPS)]
    distances = []
    for left_out in range(GROUPS):
        kept = Moments(features.shape[1])
        for index, part in enumerate(parts):
            kept = kept if index == left_out else kept + part
        distances.append(frechet_distance(reference, kept))
    spread = torch.tensor(distances, dtype=torch.float64)
    return float(((GROUPS - 1) / GROUPS * (spread - spread.mean()).square().sum()).sqrt())
