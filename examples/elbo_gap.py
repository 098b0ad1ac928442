r"""What the evidence lower bound loses, by the family of the approximate posterior: independent, Gaussian, mixture, flow.

    python examples/elbo_gap.py --out elbo_gap.png

.. math:: \log p(x) = \underbrace{E_q[\log p(x, z) - \log q(z)]}_{\text{ELBO}} + \mathrm{KL}(q(z) \,\|\, p(z \mid x)),

so the gap is a divergence, and what a family cannot express it costs. One datum x, two latents :math:`z \sim N(0, I)`, and two
decoders:

===========  ======================================  ==========================================================================
posterior    decoder                                 log p(x)
===========  ======================================  ==========================================================================
correlated   :math:`x \sim N(w^T z, s^2)`            closed form, and so the gap of independent normals: -½ log(1 - r²), with r
                                                     the correlation
bimodal      :math:`x \sim N(z_1 z_2, s^2)`          an integral over one latent, because given :math:`z_1` the other is normal
===========  ======================================  ==========================================================================

The three numbers of the identity come by three ways: log p(x) as the table says, the ELBO as an integral over the noise ε of
z = f(ε), and the divergence as one over z. That they agree to 1e-6 is a check of all three.

A Gaussian takes one of two modes, as ``kl_fits.py`` says, and loses log 2 by that alone; a mixture of two takes both. A flow is
one piece of noise, bent: it reaches both modes over a thin bridge. (A Gaussian posterior asks for neither.)
"""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from picture import run
from pmodel.explicit.tractable.flow.coupling import Coupling, alternating, bit_masks
from pmodel.explicit.tractable.flow.transform import Composition, Diagonal

STD = 0.5
"""The decoders' noise s."""
LAYERS, WIDTH, STEPS, DRAWS = 8, 16, 800, 256
"""Of the flow: couplings, hidden units, steps of training, and draws in each."""
REACH = 12.0
"""Noise, and latents, are integrated over from -REACH to REACH."""
COLOURS = {"independent": "#d65a1e", "Gaussian": "#5a3c96", "mixture of two": "#206eb4", "flow": "#3c8c50"}


def integral(of: Callable[[Tensor], Tensor], tolerance: float = 1e-10) -> float:
    """Of a function ``(N, 2) -> (N,)`` over a square: by Gauss and Legendre, in cells that are cut until it changes little."""
    nodes, weights = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(8))
    inside, area = 0.5 + 0.5 * torch.cartesian_prod(nodes, nodes), torch.outer(weights, weights).flatten() / 4
    quarters = torch.cartesian_prod(*[torch.tensor([0.0, 0.5], dtype=torch.float64)] * 2)

    def over(corners: Tensor, side: float) -> Tensor:
        return of((corners.unsqueeze(1) + side * inside).reshape(-1, 2)).reshape(len(corners), -1) @ area * side**2

    corners, side, total = torch.cartesian_prod(*[torch.arange(-REACH, REACH, dtype=torch.float64)] * 2), 1.0, 0.0
    whole = over(corners, side)
    while len(corners):
        children = (corners.unsqueeze(1) + side * quarters).reshape(-1, 2)
        side /= 2
        parts = over(children, side).reshape(-1, 4)
        rough = (parts.sum(1) - whole).abs() > tolerance
        total += float(parts[~rough].sum())
        corners, whole = children.reshape(-1, 4, 2)[rough].reshape(-1, 2), parts[rough].flatten()
    return total


def standard(z: Tensor) -> Tensor:
    """Log N(z; 0, I) of ``(N, 2)``."""
    return -0.5 * z.square().sum(-1) - math.log(2 * math.pi)


def normal(x: Tensor | float, mu: Tensor, variance: Tensor | float) -> Tensor:
    """Log N(x; μ, variance)."""
    wide = torch.as_tensor(variance, dtype=torch.float64)
    return -0.5 * (x - mu).square() / wide - 0.5 * (2 * math.pi * wide).log()


@dataclass(frozen=True)
class Problem:
    """A datum and its decoder.

    Args:
        x: The datum.
        mean: Of p(x | z), ``(N, 2) -> (N,)``.
        log_evidence: log p(x), found without any of the sums below.
        starts: Means from which Gaussians are fitted.
    """

    x: float
    mean: Callable[[Tensor], Tensor]
    log_evidence: float
    starts: tuple[tuple[float, float], tuple[float, float]]

    def log_joint(self, z: Tensor) -> Tensor:
        """Log p(x, z), ``(N,)``."""
        return standard(z) + normal(self.x, self.mean(z), STD**2)


def correlated(x: float = 1.5, loading: float = 1.5) -> Problem:
    """A Gaussian posterior of precision I + wwᵀ / s²."""
    zero = torch.zeros((), dtype=torch.float64)
    evidence = float(normal(x, zero, 2 * loading**2 + STD**2))
    return Problem(x, lambda z: loading * z.sum(-1), evidence, ((0.5, 0.5), (0.0, 1.0)))


def bimodal(x: float = 2.0) -> Problem:
    """Two branches of a hyperbola: p(x) = ∫ N(z₁; 0, 1) N(x; 0, z₁² + s²) dz₁."""
    line = torch.linspace(-12, 12, 4801, dtype=torch.float64)
    terms = normal(0.0, line, 1.0) + normal(x, torch.zeros_like(line), line.square() + STD**2)
    evidence = float(torch.logsumexp(terms, 0)) + math.log(float(line[1] - line[0]))
    return Problem(x, lambda z: z[..., 0] * z[..., 1], evidence, ((1.3, 1.3), (-1.3, -1.3)))


def correlation(loading: float = 1.5) -> float:
    """Of the latents of ``correlated`` under their posterior."""
    share = loading**2 / STD**2
    return -share / (1 + share)


class Posterior(nn.Module, ABC):
    """A family of densities q on the plane: the image of standard normal noise."""

    @abstractmethod
    def gain(self, problem: Problem, noise: Tensor) -> Tensor:
        """Log p(x, z) - log q(z) at the image z of noise, ``(N, 2) -> (N,)``: its mean is the ELBO."""

    @abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """Log q(z), ``(N,)``."""


class Gaussians(Posterior):
    """A mixture of N(μ, LLᵀ), or one; L is diagonal where the latents are independent. Noise goes through each component."""

    def __init__(self, means: Sequence[tuple[float, float]], *, independent: bool = False) -> None:
        super().__init__()
        self.means = nn.Parameter(torch.tensor(means, dtype=torch.float64))
        self.log_scales = nn.Parameter(torch.full((len(means), 2), math.log(0.5), dtype=torch.float64))
        self.below = nn.Parameter(torch.zeros(len(means), dtype=torch.float64), requires_grad=not independent)
        self.logits = nn.Parameter(torch.zeros(len(means), dtype=torch.float64))

    def gain(self, problem: Problem, noise: Tensor) -> Tensor:
        """The mean over the components, by their weights."""
        z = noise.unsqueeze(1) * self.log_scales.exp() + self.means
        z = z + torch.stack([torch.zeros_like(z[..., 0]), self.below * noise[:, :1]], -1)
        gains = problem.log_joint(z) - self.log_prob(z.flatten(0, 1)).reshape(z.shape[:2])
        return gains @ self.logits.softmax(0)

    def log_prob(self, z: Tensor) -> Tensor:
        """The sum over the components, by forward substitution in L."""
        away = z.unsqueeze(1) - self.means
        first = away[..., 0] / self.log_scales[:, 0].exp()
        second = (away[..., 1] - self.below * first) / self.log_scales[:, 1].exp()
        each = standard(torch.stack([first, second], -1)) - self.log_scales.sum(1)
        return torch.logsumexp(each + self.logits.log_softmax(0), 1)


class Bend(nn.Module):
    """What tells a coupling how to move: one hidden layer, which starts at the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(2, width), nn.Linear(width, 4)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, kept: Tensor, context: Tensor | None) -> Tensor:
        """Raw scales and shifts, ``(N, 4)``."""
        return self.last(self.first(kept).tanh())  # type: ignore[no-any-return]


class Flow(Posterior):
    """pmodel's affine couplings of the noise: z = f(ε), log q(z) = log N(ε; 0, I) - log|det ∂f/∂ε|."""

    def __init__(self) -> None:
        super().__init__()
        couplings = [Coupling(mask, Bend(WIDTH)) for mask in alternating([*bit_masks(2)], LAYERS)]
        self.map = Composition([*couplings, Diagonal((2,))]).double()

    def gain(self, problem: Problem, noise: Tensor) -> Tensor:
        """Without inverting what was just computed."""
        z, ladj = self.map(noise)
        return problem.log_joint(z) - standard(noise) + ladj

    def log_prob(self, z: Tensor) -> Tensor:
        """By the inverse."""
        noise = self.map.inverse(z)
        return standard(noise) - self.map(noise)[1]


def climbed(family: Posterior, problem: Problem) -> Posterior:
    """The bound's maximum, by L-BFGS on a sum over a grid of noise: the trapezoid is exact enough for what is this smooth."""
    line = torch.linspace(-7, 7, 57, dtype=torch.float64)
    noise = torch.cartesian_prod(line, line)
    weights = standard(noise).softmax(0)
    free = [p for p in family.parameters() if p.requires_grad]
    optimiser = torch.optim.LBFGS(free, max_iter=200, tolerance_grad=1e-8, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = -weights @ family.gain(problem, noise)
        loss.backward()
        return loss

    optimiser.step(closure)
    return family


def trained(flow: Flow, problem: Problem, flattened: float = 0.1) -> Flow:
    """The same for a flow, by Adam on fresh noise in each step: on a fixed grid it would learn to hide between the points.

    The log-density is ``flattened`` at first, by a factor that grows to 1 in the first half: else it ends at one mode.
    """
    optimiser = torch.optim.Adam(flow.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    generator = torch.Generator().manual_seed(0)
    for step in range(STEPS):
        noise = torch.randn(DRAWS, 2, generator=generator, dtype=torch.float64)
        z, ladj = flow.map(noise)
        factor = min(1.0, flattened + (1 - flattened) * 2 * step / STEPS)
        optimiser.zero_grad()
        (-(factor * problem.log_joint(z) - standard(noise) + ladj).mean()).backward()
        optimiser.step()
        schedule.step()
    return flow


@dataclass(frozen=True)
class Row:
    """A family's bound and divergence, in nats, and the fitted q."""

    bound: float
    divergence: float
    q: Posterior


@torch.no_grad()
def judged(q: Posterior, problem: Problem) -> Row:
    """The bound over noise, and KL(q‖p(z | x)) over z."""

    def lost(z: Tensor) -> Tensor:
        log_q = q.log_prob(z)
        return log_q.exp() * (log_q - problem.log_joint(z) + problem.log_evidence)

    return Row(integral(lambda noise: standard(noise).exp() * q.gain(problem, noise)), integral(lost), q)


def gaussians(problem: Problem) -> dict[str, Posterior]:
    """The best Gaussians at the first start."""
    one = problem.starts[:1]
    return {
        "independent": climbed(Gaussians(one, independent=True), problem),
        "Gaussian": climbed(Gaussians(one), problem),
    }


def richer(problem: Problem) -> dict[str, Posterior]:
    """The best of larger families."""
    return {"mixture of two": climbed(Gaussians(problem.starts), problem), "flow": trained(fresh_flow(), problem)}


def fresh_flow() -> Flow:
    """With weights that depend on nothing else."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Flow()


Found = dict[tuple[str, str], tuple[Problem, Row]]


@functools.cache
def measured() -> Found:
    """Each family on each posterior."""
    one, two = correlated(), bimodal()
    fitted = {("correlated", name): (one, q) for name, q in gaussians(one).items()}
    fitted |= {("bimodal", name): (two, q) for name, q in (gaussians(two) | richer(two)).items()}
    return {key: (problem, judged(q, problem)) for key, (problem, q) in fitted.items()}


def told(found: Found) -> str:
    """The table."""
    lines = ["posterior    family             ELBO       KL(q‖p(z|x))   sum        log p(x)"]
    for (posterior, family), (problem, row) in found.items():
        numbers = f"{row.bound:9.6f}   {row.divergence:9.6f}     {row.bound + row.divergence:9.6f}"
        lines.append(f"{posterior:<12} {family:<15} {numbers}   {problem.log_evidence:9.6f}")
    return "\n".join(lines)


def drawn(found: Found) -> Figure:
    """The posteriors, and each family on them."""
    figure = Figure(figsize=(11, 7.6), layout="constrained")
    for panel, ((posterior, family), (problem, row)) in zip(figure.subplots(2, 3).flat, found.items(), strict=True):
        _contours(panel, problem, row.q, COLOURS[family])
        panel.set_title(f"{posterior}, {family}: gap {abs(row.divergence):.3f} nats", fontsize=11)
    return figure


@torch.no_grad()
def _contours(panel: Axes, problem: Problem, q: Posterior, colour: str) -> None:
    """p(z | x) as a shade, q as lines where its density is a half, a fifth and so on of its greatest."""
    line = torch.linspace(-3.2, 3.2, 161, dtype=torch.float64)
    z = torch.cartesian_prod(line, line)
    posterior = (problem.log_joint(z) - problem.log_evidence).exp().reshape(161, 161).T
    panel.imshow(
        posterior.sqrt().numpy(), origin="lower", extent=(-3.2, 3.2, -3.2, 3.2), cmap="Greys", interpolation="bilinear"
    )
    density = q.log_prob(z).exp().reshape(161, 161).T
    levels = [float(density.max()) * share for share in (0.01, 0.05, 0.2, 0.5)]
    panel.contour(line.numpy(), line.numpy(), density.numpy(), levels=levels, colors=colour, linewidths=1)


if __name__ == "__main__":
    run(__file__, __doc__, measured, told, drawn)
