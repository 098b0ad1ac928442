r"""Densities on the plane that are known exactly: what to draw from, and the best score that any model can reach.

The expected log-likelihood of a model is :math:`\mathbb{E}_p \log q(x) = -H(p) - \mathrm{KL}(p \| q)`, so that a
model's gap to ``-entropy`` is its Kullback-Leibler divergence from the truth.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Generator, Tensor

from ..errors import ShapeError

__all__ = ["Blobs", "Cells", "Circles", "Curves", "KnownDensity", "Pinwheel"]

Box = tuple[tuple[float, float], tuple[float, float]]
"""((left, right), (bottom, top))."""

REACH = 7.0
"""Standard deviations of noise that the window reaches beyond what is noisy: e^{-24.5} of the mass lies outside."""


class KnownDensity(ABC):
    """A density p(x) of points x of the plane."""

    box: Box
    """A window that holds all the mass, or all but less than 1e-9."""

    spacing: float
    """The grid on which sums over the window are integrals, to the precision that ``entropy`` states."""

    def sample(self, n: int, generator: Generator) -> Tensor:
        """``n`` independent points, float32 ``(n, 2)``."""
        return self._sample(n, generator).float()

    def log_prob(self, x: Tensor) -> Tensor:
        """The log-density in nats, float64 ``(N,)``; minus infinity outside the support.

        Raises:
            ShapeError: if x is not ``(N, 2)``.
        """
        if x.ndim != 2 or x.shape[1] != 2:
            raise ShapeError("x must be points of the plane.", got=tuple(x.shape), hint="pass a tensor of shape (N, 2)")
        parts = [self._log_prob(part) for part in torch.split(x.double(), 4096)]
        return torch.cat(parts)

    def away(self, x: Tensor) -> Tensor | None:
        """How far points ``(N, 2)`` are from the centres of K modes of equal weight, ``(N, K)`` in their standard deviations.

        None where the density is not made of such modes.
        """
        return None

    def grid(self) -> Tensor:
        """The midpoints of the squares, of side ``spacing``, that tile the window: float64 ``(M, 2)``."""
        sides = [
            torch.arange(low + self.spacing / 2, high, self.spacing, dtype=torch.float64) for low, high in self.box
        ]
        return torch.cartesian_prod(*sides)

    @cached_property
    def entropy(self) -> float:
        """H = -E log p in nats, by the midpoint rule over the window: right to 1e-6 or better."""
        return self._integrated_entropy()

    def _integrated_entropy(self) -> float:
        log_p = self.log_prob(self.grid())
        return -float(torch.special.xlogy(log_p.exp(), log_p.exp()).sum()) * self.spacing**2

    @abstractmethod
    def _sample(self, n: int, generator: Generator) -> Tensor: ...

    @abstractmethod
    def _log_prob(self, x: Tensor) -> Tensor: ...


def _window(points: Tensor, margin: float, spacing: float) -> Box:
    """The smallest window of whole squares around the points with a margin."""
    low = ((points.amin(0) - margin) / spacing).floor() * spacing
    high = ((points.amax(0) + margin) / spacing).ceil() * spacing
    return ((float(low[0]), float(high[0])), (float(low[1]), float(high[1])))


def _uniform(n: int, generator: Generator) -> Tensor:
    return torch.rand(n, generator=generator, dtype=torch.float64)


def _normal(n: int, generator: Generator) -> Tensor:
    return torch.randn(n, 2, generator=generator, dtype=torch.float64)


def _pick(n: int, count: int, generator: Generator) -> Tensor:
    return torch.randint(count, (n,), generator=generator)


class Blobs(KnownDensity):
    r"""Equally heavy Gaussians with one covariance: :math:`p(x) = \frac1K \sum_k \mathcal{N}(x; \mu_k, LL^\top)`.

    Args:
        means: The K centres.
        factor: The lower triangular factor L.
    """

    def __init__(self, means: Sequence[tuple[float, float]], factor: Sequence[tuple[float, float]]) -> None:
        self.means = torch.tensor(means, dtype=torch.float64)
        self.factor = torch.tensor(factor, dtype=torch.float64)
        std = float(self.factor.square().sum(1).sqrt().max())
        self.spacing = float(self.factor.diagonal().min()) / 4
        self.box = _window(self.means, REACH * std, self.spacing)

    @cached_property
    def entropy(self) -> float:
        """Closed form for one Gaussian, ½ log det(2πe LLᵀ); by the midpoint rule otherwise."""
        if len(self.means) > 1:
            return self._integrated_entropy()
        return 1 + math.log(2 * math.pi) + float(self.factor.diagonal().log().sum())

    def _sample(self, n: int, generator: Generator) -> Tensor:
        centres = self.means[_pick(n, len(self.means), generator)]
        return centres + _normal(n, generator) @ self.factor.T

    def away(self, x: Tensor) -> Tensor | None:
        """Mahalanobis distances, of more Gaussians than one."""
        return self._away(x.double()) if len(self.means) > 1 else None

    def _away(self, x: Tensor) -> Tensor:
        whitened = (x[:, None] - self.means) @ torch.linalg.inv(self.factor).T
        distances: Tensor = torch.linalg.vector_norm(whitened, dim=2)
        return distances

    def _log_prob(self, x: Tensor) -> Tensor:
        log_normal = -self._away(x).square() / 2 - math.log(2 * math.pi) - self.factor.diagonal().log().sum()
        return torch.logsumexp(log_normal, 1) - math.log(len(self.means))


class Curves(KnownDensity):
    r"""Curves run through at a uniform time, with Gaussian noise around them.

    .. math:: p(x) = \frac1K \sum_k \int_0^1 \mathcal{N}(x; c_k(t), \sigma^2 I)\, dt

    The integral is Gauss-Legendre with 16 nodes on each of equal panels, which are at most four standard deviations of
    the noise long, so that ``log_prob`` is right to 1e-9.

    Args:
        std: The standard deviation σ of the noise.
        panels: Into how many pieces the integral is cut.
    """

    def __init__(self, std: float, panels: int) -> None:
        self.std = std
        self.spacing = std / 2
        nodes, weights = np.polynomial.legendre.leggauss(16)
        inside = (torch.from_numpy(nodes) + 1) / 2
        t = ((torch.arange(panels)[:, None] + inside) / panels).flatten()
        curves = self.curves(t)
        self.nodes = curves.flatten(0, 1)
        self.log_weights = (torch.from_numpy(weights) / 2 / panels).log().repeat(panels * len(curves))
        self.log_weights -= math.log(len(curves))
        self.box = _window(self.nodes, REACH * std, self.spacing)

    @abstractmethod
    def curves(self, t: Tensor) -> Tensor:
        """The K curves at the times ``t`` from 0 to 1: ``(K, len(t), 2)``."""

    def _sample(self, n: int, generator: Generator) -> Tensor:
        curves = self.curves(_uniform(n, generator))
        chosen = curves[_pick(n, len(curves), generator), torch.arange(n)]
        return chosen + self.std * _normal(n, generator)

    def _log_prob(self, x: Tensor) -> Tensor:
        # log N(x; c, σ²I) = x·c / σ² - |c|² / 2σ² + (what does not depend on c): one matrix product
        variance = self.std**2
        inner = torch.addmm(self.log_weights - self.nodes.square().sum(1) / (2 * variance), x, self.nodes.T / variance)
        outer = x.square().sum(1) / (2 * variance) + math.log(2 * math.pi * variance)
        return torch.logsumexp(inner, 1) - outer


class Circles(KnownDensity):
    r"""Equally heavy circles around the origin with Gaussian noise.

    With :math:`r = |x|` and the modified Bessel function :math:`I_0`, the uniform angle integrates out:

    .. math:: p(x) = \frac1K \sum_k \frac{1}{2\pi\sigma^2} e^{-(r^2 + R_k^2) / 2\sigma^2} I_0(r R_k / \sigma^2)

    Args:
        radii: The K radii R.
        std: The standard deviation σ of the noise.
    """

    def __init__(self, radii: Sequence[float], std: float) -> None:
        self.radii = torch.tensor(radii, dtype=torch.float64)
        self.std = std
        self.spacing = std / 4
        corner = torch.full((1, 2), float(self.radii.max()), dtype=torch.float64)
        self.box = _window(torch.cat([corner, -corner]), REACH * std, self.spacing)

    def _sample(self, n: int, generator: Generator) -> Tensor:
        angle = 2 * math.pi * _uniform(n, generator)
        radius = self.radii[_pick(n, len(self.radii), generator)]
        circle = torch.stack([angle.cos(), angle.sin()], 1)
        return radius[:, None] * circle + self.std * _normal(n, generator)

    def _log_prob(self, x: Tensor) -> Tensor:
        r = torch.linalg.vector_norm(x, dim=1)[:, None]
        log_bessel = torch.special.i0e(r * self.radii / self.std**2).log()  # I0(a) e^-a, which does not overflow
        log_ring = log_bessel - (r - self.radii).square() / (2 * self.std**2)
        return torch.logsumexp(log_ring, 1) - math.log(2 * math.pi * self.std**2 * len(self.radii))


class Pinwheel(KnownDensity):
    r"""Gaussian arms around the origin, twisted.

    A point y of arm k, :math:`y \sim \mathcal{N}((1, 0), \mathrm{diag}(\tau^2, \sigma^2))`, is turned by the angle
    :math:`2\pi k / K + \omega e^{|y|}`. Since the angle depends on the radius alone, the map keeps areas and undoes
    exactly (the usual recipe turns by the first coordinate, and then has no inverse): the density is that of y.

    Args:
        arms: Their number K.
        std: Along (τ) and across (σ) an arm.
        twist: The rate ω.
    """

    def __init__(self, arms: int, std: tuple[float, float], twist: float) -> None:
        self.arms = arms
        self.std = torch.tensor(std, dtype=torch.float64)
        self.twist = twist
        self.spacing = min(std) / 8
        reach = 1 + REACH * max(std)
        self.box = _window(torch.tensor([[-reach, -reach], [reach, reach]], dtype=torch.float64), 0.0, self.spacing)

    def _turned(self, x: Tensor, sign: float, arm: Tensor) -> Tensor:
        radius = torch.linalg.vector_norm(x, dim=-1)
        angle = sign * (2 * math.pi * arm / self.arms + self.twist * radius.exp())
        cos, sin = angle.cos(), angle.sin()
        return torch.stack([cos * x[..., 0] - sin * x[..., 1], sin * x[..., 0] + cos * x[..., 1]], -1)

    def _sample(self, n: int, generator: Generator) -> Tensor:
        y = torch.tensor([1.0, 0.0], dtype=torch.float64) + self.std * _normal(n, generator)
        return self._turned(y, 1.0, _pick(n, self.arms, generator))

    def _log_prob(self, x: Tensor) -> Tensor:
        y = self._turned(x[:, None].expand(-1, self.arms, -1), -1.0, torch.arange(self.arms))
        away = (y - torch.tensor([1.0, 0.0], dtype=torch.float64)) / self.std
        log_normal = -away.square().sum(2) / 2 - math.log(2 * math.pi) - self.std.log().sum()
        return torch.logsumexp(log_normal, 1) - math.log(self.arms)


class Cells(KnownDensity):
    """The uniform density on some squares of a grid.

    Args:
        inside: Which squares, bool ``(columns, rows)``, counted from the lower left.
        corner: The lower left corner of the grid.
        side: The side of a square; a power of two, so that points are exact in single precision.
    """

    def __init__(self, inside: Tensor, corner: tuple[float, float], side: float) -> None:
        self.inside = inside
        self.corner = torch.tensor(corner, dtype=torch.float64)
        self.side = side
        self.spacing = side / max(1, 256 // max(inside.shape))
        top = [low + side * count for low, count in zip(corner, inside.shape, strict=True)]
        self.box = ((corner[0], top[0]), (corner[1], top[1]))
        self.cells = inside.nonzero()

    @cached_property
    def entropy(self) -> float:
        """The logarithm of the area, exactly."""
        return math.log(len(self.cells) * self.side**2)

    def _sample(self, n: int, generator: Generator) -> Tensor:
        cell = self.cells[_pick(n, len(self.cells), generator)]
        # The centres of 2^12 x 2^12 small squares of each: no point lies on an edge, and float32 moves none across.
        within = torch.randint(2**12, (n, 2), generator=generator).double() + 0.5
        return self.corner + self.side * (cell + within / 2**12)

    def _log_prob(self, x: Tensor) -> Tensor:
        index = ((x - self.corner) / self.side).floor().long()
        shape = torch.tensor(self.inside.shape)
        in_grid = ((index >= 0) & (index < shape)).all(1)
        column, row = index.clamp(min=torch.zeros(2, dtype=torch.long), max=shape - 1).unbind(1)
        uniform = torch.full(in_grid.shape, -self.entropy, dtype=torch.float64)
        return uniform.masked_fill(~(in_grid & self.inside[column, row]), -math.inf)
