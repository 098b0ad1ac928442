r"""A latent model is a mixture of infinitely many components: how fast finitely many come near it.

    python examples/infinite_mixture.py --out infinite_mixture.png

With :math:`z \sim U(-1, 1)` and :math:`x \mid z \sim N(g(z), s^2 I)` in the plane, each z is a component, a round Gaussian (a
normal z is a uniform one under another g):

.. math:: p(x) = \int p(x \mid z)\, p(z)\, dz \approx p_K(x) = \sum_k w_k\, N(x; g(z_k), s^2 I).

Three ways to choose the K components:

=========  ====================================================================================================================
drawn      :math:`z_k \sim p(z)`, equal weights: the Monte Carlo estimate of ``evidence.py``, at all x at once
placed     the midpoints of K equal intervals of z, equal weights
legendre   the nodes and weights of Gauss and Legendre, which integrate polynomials of z up to degree 2K - 1 exactly
=========  ====================================================================================================================

For drawn components, expanding the logarithm at p and taking expectations,

.. math:: E\,\mathrm{KL}(p \| p_K) \approx \frac{I}{2K}, \quad
          I = E_{p(x,z)}\Big[\frac{p(x \mid z)}{p(x)}\Big] - 1, \qquad
          E\,\mathrm{TV}(p, p_K) \approx \frac{1}{\sqrt{2 \pi K}} \int \mathrm{std}_{p(z)}[p(x \mid z)]\, dx :

the more z tells about x (the smaller s), the more components are needed. Everything is a sum over a grid of x, finer than s; p
itself is a sum over a grid of z.

Components that are chosen need not stay where they are: a mixture that *learns* its means and covariances needs fewer still.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from picture import run

COUNTS = tuple(2**k for k in range(9))
"""Numbers of components K."""
REPEATS = 16
"""Sets of drawn components that are averaged over."""
NOISES = (0.2, 0.4, 0.8)
SHOWN = 0.4
"""The noise s of the picture, and of the table by K."""
ENOUGH = 0.01
"""Nats that are near enough, in the table by s."""
ROUNDING = 1e-12
"""Below it a divergence is told as 0."""
FINENESS, REACH = 2, 7
"""Points of the grid to a noise s: the sum of a Gaussian over such a grid is its integral to 1e-30."""
COLOURS = {"drawn": "#d65a1e", "placed": "#206eb4", "legendre": "#5a3c96"}


def curve(z: Tensor) -> Tensor:
    """g(z), ``(..., 2)``."""
    return torch.stack([4.5 * z, 1.5 * (6 * z).sin()], -1)


@dataclass(frozen=True, eq=False)
class Components:
    """Where components are and what they weigh, ``(K,)`` each."""

    z: Tensor
    weights: Tensor


def drawn_from_prior(count: int, seed: int) -> Components:
    """Independent draws."""
    noise = torch.Generator().manual_seed(seed)
    return even(2 * torch.rand(count, generator=noise, dtype=torch.float64) - 1)


def placed(count: int) -> Components:
    """The midpoints of ``count`` equal intervals."""
    return even((2 * torch.arange(count, dtype=torch.float64) + 1) / count - 1)


def legendre(count: int) -> Components:
    """Nodes and weights of Gauss and Legendre."""
    z, weights = np.polynomial.legendre.leggauss(count)
    return Components(torch.from_numpy(z), torch.from_numpy(weights / 2))


def dense() -> Components:
    """So many of these that the sum is the integral to the last digits."""
    return legendre(400)


def even(z: Tensor) -> Components:
    """Equal weights."""
    return Components(z, torch.full_like(z, 1 / len(z)))


@dataclass(frozen=True, eq=False)
class Plane:
    """The model on a grid of x.

    Args:
        std: The noise s.
        decode: The curve g.
    """

    std: float
    decode: Callable[[Tensor], Tensor] = curve

    @property
    def sides(self) -> tuple[Tensor, Tensor]:
        """The grid's coordinates, s / ``FINENESS`` apart, and ``REACH`` times s beyond the curve."""
        ends, step = (4.5 + REACH * self.std, 1.5 + REACH * self.std), self.std / FINENESS
        right, up = (torch.arange(-end, end, step, dtype=torch.float64) for end in ends)
        return right, up

    @functools.cached_property
    def x(self) -> Tensor:
        """The grid's points, ``(N, 2)``."""
        return torch.cartesian_prod(*self.sides)

    @property
    def area(self) -> float:
        """Of a point."""
        return (self.std / FINENESS) ** 2

    def each(self, z: Tensor) -> Tensor:
        """Log p(x | z) at every point, ``(N, K)``."""
        centres = self.decode(z)
        squares = torch.cdist(self.x, centres, compute_mode="donot_use_mm_for_euclid_dist").square()
        return -0.5 * squares / self.std**2 - math.log(2 * math.pi * self.std**2)

    def log_mixture(self, parts: Components) -> Tensor:
        """Log p_K at every point, ``(N,)``."""
        return torch.logsumexp(self.each(parts.z) + parts.weights.log(), 1)

    @functools.cached_property
    def log_prob(self) -> Tensor:
        """Log p at every point."""
        return self.log_mixture(dense())

    @functools.cached_property
    def second_moment(self) -> Tensor:
        """E[p(x | z)²] under the prior, at every point."""
        parts = dense()
        return (2 * self.each(parts.z)).exp() @ parts.weights

    @property
    def information(self) -> float:
        """I = ∫ E[p(x | z)²] / p(x) dx - 1, the chi-squared between p(x, z) and p(x) p(z)."""
        return float((self.second_moment.log() - self.log_prob).exp().sum()) * self.area - 1

    @property
    def spread(self) -> float:
        """∫ std[p(x | z)] dx."""
        variance = self.second_moment - (2 * self.log_prob).exp()
        return float(variance.clamp_min(0).sqrt().sum()) * self.area

    def divergence(self, log_q: Tensor) -> tuple[float, float]:
        """KL(p‖q) in nats, and the total variation, which is between 0 and 1."""
        p = self.log_prob.exp()
        kl = float((p * (self.log_prob - log_q)).sum()) * self.area
        return kl, 0.5 * float((p - log_q.exp()).abs().sum()) * self.area


def far(plane: Plane, parts: Components) -> tuple[float, float]:
    """How far a mixture is from the model."""
    return plane.divergence(plane.log_mixture(parts))


def far_when_drawn(plane: Plane, counts: tuple[int, ...], repeats: int = REPEATS) -> list[tuple[float, float]]:
    """The same of drawn components, averaged over repeats, for each count."""
    total = torch.zeros(len(counts), 2, dtype=torch.float64)
    for seed in range(repeats):
        sums = plane.each(drawn_from_prior(counts[-1], seed).z).logcumsumexp(1)
        total += torch.tensor([plane.divergence(sums[:, K - 1] - math.log(K)) for K in counts])
    return [(float(kl), float(tv)) for kl, tv in total / repeats]


@dataclass(frozen=True)
class Found:
    """What is told and drawn.

    Args:
        ways: Of each way, (KL, TV) for each of ``COUNTS``.
        information: I of ``SHOWN``.
        spread: The integral of the standard deviation, of ``SHOWN``.
        enough: For each noise I and, of each way, the least of ``COUNTS`` that is enough (of drawn ones, by theory), or None.
    """

    ways: dict[str, list[tuple[float, float]]]
    information: float
    spread: float
    enough: dict[float, dict[str, float | None]]


@functools.cache
def measured() -> Found:
    """All sums."""
    plane = Plane(SHOWN)
    chosen = {"placed": placed, "legendre": legendre}
    ways = {"drawn": far_when_drawn(plane, COUNTS)}
    ways |= {name: [far(plane, way(K)) for K in COUNTS] for name, way in chosen.items()}
    enough = {}
    for std in NOISES:
        of = Plane(std)
        least = {name: next((K for K in COUNTS if far(of, way(K))[0] <= ENOUGH), None) for name, way in chosen.items()}
        enough[std] = {"I": of.information, "drawn": of.information / (2 * ENOUGH), **least}
    return Found(ways, plane.information, plane.spread, enough)


def told(found: Found) -> str:
    """The convergence in numbers."""
    lines = [f"s = {SHOWN}: I = {found.information:.3f}, ∫ std = {found.spread:.3f}", ""]
    lines.append("  K   KL: drawn   I/2K      placed     legendre    TV: drawn  theory    placed     legendre")
    for i, K in enumerate(COUNTS):
        theory = (found.information / (2 * K), found.spread / math.sqrt(2 * math.pi * K))
        cells = [
            f"{v if v > ROUNDING else 0:<10.3g}"
            for j in (0, 1)
            for v in (found.ways["drawn"][i][j], theory[j], *(found.ways[way][i][j] for way in ("placed", "legendre")))
        ]
        lines.append(f"{K:3d}   " + " ".join(cells))
    lines.append(f"\n  s      I   components for {ENOUGH} nats: drawn (by theory)   placed   legendre")
    for std, row in found.enough.items():
        counts = "".join(f"{row[way] or 'more':>11}" for way in ("placed", "legendre"))
        lines.append(f"{std:3.1f} {row['I']:6.2f} {row['drawn']:44.0f}{counts}")
    return "\n".join(lines)


def drawn(found: Found) -> Figure:
    """The mixture of more and more components, the integral, and how far they are from it."""
    figure = Figure(figsize=(13, 4.6), layout="constrained")
    grid = figure.add_gridspec(2, 3)
    plane = Plane(SHOWN)
    few = {f"{K} components drawn from p(z)": drawn_from_prior(K, 0) for K in (4, 16, 64)}
    for place, (title, parts) in enumerate({**few, "infinitely many: p(x)": dense()}.items()):
        panel = figure.add_subplot(grid[place // 2, place % 2])
        density = plane.log_mixture(parts).exp().reshape(len(plane.sides[0]), -1).T
        left, low = (float(side[0]) for side in plane.sides)
        extent = (left, -left, low, -low)
        panel.imshow(
            density.sqrt().numpy(), origin="lower", extent=extent, interpolation="bilinear", cmap="Greys", vmax=0.5
        )
        centres = curve(parts.z)
        style = {"marker": "o", "markersize": 3, "linestyle": ""} if len(parts.z) < 100 else {"linewidth": 1}
        panel.plot(centres[:, 0], centres[:, 1], color="#d65a1e", **style)  # type: ignore[arg-type]
        panel.set(title=title, xlim=(-6, 6), ylim=(-3, 3))
    panel = figure.add_subplot(grid[:, 2])
    for name, values in found.ways.items():
        panel.loglog(COUNTS, [max(kl, 1e-9) for kl, _ in values], "o-", color=COLOURS[name], markersize=4, label=name)
    panel.loglog(COUNTS, [found.information / (2 * K) for K in COUNTS], "--", color=COLOURS["drawn"], label="I / 2K")
    panel.set(title="KL(p‖p_K), nats", xlabel="components K", ylim=(1e-8, 30))
    panel.legend(frameon=False)
    return figure


if __name__ == "__main__":
    run(__file__, __doc__, measured, told, drawn)
