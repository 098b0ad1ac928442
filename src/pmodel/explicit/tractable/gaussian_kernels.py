r"""One pass over the data with Gaussian components: four ways to the same squared Mahalanobis distances.

``MonomialKernel``
    With :math:`P = \Sigma^{-1}`, the log-density is linear in the monomials of degree two and less,
    :math:`\phi(y) = (1, y_i, y_i y_j)_{i \le j}`, :math:`y = x - c`. So the E-step of all components is one matrix product
    with :math:`\phi`, and the M-step is its transpose. Whitening moves K times as much memory for the same arithmetic: on
    10⁶ × 16 data and ten components the product is an order of magnitude faster.
``WhiteningKernel``
    :math:`\|L^{-1}(x - \mu)\|^2`: for more entries than there is room for pairs, and for components so narrow, compared with
    their distance from :math:`c`, that the terms above would cancel.
``SquaresKernel``
    For independent entries :math:`\phi(y) = (1, y_i, y_i^2)` is enough.
``DiagonalKernel``
    :math:`\sum_i (x_i - \mu_i)^2 / \sigma_i^2`, entry by entry, where those would cancel.

Every kernel's finished sums are taken about the components' means.
"""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor

from .components import Kernel, Sums

__all__ = ["LOG_2PI", "DiagonalKernel", "MonomialKernel", "SquaresKernel", "WhiteningKernel", "scatter_sums"]

LOG_2PI = math.log(2 * math.pi)
NEGLIGIBLE = 1e-16
"""A responsibility below float64's resolution of one: such a datum is left out of a component's scatter."""


class ProductKernel(Kernel):
    """Log-densities that are linear in the features: both steps are one matrix product."""

    coefficients: Tensor
    """``(K, F)``."""

    def log_prob(self, features: Tensor) -> Tensor:
        """Coefficients times features."""
        return self.coefficients @ features

    def by_datum(self, features: Tensor) -> Tensor:
        """The same product the other way round."""
        return features.T @ self.coefficients.T

    def sums(self, features: Tensor, weights: Tensor) -> Sums:
        """The transpose; the tall product is the faster one."""
        return {"moments": (features @ weights.T).T}


@final
class MonomialKernel(ProductKernel):
    """Densities and sums as products with the second-order monomials, feature-major.

    Args:
        means: ``(K, D)``.
        scale_tril: Cholesky factors ``(K, D, D)``, or ``(1, D, D)`` shared.
        centre: The point c, ``(D,)``.
    """

    WIDEST = 64
    """Most entries: 64 have 2 145 monomials."""
    REACH = 3e4
    """Largest norm of a term of the quadratic form: its square times float64's epsilon is the error, 2e-7 nats."""
    WORKSPACE = 2**20
    """Monomials held at a time: 8 MB."""

    def __init__(self, means: Tensor, scale_tril: Tensor, centre: Tensor) -> None:
        self.means, self.centre, self.tied = means - centre, centre, len(scale_tril) == 1
        K, D = means.shape
        self.rows, self.columns = torch.triu_indices(D, D, device=means.device)
        precision = torch.cholesky_inverse(scale_tril)
        linear = (precision @ self.means[:, :, None])[:, :, 0]
        constant = -scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1) - 0.5 * (self.means * linear).sum(-1)
        doubled = torch.where(self.rows == self.columns, -0.5, -1.0)
        pairs = (precision[:, self.rows, self.columns] * doubled).expand(K, -1)
        self.coefficients = torch.cat([constant[:, None] - 0.5 * D * LOG_2PI, linear, pairs], 1)
        self.block = min(4096, max(256, self.WORKSPACE // self.coefficients.shape[1]))
        self.workspace = means.new_ones(self.coefficients.shape[1], self.block)

    @classmethod
    def suits(cls, means: Tensor, scale_tril: Tensor) -> bool:
        r"""Whether the entries are few, and :math:`\sum_i (|m_i| + 3\sigma_i) \sqrt{P_{ii}}` is within reach."""
        if means.shape[1] > cls.WIDEST:
            return False
        std = scale_tril.square().sum(-1).sqrt()
        precision = torch.cholesky_inverse(scale_tril).diagonal(dim1=-2, dim2=-1)
        return bool((((means.abs() + 3 * std) * precision.sqrt()).sum(-1) < cls.REACH).all())

    def features(self, x: Tensor) -> Tensor:
        """The monomials ``(F, B)``, in a workspace that the next call overwrites."""
        phi, D = self.workspace[:, : len(x)], x.shape[1]
        y = torch.sub(x.T, self.centre[:, None], out=phi[1 : 1 + D])
        end = 1 + D
        for i in range(D):
            torch.mul(y[i:], y[i], out=phi[end : end + D - i])
            end += D - i
        return phi

    def finish(self, sums: Sums) -> Sums:
        """From moments about the centre to sums about the means."""
        m, moments = self.means, sums["moments"]
        K, D = m.shape
        count, first = moments[:, 0], moments[:, 1 : 1 + D]
        scatter = m.new_zeros(K, D, D)
        scatter[:, self.rows, self.columns] = scatter[:, self.columns, self.rows] = moments[:, 1 + D :]
        cross = first[:, :, None] * m[:, None, :]
        scatter += count[:, None, None] * m[:, :, None] * m[:, None, :] - cross - cross.mT
        square = scatter.diagonal(dim1=-2, dim2=-1).clone()
        scatter = scatter.sum(0, keepdim=True) if self.tied else scatter
        return {"count": count, "shift": first - count[:, None] * m, "square": square, "scatter": scatter}


@final
class WhiteningKernel(Kernel):
    """Densities by triangular solves, sums by weighted outer products.

    Args:
        means: ``(K, D)``.
        scale_tril: Cholesky factors ``(K, D, D)``, or ``(1, D, D)`` shared.
    """

    def __init__(self, means: Tensor, scale_tril: Tensor) -> None:
        self.means, self.scale_tril = means, scale_tril
        self.constant = -scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1) - 0.5 * means.shape[1] * LOG_2PI

    def features(self, x: Tensor) -> Tensor:
        """The data themselves."""
        return x.double()

    def log_prob(self, features: Tensor) -> Tensor:
        """A solve for each factor."""
        if len(self.scale_tril) == 1:
            origin = self.means[0]
            white = torch.linalg.solve_triangular(self.scale_tril[0], (features - origin).T, upper=False)
            centres = torch.linalg.solve_triangular(self.scale_tril[0], (self.means - origin).T, upper=False)
            distances = [(white - centre[:, None]).square().sum(0) for centre in centres.T]
        else:
            distances = [
                torch.linalg.solve_triangular(factor, (features - mean).T, upper=False).square().sum(0)
                for mean, factor in zip(self.means, self.scale_tril, strict=True)
            ]
        return self.constant[:, None] - 0.5 * torch.stack(distances)

    def sums(self, features: Tensor, weights: Tensor) -> Sums:
        """About the means from the start."""
        return scatter_sums(features, weights, self.means, tied=len(self.scale_tril) == 1)


@final
class SquaresKernel(ProductKernel):
    """Densities and sums of independent entries as products with ``(1, y, y²)``, feature-major.

    Args:
        means: ``(K, D)``.
        variances: ``(K, D)``.
        centre: The point c, ``(D,)``.
    """

    block = 4096

    def __init__(self, means: Tensor, variances: Tensor, centre: Tensor) -> None:
        self.means, self.centre = means - centre, centre
        linear = self.means / variances
        constant = -0.5 * (variances.log() + self.means * linear).sum(-1) - 0.5 * means.shape[1] * LOG_2PI
        self.coefficients = torch.cat([constant[:, None], linear, -0.5 / variances], 1)
        self.workspace = means.new_ones(self.coefficients.shape[1], self.block)

    @classmethod
    def suits(cls, means: Tensor, variances: Tensor) -> bool:
        r"""Whether :math:`\sum_i |m_i| / \sigma_i + 3` is within reach, as for monomials."""
        return bool(((means.abs() * variances.rsqrt() + 3).sum(-1) < MonomialKernel.REACH).all())

    def features(self, x: Tensor) -> Tensor:
        """The entries and their squares, in a workspace that the next call overwrites."""
        phi, D = self.workspace[:, : len(x)], x.shape[1]
        y = torch.sub(x.T, self.centre[:, None], out=phi[1 : 1 + D])
        torch.mul(y, y, out=phi[1 + D :])
        return phi

    def finish(self, sums: Sums) -> Sums:
        """The moments about the means."""
        count, first, second = sums["moments"].split([1, *[self.means.shape[1]] * 2], 1)  # type: ignore[no-untyped-call]
        m = self.means
        square = second - 2 * m * first + count * m.square()
        return {"count": count[:, 0], "shift": first - count * m, "square": square}


@final
class DiagonalKernel(Kernel):
    """Densities and sums entry by entry.

    Args:
        means: ``(K, D)``.
        variances: ``(K, D)``.
    """

    def __init__(self, means: Tensor, variances: Tensor) -> None:
        self.means, self.rates = means, variances.rsqrt()
        self.constant = self.rates.log().sum(-1) - 0.5 * means.shape[1] * LOG_2PI

    def features(self, x: Tensor) -> Tensor:
        """The data, feature-major."""
        return x.T.double().contiguous()

    def log_prob(self, features: Tensor) -> Tensor:
        """The sum of squared standard scores."""
        parts = zip(self.means, self.rates, strict=True)
        distances = [((features - m[:, None]) * rate[:, None]).square().sum(0) for m, rate in parts]
        return self.constant[:, None] - 0.5 * torch.stack(distances)

    def sums(self, features: Tensor, weights: Tensor) -> Sums:
        """First and second moments about the means."""
        offsets = [(features - m[:, None], r) for m, r in zip(self.means, weights, strict=True)]
        moments = [(y @ r, y.square_() @ r) for y, r in offsets]
        shift, square = (torch.stack(part) for part in zip(*moments, strict=True))
        return {"count": weights.sum(1), "shift": shift, "square": square}


def scatter_sums(x: Tensor, weights: Tensor, means: Tensor, *, tied: bool = False) -> Sums:
    """Count, shift, square and scatter of the rows ``x`` about each mean, under ``weights`` ``(K, B)``."""
    K, D = means.shape
    weights = weights.contiguous()
    shift, square = torch.zeros_like(means), torch.zeros_like(means)
    scatter = means.new_zeros(1 if tied else K, D, D)
    for k in range(K):
        rows = (weights[k] > NEGLIGIBLE).nonzero()[:, 0]
        y, r = x[rows] - means[k], weights[k, rows]
        shift[k], square[k] = r @ y, r @ y.square()
        scatter[0 if tied else k].addmm_((y * r[:, None]).T, y)
    return {"count": weights.sum(1), "shift": shift, "square": square, "scatter": scatter}
