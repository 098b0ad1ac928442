r"""The likelihood of the probability flow (Song et al. 2021, https://arxiv.org/abs/2011.13456, section 4.3).

The deterministic sampler follows an ordinary differential equation, whose flow carries the data to the noise and the
noise to the data. With the velocity v of ``prediction.py`` and the position :math:`\tau` along the path,

.. math::

    \frac{dx}{d\tau} = v(x, \tau), \qquad
    \log p_0(x_0) = \log N(x_T; 0, I) + \int_{\tau_0}^{\tau_T} \nabla \cdot v(x_\tau, \tau)\, d\tau .

This is the likelihood of what ``ddim`` and ``dpm`` draw with eta = 0 and many steps. The classical method of fourth order
integrates both parts; its error may go either way, so that the result is an estimate and no bound. The divergence is exact
where data have few entries; else it is that of Hutchinson, :math:`E\, e^T (\partial v / \partial x)\, e` over random signs e.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from ....distribution import summed
from .guesser import Guesser
from .schedule import Levels

__all__ = ["EXACT", "STEPS", "divergence", "flow_draws", "flow_log_prob", "signs"]

EXACT = 8
"""Up to so many entries the divergence is exact: it costs one backward pass for each."""
STEPS = 25
"""Steps of the method of Runge and Kutta, each of four evaluations."""

Velocity = Callable[[Tensor, int], Tensor]
"""From x_t and t, the number of its level, to v."""


def signs(like: Tensor, generator: Generator) -> Tensor | None:
    """Random signs for Hutchinson's estimate, of the shape of the data; None where they are few enough to do without."""
    if like[0:1].numel() <= EXACT:
        return None
    drawn = torch.randint(0, 2, like.shape, generator=generator, device=like.device)
    return 2 * drawn.to(like.dtype) - 1


def divergence(velocity: Velocity, x: Tensor, t: int, probe: Tensor | None) -> tuple[Tensor, Tensor]:
    """The velocity at x, and its divergence ``(N,)`` float64: exact without a probe, else the probe's estimate of it."""
    with torch.enable_grad():
        at = x.detach().requires_grad_()
        v = velocity(at, t)
        if probe is not None:
            (pulled,) = torch.autograd.grad(v, at, probe)
            return v.detach(), summed(pulled.double() * probe)
        total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        for entry in range(x[0:1].numel()):
            (row,) = torch.autograd.grad(v.flatten(1)[:, entry].sum(), at, retain_graph=True)
            total = total + row.flatten(1)[:, entry]
    return v.detach(), total


def flow_log_prob(velocity: Velocity, levels: Levels, x: Tensor, probe: Tensor | None) -> Tensor:
    r"""The log-density of data under the flow, ``(N,)`` float64.

    The network knows no level before the first, where :math:`x_1 = \alpha_1 x + \sigma_1 \epsilon`. So the density is that of
    data with a noise of :math:`\sigma_1 / \alpha_1`, small as it is, on top.

    Args:
        velocity: Of the flow at a level.
        levels: The datum, and then, equally far apart, both ends and the middle of each step: an odd number of them.
        x: Data, ``(N, *shape)``.
        probe: As from ``signs``.
    """
    alpha, path = levels.alpha[1], levels.positions
    entries = x[0:1].numel()
    total = torch.full((len(x),), entries * float(alpha.log()), dtype=torch.float64, device=x.device)
    x = alpha * x
    for t in range(1, len(levels), 2):
        h = path[t + 2] - path[t]
        v_1, d_1 = divergence(velocity, x, t, probe)
        v_2, d_2 = divergence(velocity, x + h / 2 * v_1, t + 1, probe)
        v_3, d_3 = divergence(velocity, x + h / 2 * v_2, t + 1, probe)
        v_4, d_4 = divergence(velocity, x + h * v_3, t + 2, probe)
        x = x + h / 6 * (v_1 + 2 * v_2 + 2 * v_3 + v_4)
        total = total + h / 6 * (d_1 + 2 * d_2 + 2 * d_3 + d_4)
    return total - 0.5 * summed(x.double().square()) - 0.5 * entries * math.log(2 * math.pi)


def flow_draws(
    guesser: Guesser, chain: Levels, x_0: Tensor, given: Tensor | None, generator: Generator, effort: int
) -> Tensor:
    """Draws of the log-density under the flow, ``(effort, N)``: all alike where the divergence is exact.

    Args:
        guesser: The network.
        chain: All levels.
        x_0: Data, ``(N, *shape)``.
        given: Their labels, or None.
        generator: Of the signs.
        effort: Draws for each datum.
    """
    grid = chain.between(2 * STEPS)
    denoise = guesser.at(grid, given)

    def velocity(x_t: Tensor, t: int) -> Tensor:
        alpha, sigma = grid.alpha[t], grid.sigma[t]
        return guesser.prediction.velocity(denoise(x_t, t).x_0, x_t, alpha, sigma)

    probes = [signs(x_0, generator) for _ in range(effort)]
    if probes[0] is None:
        return flow_log_prob(velocity, grid, x_0, None).expand(effort, -1)
    return torch.stack([flow_log_prob(velocity, grid, x_0, probe) for probe in probes])
