r"""Why reparameterise: three estimates of one gradient, and what their variances are.

    python examples/gradients.py --out gradients.png

An encoder is trained on :math:`\nabla_\mu E_{q_\mu(z)}[f(z)]`, an expectation under what is to be changed. With
:math:`z = \mu + \epsilon`, :math:`\epsilon \sim N(0, I_d)`, two estimates of it have no bias:

.. math:: \text{pathwise:}\quad \nabla f(\mu + \epsilon), \qquad
          \text{score function (REINFORCE):}\quad (f(z) - b)\, \nabla_\mu \log q_\mu(z) = (f(z) - b)\, \epsilon .

The notes say that what draws z cannot be trained by backpropagation. The second asks for no path through the draw; its trouble
is variance. For :math:`f(z) = \frac12 \|z - a\|^2`, with :math:`\mu_j - a_j = 1`, each entry of the gradient is 1, and the
variance of its estimate is

====================================  ============================================================
pathwise                              1, whatever d
score function                        of the order of d²: each entry is multiplied by the whole f
… with the best constant baseline b   of the order of d: the mean of f is gone, its spread is not
====================================  ============================================================

That pathwise is better is *no theorem*: it depends on slopes, the score function on values. Of :math:`f(z) = \sin(kz)`, with
one z and μ = 0, pathwise has the larger variance from about k = 1 on (Mohamed et al. 2020, section 5).

A **discrete** latent has no path. Bits with :math:`p(b_j = 1) = \sigma(\theta)` and
:math:`f(b) = (\sum_j b_j - d/5)^2 / 2d` have the score function, or a relaxation (Maddison et al., Jang et al. 2017):
:math:`y_j = \sigma((\theta + l_j)/\tau)` with logistic noise l, and the path through y. Its variance grows like 1/τ,
and its bias falls with τ. Nothing is drawn for these: the score function's moments are sums over all :math:`2^d` words, those
of the relaxation integrals over the noise of one bit.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from picture import run

DIMENSIONS = (1, 2, 5, 10, 20, 50, 100)
DRAWS = 20_000
"""Draws that variances are measured on, beside their closed forms."""
BITS = (1, 2, 4, 8, 12)
LOGIT, SHIFT = 0.5, 0.2
"""θ of every bit, and the d/5 of their target."""
TEMPERATURES = (2.0, 1.0, 0.5, 0.25, 0.1, 0.05)
SHOWN = 8
"""Bits of the picture, and of the table by temperature."""
COLOURS = {"pathwise": "#206eb4", "score function": "#d65a1e", "with baseline": "#5a3c96"}


def pathwise(f: Callable[[Tensor], Tensor], mu: Tensor, noise: Tensor) -> Tensor:
    """Estimates of the gradient, one for each row of noise, ``(n, d)``."""
    z = (mu + noise).requires_grad_()
    (slope,) = torch.autograd.grad(f(z).sum(), z)
    return slope


def score_function(f: Callable[[Tensor], Tensor], mu: Tensor, noise: Tensor, baseline: float = 0.0) -> Tensor:
    """The same, from values of f alone."""
    return (f(mu + noise) - baseline).unsqueeze(1) * noise


def half_square(z: Tensor) -> Tensor:
    """½‖z‖²: a is at the origin, and μ at 1."""
    return 0.5 * z.square().sum(1)


def best_baseline(d: int, shift: float = 1.0) -> float:
    """E[f ε_j²] / E[ε_j²] of ``half_square``, which is E[f] + 1."""
    return 0.5 * d * (1 + shift**2) + 1


def variances(d: int, shift: float = 1.0) -> dict[str, float]:
    """Of an entry of each estimate, in closed form.

    With u = δ + ε_j and A the sum of the other squares, f = (A + u²) / 2; E[u² ε²] = δ² + 3 and E[u⁴ ε²] = δ⁴ + 18 δ² + 15.
    """
    mean = (d - 1) * (1 + shift**2)
    square = mean**2 + (d - 1) * (2 + 4 * shift**2)
    raw = 0.25 * (square + 2 * mean * (shift**2 + 3) + shift**4 + 18 * shift**2 + 15) - shift**2
    return {"pathwise": 1.0, "score function": raw, "with baseline": raw - best_baseline(d, shift) ** 2}


def variances_of_sine(k: Tensor) -> dict[str, Tensor]:
    """Of both estimates of d/dμ E[sin kz] = k exp(-k²/2) at μ = 0."""
    square = k.square()
    gradient, decayed = square * (-square).exp(), (-2 * square).exp()
    return {
        "pathwise": 0.5 * square * (1 + decayed) - gradient,
        "score function": 0.5 * (1 - (1 - 4 * square) * decayed) - gradient,
    }


def sine_crossing() -> float:
    """The k at which they are equal, by bisection."""
    low, high = 0.5, 2.0
    for _ in range(60):
        middle = (low + high) / 2
        both = variances_of_sine(torch.tensor(middle, dtype=torch.float64))
        low, high = (middle, high) if both["pathwise"] < both["score function"] else (low, middle)
    return low


@dataclass(frozen=True)
class Moments:
    """Mean and variance of an estimate of one entry of a gradient."""

    mean: float
    variance: float


def words(d: int) -> tuple[Tensor, Tensor]:
    """All words of d bits, ``(2^d, d)``, and their probabilities."""
    bits = torch.cartesian_prod(*[torch.arange(2.0, dtype=torch.float64)] * d).reshape(-1, d)
    p = 1 / (1 + math.exp(-LOGIT))
    return bits, (bits * math.log(p) + (1 - bits) * math.log(1 - p)).sum(1).exp()


def of_bits(b: Tensor) -> Tensor:
    """The cost f of words, or of what is between them."""
    d = b.shape[-1]
    return (b.sum(-1) - SHIFT * d).square() / (2 * d)


def reinforced(d: int, *, baseline: bool) -> Moments:
    """The score function's estimate f(b) (b_j - σ(θ)), by enumeration; the mean is the exact gradient."""
    bits, weights = words(d)
    score, f = bits[:, 0] - 1 / (1 + math.exp(-LOGIT)), of_bits(bits)
    best = float(weights @ (f * score**2) / (weights @ score**2)) if baseline else 0.0
    each = (f - best) * score
    mean = float(weights @ each)
    return Moments(mean, float(weights @ (each - mean) ** 2))


def relaxed(d: int, temperature: float) -> Moments:
    """The path through y, (Σ_k y_k - t) y_j (1 - y_j) / (dτ): the y are independent, and integrals over one are enough."""
    x = torch.arange(-60 / temperature, 60 / temperature, 0.1, dtype=torch.float64)
    y = x.sigmoid()
    noise = temperature * x - LOGIT
    weights = 0.1 * temperature * noise.sigmoid() * (-noise).sigmoid()
    slope = y * (-x).sigmoid() / (d * temperature)
    rest = (d - 1) * float(weights @ y) - SHIFT * d
    spread = (d - 1) * (float(weights @ y**2) - float(weights @ y) ** 2)
    mean = float(weights @ ((rest + y) * slope))
    return Moments(mean, float(weights @ (((rest + y) ** 2 + spread) * slope**2)) - mean**2)


@dataclass(frozen=True)
class Found:
    """What is told and drawn.

    Args:
        measured: For each d, the variances of draws, by name.
        bits: For each number of bits the score function's moments, without and with a baseline.
        relaxed: For each number of bits and each temperature those of the relaxation.
    """

    measured: dict[int, dict[str, float]]
    bits: dict[int, tuple[Moments, Moments]]
    relaxed: dict[int, dict[float, Moments]]


def drawn_variances(d: int, draws: int = DRAWS) -> dict[str, float]:
    """The variances of an entry, from draws: means over entries."""
    noise = torch.randn(draws, d, generator=torch.Generator().manual_seed(d), dtype=torch.float64)
    mu = torch.ones(d, dtype=torch.float64)
    estimates = {
        "pathwise": pathwise(half_square, mu, noise),
        "score function": score_function(half_square, mu, noise),
        "with baseline": score_function(half_square, mu, noise, best_baseline(d)),
    }
    return {name: float(each.var(0).mean()) for name, each in estimates.items()}


@functools.cache
def measured() -> Found:
    """All figures."""
    return Found(
        {d: drawn_variances(d) for d in DIMENSIONS},
        {d: (reinforced(d, baseline=False), reinforced(d, baseline=True)) for d in BITS},
        {d: {t: relaxed(d, t) for t in TEMPERATURES} for d in BITS},
    )


def told(found: Found) -> str:
    """The tables."""
    lines = ["normal latents: variance of an entry, in closed form, and of 20 000 draws; the gradient is 1"]
    lines.append("   d   pathwise         score function         with baseline")
    for d, row in found.measured.items():
        exact = variances(d)
        cells = "   ".join(f"{exact[name]:9.4g} {row[name]:9.4g}" for name in COLOURS)
        lines.append(f"{d:4d} {cells}")
    lines.append(f"\nsin kz: pathwise has the larger variance above k = {sine_crossing():.4f}")
    lines.append("\nbits: the exact gradient, standard deviations of estimates, and the relaxation's bias")
    lines.append("   d   gradient   score function   with baseline   relaxed, τ = .5: std, bias   τ = .1: std, bias")
    for d, (raw, better) in found.bits.items():
        half, tenth = (found.relaxed[d][t] for t in (0.5, 0.1))
        cells = f"{raw.mean:10.4f} {raw.variance**0.5:14.4f} {better.variance**0.5:14.4f}"
        lines.append(
            f"{d:4d} {cells}           {_std_and_bias(half, raw.mean)}        {_std_and_bias(tenth, raw.mean)}"
        )
    lines.append(f"\n{SHOWN} bits: τ, std, bias")
    exact = found.bits[SHOWN][0].mean
    lines += [f"{t:5.2f} {_std_and_bias(row, exact)}" for t, row in found.relaxed[SHOWN].items()]
    return "\n".join(lines)


def _std_and_bias(found: Moments, exact: float) -> str:
    return f"{found.variance**0.5:9.4f} {found.mean - exact:9.4f}"


def drawn(found: Found) -> Figure:
    """Variances by dimension; by wiggliness; and the trade of the relaxation."""
    figure = Figure(figsize=(13, 3.9), layout="constrained")
    panels = figure.subplots(1, 3)
    _by_dimension(panels[0], found)
    _by_wiggles(panels[1])
    _by_temperature(panels[2], found)
    return figure


def _by_dimension(panel: Axes, found: Found) -> None:
    for name, colour in COLOURS.items():
        panel.loglog(DIMENSIONS, [variances(d)[name] for d in DIMENSIONS], color=colour, label=name)
        panel.loglog(DIMENSIONS, [found.measured[d][name] for d in DIMENSIONS], "o", color=colour, markersize=4)
    panel.set(title="½‖z − a‖²: variance of an entry", xlabel="latents d (dots: 20 000 draws)")
    panel.legend(frameon=False)


def _by_wiggles(panel: Axes) -> None:
    k = torch.logspace(-1, 1, 200, dtype=torch.float64)
    for name, values in variances_of_sine(k).items():
        panel.loglog(k, values, color=COLOURS[name], label=name)
    panel.axvline(sine_crossing(), color="#8c8c8c", linestyle=":", label=f"equal at k = {sine_crossing():.3f}")
    panel.set(title="sin kz: variance", xlabel="k", ylim=(1e-4, 100))
    panel.legend(frameon=False)


def _by_temperature(panel: Axes, found: Found) -> None:
    rows, (raw, better) = found.relaxed[SHOWN], found.bits[SHOWN]
    panel.loglog(
        TEMPERATURES, [row.variance**0.5 for row in rows.values()], "o-", color="#3c8c50", label="relaxed: std"
    )
    bias = [abs(row.mean - raw.mean) for row in rows.values()]
    panel.loglog(TEMPERATURES, bias, "s--", color="#3c8c50", label="relaxed: |bias|")
    panel.axhline(raw.variance**0.5, color=COLOURS["score function"], label="score function: std")
    panel.axhline(better.variance**0.5, color=COLOURS["with baseline"], label="with baseline: std")
    panel.axhline(raw.mean, color="#8c8c8c", linestyle=":", label="the gradient")
    panel.set(title=f"{SHOWN} bits, one draw", xlabel="temperature τ")
    panel.legend(frameon=False, fontsize=9)


if __name__ == "__main__":
    run(__file__, __doc__, measured, told, drawn)
