r"""Gaussian components, and how their covariance is estimated: full, tied, diagonal or spherical.

.. math:: \log N(x; \mu, \Sigma) = -\tfrac12 (x-\mu)^\top \Sigma^{-1} (x-\mu) - \tfrac12 \log|\Sigma| - \tfrac{D}{2} \log 2\pi

All sums are taken about the current means, so that they keep their digits however far the data lie from zero. With
:math:`n` the count, :math:`s` the sum and :math:`S` the scatter of :math:`x - \mu`, the M-step is

.. math:: \mu' = \mu + s/n, \qquad
          \Sigma' = \frac{S - s s^\top / n + \nu T}{n + \nu} + \epsilon I

where :math:`T` is the diagonal of the covariance of all the data together, with a hundredth of its mean added for entries
that hardly varied. :math:`\nu = 0` is maximum likelihood; :math:`\nu > 0` is the maximum of the posterior under an
inverse-Wishart prior worth :math:`\nu` data, which shrinks what was estimated from few data (Fraley and Raftery 2007).
:math:`\epsilon` keeps a component from collapsing on a point.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import final

import torch
from torch import Generator, Tensor

from ...errors import Diverged
from .components import Components, Kernel, Sums, patterns
from .gaussian_kernels import LOG_2PI, DiagonalKernel, MonomialKernel, SquaresKernel, WhiteningKernel

__all__ = ["DenseGaussian", "DiagonalGaussian", "GaussianComponents"]

QUIET = 0.01
"""The part of the mean variance that the prior grants every entry: pixels that were blank in training are not always."""
TINY = 1e-300


class GaussianComponents(Components):
    """Gaussians with means ``(K, D)``; subclasses hold the covariances.

    Args:
        components: K.
        entries: D.
        floor: The epsilon above, a variance.
        shrinkage: The prior's worth nu in data, or None: 0 where a component has at least as many data as a covariance has
            parameters, else 3 (a full covariance: D / 8).
    """

    means: Tensor
    centre: Tensor

    def __init__(self, components: int, entries: int, *, floor: float, shrinkage: float | None) -> None:
        super().__init__(components, entries)
        self.floor = floor
        self.shrinkage = shrinkage
        self.register_buffer("means", torch.zeros(components, entries, dtype=torch.float64))
        self.register_buffer("centre", torch.zeros(entries, dtype=torch.float64))

    def anchor(self, x: Tensor) -> None:
        """Centre the data, and start all means there, because sums are taken about the means."""
        self.centre.copy_(x.mean(0, dtype=torch.float64))
        self.means.copy_(self.centre.expand_as(self.means))

    def expectations(self) -> Tensor:
        """The means."""
        return self.means

    @abstractmethod
    def covariance(self, k: int) -> Tensor:
        """The covariance of component ``k``, ``(D, D)``."""

    def update(self, sums: Mapping[str, Tensor]) -> None:
        """The M-step of the module's docstring."""
        target = self._pooled(sums)
        move = sums["shift"] / sums["count"].clamp_min(TINY)[:, None]
        self._update_covariance(sums, move, target)
        self.means += move

    @abstractmethod
    def _update_covariance(self, sums: Mapping[str, Tensor], move: Tensor, target: Tensor) -> None:
        """Set the covariances, where ``move`` is what the means are about to move by and ``target`` is T's diagonal."""

    def _pooled(self, sums: Mapping[str, Tensor]) -> Tensor:
        """T's diagonal, ``(D,)``."""
        count, shift = sums["count"], sums["shift"]
        offset = self.means - (count @ self.means + shift.sum(0)) / count.sum()
        total = sums["square"].sum(0) + 2 * (offset * shift).sum(0) + count @ offset.square()
        variance = (total / count.sum()).clamp_min(0)
        return variance + QUIET * variance.mean()

    def _worth(self, count: Tensor) -> float:
        """Nu: what the user set, else 0 if an average component has data enough."""
        if self.shrinkage is not None:
            return self.shrinkage
        enough = self.entries * (self.entries + 3) / 2
        return 0.0 if float(count.mean()) >= enough else self._prior()

    def _prior(self) -> float:
        """Nu where data are scarce: near the best on held-out digits, 8 × 8 and 28 × 28."""
        return 3.0

    def _scatter(self, sums: Mapping[str, Tensor], move: Tensor, target: Tensor) -> Tensor:
        """The shrunk covariances, ``(K, D, D)``, or ``(1, D, D)`` from scatters that were added up."""
        count, scatter = sums["count"], sums["scatter"]
        outer = count[:, None, None] * move[:, :, None] * move[:, None, :]
        if len(scatter) < len(count):
            count, outer = count.sum().reshape(1), outer.sum(0, keepdim=True)
        worth = self._worth(count)
        covariances = outer.neg_().add_(scatter)  # in place: of colour pictures, one such tensor is most of a gigabyte
        covariances.diagonal(dim1=-2, dim2=-1).add_(worth * target)
        return covariances.div_((count + worth).clamp_min(TINY)[:, None, None])

    def log_marginal(self, x: Tensor, observed: Tensor) -> Tensor:
        """Exact: the observed entries of a Gaussian are Gaussian, with that part of mean and covariance."""
        out = torch.zeros(self.components, len(x), dtype=torch.float64, device=x.device)
        for seen, rows in patterns(observed):
            for k in range(self.components):
                factor = torch.linalg.cholesky(self.covariance(k)[seen][:, seen])
                white = torch.linalg.solve_triangular(
                    factor, (x[rows][:, seen].double() - self.means[k, seen]).T, upper=False
                )
                out[k, rows] = -0.5 * white.square().sum(0) - factor.diagonal().log().sum() - 0.5 * len(white) * LOG_2PI
        return out

    def complete(self, x: Tensor, observed: Tensor, labels: Tensor, generator: Generator) -> Tensor:
        """Matheron's rule: a joint draw, corrected by the regression of its error on the observed entries."""
        draw = self.sample(labels, generator)
        error = torch.where(observed, x - draw, 0.0)
        for seen, rows in patterns(observed):
            for k in sorted(set(labels[rows].tolist())):
                mine = rows[labels[rows] == k]
                gain = _regression(self.covariance(k), seen)
                draw[mine[:, None], (~seen).nonzero().T] += error[mine][:, seen] @ gain
        return torch.where(observed, x, draw)

    def expected_sums(self, x: Tensor, observed: Tensor, weights: Tensor) -> Sums:
        """The E-step with missing entries (Little and Rubin 2002, section 11.2): regressions and what they leave."""
        K, D = self.means.shape
        shift = torch.zeros(K, D, dtype=torch.float64, device=x.device)
        scatter = torch.zeros(K, D, D, dtype=torch.float64, device=x.device)
        for seen, rows in patterns(observed):
            lost = ~seen
            for k in range(K):
                covariance, r = self.covariance(k), weights[k, rows]
                gain = _regression(covariance, seen)
                y = torch.zeros(len(rows), D, dtype=torch.float64, device=x.device)
                y[:, seen] = x[rows][:, seen].double() - self.means[k, seen]
                y[:, lost] = y[:, seen] @ gain
                shift[k] += r @ y
                scatter[k] += (y * r[:, None]).T @ y
                left = covariance[lost][:, lost] - covariance[lost][:, seen] @ gain
                scatter[k][torch.outer(lost, lost)] += r.sum() * left.flatten()
        square = scatter.diagonal(dim1=-2, dim2=-1).clone()
        return {"count": weights.sum(1), "shift": shift, "square": square, **self.second_moments(scatter)}

    def split(self, source: int, target: int) -> None:
        r"""A twin of the source, half a standard deviation from it: :math:`\mu + \tfrac12 \Sigma v / \sqrt{v^\top \Sigma v}`.

        v is the diagonal that the covariance is longest on. Whatever the number of entries, the Mahalanobis distance is 1/2.
        """
        covariance = self.covariance(source)
        std = covariance.diagonal().sqrt()
        v = torch.where(covariance[int(std.argmax())] < 0, -std, std)
        push = covariance @ v
        self.means[target] = self.means[source] + 0.5 * push / (v @ push).sqrt()
        self._copy_covariance(source, target)

    @abstractmethod
    def _copy_covariance(self, source: int, target: int) -> None:
        """Give component ``target`` the covariance of ``source``."""

    @abstractmethod
    def second_moments(self, scatter: Tensor) -> Sums:
        """The part of the scatters ``(K, D, D)`` that the M-step needs beyond their diagonals."""


def _regression(covariance: Tensor, seen: Tensor) -> Tensor:
    """The coefficients of the unseen entries on the seen ones, ``(seen, unseen)``."""
    factor = torch.linalg.cholesky(covariance[seen][:, seen])
    return torch.cholesky_solve(covariance[seen][:, ~seen], factor)


@final
class DenseGaussian(GaussianComponents):
    """Full covariances, one for each component or (``tied``) one for all; held as lower Cholesky factors.

    Args:
        components: K.
        entries: D.
        tied: Whether all components share one covariance.
        floor: Added to each variance.
        shrinkage: The prior's worth in data, or None.
    """

    scale_tril: Tensor

    def __init__(
        self, components: int, entries: int, *, tied: bool = False, floor: float, shrinkage: float | None
    ) -> None:
        super().__init__(components, entries, floor=floor, shrinkage=shrinkage)
        self.tied = tied
        eye = torch.eye(entries, dtype=torch.float64)
        self.register_buffer("scale_tril", eye.repeat(1 if tied else components, 1, 1))

    @property
    def freedom(self) -> int:
        """``K D`` means, and ``D (D + 1) / 2`` of each covariance."""
        D, covariances = self.entries, len(self.scale_tril)
        return self.components * D + covariances * D * (D + 1) // 2

    def kernel(self) -> Kernel:
        """Monomials while they are few and keep their digits, else whitening."""
        if MonomialKernel.suits(self.means - self.centre, self.scale_tril):
            return MonomialKernel(self.means, self.scale_tril, self.centre)
        return WhiteningKernel(self.means, self.scale_tril)

    def covariance(self, k: int) -> Tensor:
        """The covariance of component ``k``."""
        factor = self.scale_tril[0 if self.tied else k]
        return factor @ factor.T

    def _prior(self) -> float:
        return self.entries / 8

    def second_moments(self, scatter: Tensor) -> Sums:
        """All of them, added up where the covariance is shared."""
        return {"scatter": scatter.sum(0, keepdim=True) if self.tied else scatter}

    def _copy_covariance(self, source: int, target: int) -> None:
        if not self.tied:
            self.scale_tril[target] = self.scale_tril[source]

    def _update_covariance(self, sums: Mapping[str, Tensor], move: Tensor, target: Tensor) -> None:
        self.scale_tril.copy_(_factorised(self._scatter(sums, move, target), self.floor))

    def sample(self, labels: Tensor, generator: Generator) -> Tensor:
        """``mu + L eps``."""
        eps = torch.randn(len(labels), self.entries, generator=generator, dtype=torch.float64, device=self.means.device)
        for k in range(self.components):
            rows = labels == k
            eps[rows] = self.means[k] + eps[rows] @ self.scale_tril[0 if self.tied else k].T
        return eps


ATTEMPTS = 16
"""How often the diagonal is raised, tenfold each time: from rounding to as large as the matrix itself."""


def _factorised(covariance: Tensor, floor: float) -> Tensor:
    """Cholesky factors after adding the floor; where rounding left a matrix indefinite, after adding more of it."""
    covariance.diagonal(dim1=-2, dim2=-1).add_(floor)
    factor, failed = torch.linalg.cholesky_ex(covariance)
    more = 1e-14 * covariance.diagonal(dim1=-2, dim2=-1).mean(-1)
    for _ in range(ATTEMPTS):
        if not bool(failed.any()):
            return factor  # type: ignore[no-any-return]
        covariance.diagonal(dim1=-2, dim2=-1).add_(torch.where(failed > 0, more, 0.0)[:, None])
        factor, failed = torch.linalg.cholesky_ex(covariance)
        more = 10 * more
    raise Diverged(
        "A covariance is not positive definite, whatever is added to its diagonal.",
        got=f"variances from {float(covariance.diagonal(dim1=-2, dim2=-1).min()):g}",
        hint="use fewer components, more shrinkage, or another covariance",
    )


@final
class DiagonalGaussian(GaussianComponents):
    """Independent entries, each with its own variance or (``spherical``) all with the same.

    Args:
        components: K.
        entries: D.
        spherical: Whether a component has one variance for all entries.
        floor: Added to each variance.
        shrinkage: The prior's worth in data, or None.
    """

    variances: Tensor

    def __init__(
        self, components: int, entries: int, *, spherical: bool = False, floor: float, shrinkage: float | None
    ) -> None:
        super().__init__(components, entries, floor=floor, shrinkage=shrinkage)
        self.spherical = spherical
        self.register_buffer("variances", torch.ones(components, entries, dtype=torch.float64))

    @property
    def freedom(self) -> int:
        """``K D`` means, and D variances of each component, or one."""
        return self.components * (self.entries + (1 if self.spherical else self.entries))

    def kernel(self) -> Kernel:
        """Squares while they keep their digits, else entry by entry."""
        if SquaresKernel.suits(self.means - self.centre, self.variances):
            return SquaresKernel(self.means, self.variances, self.centre)
        return DiagonalKernel(self.means, self.variances)

    def covariance(self, k: int) -> Tensor:
        """The covariance of component ``k``."""
        return torch.diag(self.variances[k])

    def second_moments(self, scatter: Tensor) -> Sums:
        """None beyond the diagonals."""
        return {}

    def _update_covariance(self, sums: Mapping[str, Tensor], move: Tensor, target: Tensor) -> None:
        count = sums["count"]
        worth = self._worth(count)
        square = (sums["square"] - count[:, None] * move.square()).clamp_min(0) + worth * target
        variances = square / (count + worth).clamp_min(TINY)[:, None]
        if self.spherical:
            variances = variances.mean(1, keepdim=True)
        self.variances.copy_((variances + self.floor).expand_as(self.variances))

    def _copy_covariance(self, source: int, target: int) -> None:
        self.variances[target] = self.variances[source]

    def sample(self, labels: Tensor, generator: Generator) -> Tensor:
        """``mu + std eps``."""
        eps = torch.randn(len(labels), self.entries, generator=generator, dtype=torch.float64, device=self.means.device)
        return self.means[labels] + self.variances[labels].sqrt() * eps
