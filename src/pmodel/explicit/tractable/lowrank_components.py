r"""Gaussian components whose covariance is of low rank plus noise: mixtures of factor analysers, for images.

.. math:: x = \mu_k + W_k z + \epsilon, \quad z \sim N(0, I_q), \quad \epsilon \sim N(0, \Psi_k)
          \qquad\Rightarrow\qquad \Sigma_k = W_k W_k^\top + \Psi_k

With :math:`\Psi = \sigma^2 I` this is probabilistic principal component analysis, whose M-step is an eigendecomposition of the
scatter (Tipping and Bishop 1999, equations 7 and 8). With a diagonal :math:`\Psi`, which lets the empty border of a picture be
quiet, it is factor analysis: the M-step is some steps of the EM algorithm of Rubin and Thayer (1982) on the scatter.
Densities need no D × D inverse (Woodbury): with :math:`A = \Psi^{-1/2} W`, :math:`y = \Psi^{-1/2}(x - \mu)` and
:math:`I + A^\top A = L L^\top`,

.. math:: (x-\mu)^\top \Sigma^{-1} (x-\mu) = \|y\|^2 - \|L^{-1} A^\top y\|^2, \qquad
          |\Sigma| = |\Psi| \, |L|^2 .
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
from torch import Generator, Tensor

from .components import Kernel, Sums
from .gaussian_components import GaussianComponents
from .gaussian_kernels import LOG_2PI, scatter_sums

__all__ = ["LowRankGaussian", "LowRankKernel"]


@final
class LowRankKernel(Kernel):
    """Densities by projections, sums by weighted outer products.

    Args:
        means: ``(K, D)``.
        loadings: W, ``(K, D, q)``.
        noise: The diagonals of Psi, ``(K, D)``.
    """

    def __init__(self, means: Tensor, loadings: Tensor, noise: Tensor) -> None:
        self.means, self.rates = means, noise.rsqrt()
        scaled = loadings * self.rates[:, :, None]
        eye = torch.eye(loadings.shape[2], dtype=means.dtype, device=means.device)
        factor = torch.linalg.cholesky(eye + scaled.mT @ scaled)
        self.projections = torch.linalg.solve_triangular(factor, scaled.mT, upper=False)  # (K, q, D)
        log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1) - self.rates.log().sum(-1)
        self.constant: Tensor = -log_det - 0.5 * means.shape[1] * LOG_2PI

    def features(self, x: Tensor) -> Tensor:
        """The data themselves."""
        return x.double()

    def log_prob(self, features: Tensor) -> Tensor:
        """Woodbury's identity."""
        distances = []
        for mean, rate, projection in zip(self.means, self.rates, self.projections, strict=True):
            y = (features - mean) * rate
            distances.append(y.square().sum(1) - (y @ projection.T).square().sum(1))
        return self.constant[:, None] - 0.5 * torch.stack(distances)

    def sums(self, features: Tensor, weights: Tensor) -> Sums:
        """About the means."""
        return scatter_sums(features, weights, self.means)


@final
class LowRankGaussian(GaussianComponents):
    """Factor analysers.

    Args:
        components: K.
        entries: D.
        rank: q, the number of factors.
        isotropic: Whether the noise is the same in all entries of a component.
        floor: The least noise variance.
        shrinkage: The prior's worth in data, or None.
    """

    STEPS = 5
    """Steps of factor analysis in an M-step: each costs little beside the pass over the data."""

    loadings: Tensor
    noise: Tensor

    def __init__(
        self, components: int, entries: int, *, rank: int, isotropic: bool, floor: float, shrinkage: float | None
    ) -> None:
        super().__init__(components, entries, floor=floor, shrinkage=shrinkage)
        self.rank = rank
        self.isotropic = isotropic
        self.register_buffer("loadings", torch.zeros(components, entries, rank, dtype=torch.float64))
        self.register_buffer("noise", torch.ones(components, entries, dtype=torch.float64))

    @property
    def freedom(self) -> int:
        """D means, ``D q - q (q - 1) / 2`` loadings (which are known up to a rotation), and the noise, for each component."""
        D, q = self.entries, self.rank
        return self.components * (D + D * q - q * (q - 1) // 2 + (1 if self.isotropic else D))

    def kernel(self) -> Kernel:
        """Woodbury."""
        return LowRankKernel(self.means, self.loadings, self.noise)

    def covariance(self, k: int) -> Tensor:
        """The covariance of component ``k``."""
        W = self.loadings[k]
        return W @ W.T + torch.diag(self.noise[k])

    def second_moments(self, scatter: Tensor) -> Sums:
        """All of them."""
        return {"scatter": scatter}

    def _update_covariance(self, sums: Mapping[str, Tensor], move: Tensor, target: Tensor) -> None:
        for k, covariance in enumerate(self._scatter(sums, move, target)):
            if self.isotropic or not bool(self.loadings[k].any()):
                self.loadings[k], self.noise[k] = principal(covariance, self.rank, self.floor)
            if not self.isotropic:
                for _ in range(self.STEPS):
                    self.loadings[k], self.noise[k] = factor_step(
                        covariance, self.loadings[k], self.noise[k], self.floor
                    )

    def _copy_covariance(self, source: int, target: int) -> None:
        self.loadings[target] = self.loadings[source]
        self.noise[target] = self.noise[source]

    def sample(self, labels: Tensor, generator: Generator) -> Tensor:
        """``mu + W z + eps``."""
        n, device = len(labels), self.means.device
        z = torch.randn(n, self.rank, generator=generator, dtype=torch.float64, device=device)
        x = torch.randn(n, self.entries, generator=generator, dtype=torch.float64, device=device)
        for k in range(self.components):
            rows = labels == k
            x[rows] = self.means[k] + z[rows] @ self.loadings[k].T + x[rows] * self.noise[k].sqrt()
        return x


def principal(covariance: Tensor, rank: int, floor: float) -> tuple[Tensor, Tensor]:
    r"""Maximum likelihood of probabilistic PCA: :math:`W = U_q (\Lambda_q - \sigma^2 I)^{1/2}`, sigma² the mean of the rest.

    Returns:
        Loadings ``(D, q)`` and noise variances ``(D,)``, all equal.
    """
    values, vectors = torch.linalg.eigh(covariance)
    left = values[: len(values) - rank]
    noise = (left.mean() if len(left) else values.new_tensor(floor)).clamp_min(floor)
    loadings = vectors[:, -rank:] * (values[-rank:] - noise).clamp_min(0).sqrt()
    return loadings, noise.expand(len(values))


def factor_step(covariance: Tensor, loadings: Tensor, noise: Tensor, floor: float) -> tuple[Tensor, Tensor]:
    r"""One EM step of factor analysis on a covariance S (Rubin and Thayer 1982).

    .. math:: \beta = (I + W^\top \Psi^{-1} W)^{-1} W^\top \Psi^{-1}, \quad
              W' = S \beta^\top (I - \beta W + \beta S \beta^\top)^{-1}, \quad \Psi' = \mathrm{diag}(S - W' \beta S)
    """
    scaled = loadings / noise[:, None]
    eye = torch.eye(loadings.shape[1], dtype=loadings.dtype, device=loadings.device)
    beta = torch.linalg.solve(eye + loadings.T @ scaled, scaled.T)
    cross = covariance @ beta.T
    second = eye - beta @ loadings + beta @ cross
    new = torch.linalg.solve(second, cross.T).T
    return new, (covariance.diagonal() - (new * cross).sum(1)).clamp_min(floor)
