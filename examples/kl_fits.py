r"""A Gaussian fitted to a mixture of two, by the forward and by the reverse divergence: what each of them looks for.

    python examples/kl_fits.py --out kl_fits.png

The target is :math:`p = \sum_k w_k N(m_k, s_k^2)`: a tall, narrow, light component and a broad, heavy one. The fit is
:math:`q = N(\mu, \sigma^2)`.

**Forward**, KL(p‖q), is maximum likelihood of data from p. Its only minimum has the moments of p:
:math:`\mu = E_p[x]`, :math:`\sigma^2 = \mathrm{Var}_p[x]`. It covers both components, and the valley between them.

**Reverse**, KL(q‖p), is what variational inference descends. It has a minimum at each component that stands apart, and the
start decides which of them is found. With :math:`r_k = (p - w_k N_k) / (w_k N_k)`, which is what the other components add,

.. math:: \mathrm{KL}(q \| p) = -\log w_k + \mathrm{KL}(q \| N(m_k, s_k^2)) - E_q[\log(1 + r_k)].

At a component that q can match, the middle term vanishes, and the last is next to nothing where the others are far: the minimum
is -log w, and never more. So the *heaviest* component has the least. The notes say the *highest peak*; here the highest peak is
the lighter one, and the worse fit. (Components that do not have the shape of q pay the middle term, too.)

The highest peak does win if the width of q is held fixed and small. Then the middle term, log(s/σ) + σ²/(2s²) − ½, decides with
the weight, and two components cost the same at

.. math:: \sigma^2 = \frac{2 \log\frac{w_1 / s_1}{w_2 / s_2}}{1/s_1^2 - 1/s_2^2},

where :math:`w_k / s_k` is the height of a peak but for a constant. In the limit σ → 0 only heights count: that is the *mode*
of p, the point of maximum a posteriori, and no approximation of p by its divergence.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from picture import run

T = torch.linspace(-9, 9, 1801, dtype=torch.float64)
"""Where expectations under N(0, 1) are summed: for a smooth function the trapezoid's error is below 1e-12 of it."""
MASS = torch.exp(-0.5 * T.square()) * (float(T[1] - T[0]) / math.sqrt(2 * math.pi))
STARTS = (-8.0, -6.0, -5.0, -4.0, -3.0, -2.0, 0.0, 2.0, 4.0, 6.0, 8.0)
"""Means from which KL(q‖p) is descended, all with standard deviation 1."""
GAPS = (8.0, 6.0, 5.0, 4.0, 3.0, 2.0)
"""Distances between the means of the components, in the table of how near they may come."""
PEAKS = (".60", ".19")
GREY, BLUE, ORANGE, PURPLE = "#8c8c8c", "#206eb4", "#d65a1e", "#5a3c96"


@dataclass(frozen=True, eq=False)
class Mixture:
    """A mixture of Gaussians on the line: weights, means, and standard deviations, ``(K,)`` each."""

    weights: Tensor
    means: Tensor
    stds: Tensor

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density at points of any shape."""
        scaled = (x.unsqueeze(-1) - self.means) / self.stds
        return torch.logsumexp(self.weights.log() - _half_log(self.stds) - 0.5 * scaled.square(), -1)

    @property
    def moments(self) -> tuple[float, float]:
        """Mean and standard deviation of the whole."""
        mean = self.weights @ self.means
        return float(mean), float((self.weights @ (self.stds**2 + self.means**2) - mean**2).sqrt())

    @property
    def entropy(self) -> float:
        """In nats: each component's share of -E_p[log p]."""
        shares = [MASS @ self.log_prob(m + s * T) for m, s in zip(self.means, self.stds, strict=True)]
        return -float(self.weights @ torch.stack(shares))


@dataclass(frozen=True)
class Fit:
    """A Gaussian, and its divergences from the target in both directions, in nats."""

    mu: float
    std: float
    forward: float
    reverse: float


def target(gap: float = 8.0) -> Mixture:
    """30 % in a peak of .60, 70 % in a broad one of .19; their means are ``gap`` apart."""
    return Mixture(*torch.tensor([[0.3, 0.7], [-gap / 2, gap / 2], [0.2, 1.5]], dtype=torch.float64))


def forward(p: Mixture, mu: float, std: float) -> float:
    """KL(p‖q): the cross-entropy needs only the moments of p."""
    mean, spread = p.moments
    cross = math.log(std) + 0.5 * math.log(2 * math.pi) + (spread**2 + (mean - mu) ** 2) / (2 * std**2)
    return cross - p.entropy


def reverse(p: Mixture, mu: Tensor, log_std: Tensor) -> Tensor:
    """KL(q‖p) of Gaussians of any batch, by quadrature: differentiable."""
    x = mu.unsqueeze(-1) + log_std.exp().unsqueeze(-1) * T
    return -_half_log(log_std.exp()) - 0.5 - p.log_prob(x) @ MASS


def _half_log(std: Tensor) -> Tensor:
    """½ log 2πσ²."""
    return std.log() + 0.5 * math.log(2 * math.pi)


def fitted(p: Mixture, mu: float, std: float) -> Fit:
    """A Gaussian with both of its divergences."""
    where = torch.tensor([mu, math.log(std)], dtype=torch.float64)
    return Fit(mu, std, forward(p, mu, std), float(reverse(p, *where)))


def moment_matched(p: Mixture) -> Fit:
    """The one minimum of KL(p‖q), in closed form."""
    return fitted(p, *p.moments)


def descended(p: Mixture, mu: float, std: float) -> Fit:
    """The minimum of KL(q‖p) that L-BFGS finds from a start."""
    place = torch.tensor([mu, math.log(std)], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [place], max_iter=300, tolerance_grad=1e-9, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = reverse(p, *place)
        loss.backward()
        return loss

    optimiser.step(closure)
    found = place.detach()
    return fitted(p, float(found[0]), float(found[1].exp()))


def slope_and_curvature(p: Mixture, fit: Fit) -> tuple[float, float]:
    """The largest entry of the gradient of KL(q‖p) and the least eigenvalue of its Hessian, in (μ, log σ)."""

    def at(place: Tensor) -> Tensor:
        return reverse(p, *place)

    place = torch.tensor([fit.mu, math.log(fit.std)], dtype=torch.float64)
    hessian = torch.autograd.functional.hessian(at, place)
    slope = torch.autograd.functional.jacobian(at, place).abs().max()
    return float(slope), float(torch.linalg.eigvalsh(hessian)[0])


def at_fixed_width(p: Mixture, std: Tensor) -> Tensor:
    """What q costs at each component if its width is fixed: -log w + KL(N(·, σ²)‖N(·, s²)), ``(len(std), K)``."""
    ratio = std.unsqueeze(-1) / p.stds
    return -p.weights.log() - ratio.log() + 0.5 * ratio.square() - 0.5


def crossing(p: Mixture) -> float:
    """The width at which the two components cost the same."""
    heights, precisions = p.weights / p.stds, p.stds**-2
    return float((2 * (heights[0] / heights[1]).log() / (precisions[0] - precisions[1])).sqrt())


@dataclass(frozen=True)
class Found:
    """What is told and drawn.

    Args:
        forward: The fit by moments.
        starts: From which mean KL(q‖p) was descended, and where it led.
        nearer: For each gap between the means, the minimum at each component, or None where it led to the other.
    """

    forward: Fit
    starts: dict[float, Fit]
    nearer: dict[float, list[Fit | None]]


@functools.cache
def measured() -> Found:
    """All fits."""
    p = target()
    starts = {mu: descended(p, mu, 1.0) for mu in STARTS}
    return Found(moment_matched(p), starts, {gap: at_components(target(gap)) for gap in GAPS})


def at_components(p: Mixture) -> list[Fit | None]:
    """The minimum of KL(q‖p) that is found from each component; None if it belongs to another."""
    found = [descended(p, float(m), float(s)) for m, s in zip(p.means, p.stds, strict=True)]
    return [fit if owner(p, fit) == k else None for k, fit in enumerate(found)]


def owner(p: Mixture, fit: Fit) -> int:
    """The component from which a Gaussian diverges least."""
    ratio = fit.std / p.stds
    return int((0.5 * ratio**2 - ratio.log() + 0.5 * ((fit.mu - p.means) / p.stds) ** 2).argmin())


def told(found: Found) -> str:
    """The fits in numbers."""
    p = target()
    best = {k: min((f for f in found.starts.values() if owner(p, f) == k), key=lambda f: f.reverse) for k in (0, 1)}
    lines = ["fit                                   mean     std   KL(p‖q)  KL(q‖p)"]
    rows = {"forward: the moments of p": found.forward, "reverse, at the peak of .60": best[0]}
    for name, fit in {**rows, "reverse, at the peak of .19": best[1]}.items():
        lines.append(f"{name:<34} {fit.mu:8.4f} {fit.std:7.4f} {fit.forward:9.4f} {fit.reverse:8.4f}")
    lines.append(f"-log weight: {-math.log(0.3):.4f} of the peak of .60, {-math.log(0.7):.4f} of the peak of .19")
    ends = {
        peak: [f"{mu:.0f}" for mu, fit in found.starts.items() if owner(p, fit) == k] for k, peak in enumerate(PEAKS)
    }
    lines += [f"starts that end at the peak of {peak}: means {', '.join(means)}" for peak, means in ends.items()]
    lines.append("\nmeans apart by    KL(q‖p) at .60    at .19")
    lines += [f"{gap:4.1f}              {_or_none(a)}            {_or_none(b)}" for gap, (a, b) in found.nearer.items()]
    lines.append(f"\nwith its width fixed, q prefers the peak of .60 where its std is below {crossing(p):.4f}")
    return "\n".join(lines)


def _or_none(fit: Fit | None) -> str:
    return "none  " if fit is None else f"{fit.reverse:.4f}"


def drawn(found: Found) -> Figure:
    """The fits; the reverse divergence over where q stands; what each component costs at fixed width."""
    figure = Figure(figsize=(13, 3.9), layout="constrained")
    panels = figure.subplots(1, 3)
    p = target()
    _fits(panels[0], p, found)
    _valleys(panels[1], p)
    _widths(panels[2], p)
    return figure


def _fits(panel: Axes, p: Mixture, found: Found) -> None:
    x = torch.linspace(-11, 11, 2201, dtype=torch.float64)
    panel.fill_between(x, p.log_prob(x).exp(), color=GREY, alpha=0.35, label="target p")
    light, heavy = (fit for fit in found.nearer[8.0] if fit is not None)
    named = ((found.forward, BLUE, "forward"), (light, ORANGE, "reverse, light"), (heavy, PURPLE, "reverse, heavy"))
    for fit, colour, name in named:
        density = torch.exp(-0.5 * ((x - fit.mu) / fit.std) ** 2) / (fit.std * math.sqrt(2 * math.pi))
        panel.plot(x, density, color=colour, label=f"{name}: KL(q‖p) = {fit.reverse:.3f}")
    panel.set(
        title="the fits (the light one peaks at 2.0)",
        xlabel="x",
        ylabel="density",
        xlim=(-9, 17),
        ylim=(0, 0.95),
    )
    panel.legend(frameon=False, fontsize=9)


def _valleys(panel: Axes, p: Mixture) -> None:
    """The least of KL(q‖p) over σ, for each μ."""
    mu = torch.linspace(-7, 9, 161, dtype=torch.float64)
    log_std = torch.linspace(math.log(0.1), math.log(8), 49, dtype=torch.float64)
    least = torch.stack([reverse(p, m.expand(len(log_std)), log_std).min() for m in mu])
    panel.plot(mu, least, color="black")
    for weight, colour, name in ((0.3, ORANGE, "−log .3"), (0.7, PURPLE, "−log .7")):
        panel.axhline(
            -math.log(weight), color=colour, linestyle="--", linewidth=1, label=f"{name} = {-math.log(weight):.3f}"
        )
    panel.set(title="KL(q‖p), the least over the width of q", xlabel="mean of q", ylabel="nats", ylim=(0, 6))
    panel.legend(frameon=False, fontsize=9, loc="upper center")


def _widths(panel: Axes, p: Mixture) -> None:
    std = torch.logspace(-1.3, 0.5, 200, dtype=torch.float64)
    for cost, colour, name in zip(
        at_fixed_width(p, std).T, (ORANGE, PURPLE), ("tall, light", "broad, heavy"), strict=True
    ):
        panel.plot(std, cost, color=colour, label=f"at the {name} component")
    panel.axvline(crossing(p), color=GREY, linestyle=":", label=f"equal at σ = {crossing(p):.3f}")
    panel.set(title="the width of q held fixed", xlabel="σ", ylabel="KL(q‖p), nats", xscale="log", ylim=(0, 7))
    panel.legend(frameon=False, fontsize=9, loc="upper left")


if __name__ == "__main__":
    run(__file__, __doc__, measured, told, drawn)
