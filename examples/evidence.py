r"""The integral that a latent model needs, by Monte Carlo: draws from the prior, and draws from a guess of the posterior.

    python examples/evidence.py --out evidence.png

Probabilistic PCA: :math:`z \sim N(0, I_d)`, :math:`x \mid z \sim N(Wz, s^2 I_D)`, so that :math:`p(x) = N(0, WW^T + s^2 I)` is
known, and every estimate of it can be held against the truth:

.. math:: p(x) = E_{p(z)}[p(x \mid z)] \approx \frac1n \sum_i p(x \mid z_i), \qquad
          p(x) = E_{q(z|x)}[w(z)] \approx \frac1n \sum_i w(z_i), \quad w(z) = \frac{p(x \mid z)\, p(z)}{q(z \mid x)}.

Both are unbiased, whatever q is (as long as it misses nothing). What differs is the variance. With
:math:`\rho = \mathrm{Var}[w] / p(x)^2`, the relative error of n draws is :math:`\sqrt{\rho / n}`, and the *log* of the estimate
lies below log p(x) by about ρ / 2n on average: it is the importance-weighted bound. Here every ρ is a Gaussian integral,

.. math:: 1 + \rho = \frac{1}{p(x)^2} \int \frac{p(x, z)^2}{q(z)} \, dz, \qquad
          \text{finite only if } 2 \Lambda - \Lambda_q \text{ is positive definite,}

with :math:`\Lambda = I + W^T W / s^2` and :math:`\Lambda_q` the precisions of the posterior and of q.

==============================  ============================================================================================
draws from                      what one finds
==============================  ============================================================================================
the prior                       ρ grows exponentially with d: from some ten latents on, n draws see nothing of p(x)
the best factorised normal      what a VAE's encoder has at best. It is narrower than the posterior, here from five latents on
                                so narrow that ρ is *infinite*: few draws are better than from any other guess, but errors
                                fall more slowly than 1/√n, and no standard error is true
the same, with twice the std    ρ is finite, and the errors do what they should
the posterior itself            ρ = 0: each draw has the weight p(x)
==============================  ============================================================================================
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from matplotlib.figure import Figure
from torch import Generator, Tensor

from picture import run

DIMENSIONS = (2, 5, 10, 20)
REPEATS, DRAWS = 80, 4096
"""Estimates of each kind, and the most draws of one."""
WAYS = {"prior": "#d65a1e", "factorised": "#5a3c96", "wider": "#206eb4", "posterior": "#3c8c50"}
"""Where z is drawn from, and its colour."""
WIDER = 2.0
"""How many times the standard deviation of the factorised posterior."""


@dataclass(frozen=True, eq=False)
class Gaussian:
    """N(mean, precision⁻¹) of z: ``(d,)`` and ``(d, d)``."""

    mean: Tensor
    precision: Tensor

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density of ``(..., d)``."""
        away = z - self.mean
        quadratic = (away @ self.precision * away).sum(-1)
        return 0.5 * (torch.logdet(self.precision) - len(self.mean) * math.log(2 * math.pi) - quadratic)

    def sample(self, n: int, generator: Generator) -> Tensor:
        """``(n, d)``."""
        noise = torch.randn(n, len(self.mean), generator=generator, dtype=torch.float64)
        return self.mean + torch.linalg.solve_triangular(torch.linalg.cholesky(self.precision).T, noise.T, upper=True).T


@dataclass(frozen=True, eq=False)
class PCA:
    """Probabilistic PCA with one datum: loadings ``(D, d)``, the noise's standard deviation, and x ``(D,)``."""

    loadings: Tensor
    std: float
    x: Tensor

    @property
    def prior(self) -> Gaussian:
        """N(0, I)."""
        d = self.loadings.shape[1]
        return Gaussian(torch.zeros(d, dtype=torch.float64), torch.eye(d, dtype=torch.float64))

    @property
    def posterior(self) -> Gaussian:
        """p(z | x), with the precision Λ = I + WᵀW / s² and the mean Λ⁻¹ Wᵀ x / s²."""
        precision = self.prior.precision + self.loadings.T @ self.loadings / self.std**2
        return Gaussian(torch.linalg.solve(precision, self.loadings.T @ self.x / self.std**2), precision)

    def factorised(self, wider: float = 1.0) -> Gaussian:
        """The independent normals with the least KL(q‖p(z | x)): its mean, and the diagonal of its precision."""
        exact = self.posterior
        return Gaussian(exact.mean, exact.precision.diagonal().diag() / wider**2)

    def ways(self) -> dict[str, Gaussian]:
        """What z is drawn from."""
        qs = (self.prior, self.factorised(), self.factorised(WIDER), self.posterior)
        return dict(zip(WAYS, qs, strict=True))

    @property
    def log_evidence(self) -> float:
        """Log N(x; 0, WWᵀ + s² I)."""
        covariance = self.loadings @ self.loadings.T + self.std**2 * torch.eye(len(self.x), dtype=torch.float64)
        return float(Gaussian(torch.zeros_like(self.x), torch.linalg.inv(covariance)).log_prob(self.x))

    def log_likelihood(self, z: Tensor) -> Tensor:
        """Log p(x | z) of ``(..., d)``."""
        scaled = (self.x - z @ self.loadings.T) / self.std
        return -0.5 * scaled.square().sum(-1) - len(self.x) * (math.log(self.std) + 0.5 * math.log(2 * math.pi))

    def log_weights(self, q: Gaussian, n: int, generator: Generator) -> Tensor:
        """``(n,)`` draws of log p(x, z) - log q(z)."""
        z = q.sample(n, generator)
        return self.log_likelihood(z) + self.prior.log_prob(z) - q.log_prob(z)

    def log_relative_second_moment(self, q: Gaussian) -> float:
        r"""The number log(1 + ρ) = log ∫ p(z | x)² / q(z) dz, infinite where the integral is.

        With :math:`M = 2\Lambda - \Lambda_q`, and :math:`\delta` the difference of the means of posterior and q, it is

        .. math:: \log|\Lambda| - \tfrac12 \log|\Lambda_q| - \tfrac12 \log|M| + \delta^T \Lambda_q M^{-1} \Lambda \, \delta.
        """
        exact = self.posterior
        rest = 2 * exact.precision - q.precision
        if float(torch.linalg.eigvalsh(rest)[0]) <= 0:
            return math.inf
        shift = exact.mean - q.mean
        spread = torch.logdet(exact.precision) - 0.5 * torch.logdet(q.precision) - 0.5 * torch.logdet(rest)
        return float(spread + shift @ q.precision @ torch.linalg.solve(rest, exact.precision @ shift))


def model(d: int) -> PCA:
    """Twice as many observed entries as latents, loadings of random directions, and a datum of the model's own."""
    noise = torch.Generator().manual_seed(d)
    loadings = torch.randn(2 * d, d, generator=noise, dtype=torch.float64) / math.sqrt(2)
    z, e = (torch.randn(k, generator=noise, dtype=torch.float64) for k in (d, 2 * d))
    return PCA(loadings, 1.0, loadings @ z + e)


@dataclass(frozen=True)
class Row:
    """One way of drawing at one dimension.

    Args:
        d: Latents.
        way: Where z is drawn from.
        log_moment: log(1 + ρ), in closed form.
        counts: Numbers of draws n.
        errors: Root mean square of log p̂ - log p of n draws, over the repeats.
        bias: Its mean.
    """

    d: int
    way: str
    log_moment: float
    counts: tuple[int, ...]
    errors: tuple[float, ...]
    bias: tuple[float, ...]

    @property
    def needed(self) -> float:
        """Draws for a relative error of a tenth: 100 ρ."""
        return 100 * math.expm1(self.log_moment) if self.log_moment < 700 else math.inf


def estimated(pca: PCA, way: str, repeats: int = REPEATS, draws: int = DRAWS) -> Row:
    """The errors of estimates of n = 1, 4, 16, … draws: the first n of the same."""
    q = pca.ways()[way]
    noise = torch.Generator().manual_seed(0)
    logs = torch.stack([pca.log_weights(q, draws, noise) for _ in range(repeats)])
    counts = tuple(4**k for k in range(int(math.log(draws, 4)) + 1))
    gaps = torch.stack([logs[:, :n].logsumexp(1) - math.log(n) for n in counts]) - pca.log_evidence
    moment = pca.log_relative_second_moment(q)
    errors, bias = gaps.square().mean(1).sqrt(), gaps.mean(1)
    return Row(len(q.mean), way, moment, counts, tuple(errors.tolist()), tuple(bias.tolist()))


@functools.cache
def measured() -> tuple[Row, ...]:
    """Every way at every dimension."""
    return tuple(estimated(model(d), way) for d in DIMENSIONS for way in WAYS)


def told(rows: tuple[Row, ...]) -> str:
    """The table: what theory says, and what was found."""
    lines = [
        " d  z drawn from  log(1 + ρ)  draws for 10 %   rms error of log p̂, n = 16, 256, 4096      its mean, n = 4096"
    ]
    for row in rows:
        errors = "".join(f"{row.errors[row.counts.index(n)]:11.4f}" for n in (16, 256, 4096))
        moment, needed = f"{row.log_moment:10.3f}", f"{row.needed:13.1e}"
        if row.log_moment == math.inf:
            moment, needed = "  infinite", "     infinite"
        lines.append(f"{row.d:2d}  {row.way:<12} {moment}  {needed}  {errors}      {row.bias[-1]:14.4f}")
    return "\n".join(lines)


def drawn(rows: tuple[Row, ...]) -> Figure:
    """A panel for each dimension: the error against n, and the line that theory draws."""
    figure = Figure(figsize=(13, 3.9), layout="constrained")
    panels = figure.subplots(1, len(DIMENSIONS), sharey=True)
    for panel, d in zip(panels, DIMENSIONS, strict=True):
        for row in (row for row in rows if row.d == d and row.way != "posterior"):
            panel.loglog(row.counts, row.errors, "o-", color=WAYS[row.way], markersize=4, label=row.way)
            if row.log_moment < math.inf:
                line = [
                    math.exp(0.5 * row.log_moment) * math.sqrt(-math.expm1(-row.log_moment) / n) for n in row.counts
                ]
                panel.loglog(row.counts, line, "--", color=WAYS[row.way], linewidth=1)
        panel.set(title=f"{d} latents, {2 * d} entries", xlabel="draws n", ylim=(1e-3, 1e3))
    panels[0].set_ylabel("rms error of log p̂(x), nats")
    panels[0].legend(frameon=False, title="z drawn from (dashed: √(ρ/n))")
    return figure


if __name__ == "__main__":
    run(__file__, __doc__, measured, told, drawn)
