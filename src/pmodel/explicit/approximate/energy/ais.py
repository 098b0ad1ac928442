r"""Annealed importance sampling (Neal 2001; of Boltzmann machines: Salakhutdinov & Murray 2008).

A bridge of unnormalised densities :math:`f_\beta` leads from :math:`\beta = 0`, where Z and exact samples are known, to the
target at :math:`\beta = 1`. A chain starts at a sample of :math:`p_0` and is moved by a kernel that leaves each
:math:`p_{\beta_k}` as it is, and its weight

.. math:: w = \prod_k \frac{f_{\beta_{k+1}}(x_k)}{f_{\beta_k}(x_k)}, \qquad E\, w = Z_1 / Z_0,

is unbiased, however few the temperatures: chains that lag behind show in its variance. So :math:`\log Z_0 + \log \bar w` lies
below log Z on average. Run backwards from samples of the target, with each kernel reversed, the weights have the mean
:math:`Z_0 / Z_1`, and :math:`\log Z_0 - \log \bar w` lies above it: together they bracket log Z (Grosse et al. 2015). The
upper side is only as good as the samples: exact ones, or chains that have mixed.

Temperatures are best where a chain's log-weight changes evenly: with a density proportional to the standard deviation of
:math:`\partial_\beta \log f_\beta` under :math:`p_\beta` (Gelman & Meng 1998), which a short pilot run measures.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, TypeVar, final

import torch
from torch import Generator, Tensor

__all__ = [
    "Bracket",
    "Bridge",
    "anneal",
    "bracket",
    "cooled",
    "descend",
    "described",
    "estimates",
    "log_mean",
    "spaced",
]

State = TypeVar("State")

CHAINS = 16
"""Annealed chains in one draw of the estimate of log Z."""
PILOT = 100
"""Temperatures of the pilot run."""
PILOTS = 64
"""Its chains."""
EVEN = 0.2
"""The part of the temperatures that is spaced evenly, whatever the pilot run says: it may have missed something."""
NEAR = 1e-3
"""The step over which the pilot run takes its derivatives."""


class Bridge(ABC, Generic[State]):
    """Densities from a simple one to the target; or from one to the targets of several machines that share their weights."""

    machines: int

    @abstractmethod
    def log_start(self) -> Tensor:
        """The log Z of temperature 0, of each of the bridge's machines: ``(machines,)``."""

    @abstractmethod
    def start(self, n: int, generator: Generator) -> State:
        """``n`` exact samples at temperature 0 of each machine, one machine after another."""

    @abstractmethod
    def gain(self, state: State, low: float, high: float) -> Tensor:
        """The difference log f_high - log f_low of each chain, ``(machines * n,)``."""

    @abstractmethod
    def move(self, state: State, beta: float, generator: Generator) -> State:
        """One step of a kernel that is reversible at this temperature, or nearly: see ``back``."""

    @abstractmethod
    def back(self, state: State, beta: float, generator: Generator) -> State:
        """One step of the reverse of ``move``: the same where it is reversible."""


@final
@dataclass(frozen=True)
class Bracket:
    """What annealed importance sampling says of log Z.

    Args:
        lower: From chains that run forwards: on average below log Z.
        lower_stderr: Its standard error, by the delta method.
        upper: From chains that run backwards from samples: on average above log Z, if the samples are the model's.
        upper_stderr: Its standard error.
    """

    lower: float
    lower_stderr: float
    upper: float
    upper_stderr: float


def anneal(bridge: Bridge[State], betas: Tensor, n: int, generator: Generator) -> tuple[Tensor, State]:
    """Log-weights of ``n`` chains of each machine, float64 ``(machines * n,)``, and where the chains end.

    Args:
        bridge: From the simple density to the target.
        betas: Temperatures, rising from 0 to 1.
        n: Chains.
        generator: Of the draws.
    """
    steps = betas.tolist()
    state = bridge.start(n, generator)
    log_weight = bridge.gain(state, steps[0], steps[1]).double()
    for low, high in pairwise(steps[1:]):
        state = bridge.move(state, low, generator)
        log_weight += bridge.gain(state, low, high)
    return log_weight, state


def estimates(bridge: Bridge[State], betas: Tensor, draws: int, generator: Generator) -> Tensor:
    """Logarithms of independent unbiased estimates of each machine's Z, float64 ``(draws, machines)``.

    Args:
        bridge: From the simple density to the target.
        betas: Temperatures, rising from 0 to 1.
        draws: Estimates, each of ``CHAINS`` chains.
        generator: Of the draws.
    """
    log_weights, _ = anneal(bridge, betas, CHAINS * draws, generator)
    return log_mean(log_weights.reshape(bridge.machines, draws, CHAINS)).T + bridge.log_start()


def described(temperatures: int) -> str:
    """What one of these estimates is made of."""
    return f"annealed importance sampling, {CHAINS} chains and {temperatures} temperatures a draw"


def cooled(bridge: Bridge[State], state: State, steps: int, generator: Generator) -> State:
    """Where chains end whose temperature falls to 1 in the first half of so many moves, and stays there."""
    for number in range(steps):
        state = bridge.move(state, min(1.0, 2 * (number + 1) / steps), generator)
    return state


def descend(bridge: Bridge[State], state: State, betas: Tensor, generator: Generator) -> Tensor:
    """Log-weights of chains that start at samples of the target and run backwards: their mean is Z_0 / Z_1."""
    steps = betas.tolist()[::-1]
    log_weight = bridge.gain(state, steps[0], steps[1]).double()
    for high, low in pairwise(steps[1:]):
        state = bridge.back(state, high, generator)
        log_weight += bridge.gain(state, high, low)
    return log_weight


def bracket(bridge: Bridge[State], samples: State, betas: Tensor, n: int, generator: Generator) -> Bracket:
    """The log Z of one machine from both sides.

    Args:
        bridge: Of one machine.
        samples: States of the target: exact, or of chains that have mixed.
        betas: Temperatures, rising from 0 to 1.
        n: Chains that run forwards.
        generator: Of the draws.
    """
    start = float(bridge.log_start())
    forwards, _ = anneal(bridge, betas, n, generator)
    backwards = descend(bridge, samples, betas, generator)
    up, down = float(log_mean(forwards)), float(log_mean(backwards))
    return Bracket(start + up, _stderr(forwards), start - down, _stderr(backwards))


def spaced(bridge: Bridge[State], count: int, generator: Generator) -> Tensor:
    """``count`` temperatures from 0 to 1, dense where a chain's log-weight changes unevenly: float64, after a pilot run."""
    state, spreads = bridge.start(PILOTS, generator), []
    grid = torch.linspace(0, 1, PILOT + 1, dtype=torch.float64, device="cpu")
    for beta in grid[:-1].tolist():
        slopes = bridge.gain(state, beta, beta + NEAR).double() / NEAR
        spreads.append(slopes.reshape(-1, PILOTS).std(1).mean().cpu())
        state = bridge.move(state, beta + 1 / PILOT, generator)
    density = torch.stack(spreads)
    density = EVEN + (1 - EVEN) * torch.nan_to_num(density / density.mean().clamp_min(1e-300), nan=1.0)
    passed = torch.cat([torch.zeros(1, dtype=torch.float64, device="cpu"), (density / density.sum()).cumsum(0)])
    return _interpolated(torch.linspace(0, 1, count, dtype=torch.float64, device="cpu"), passed, grid)


def _interpolated(at: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The piecewise linear function through ``(x, y)``, with its ends kept."""
    right = torch.searchsorted(x, at).clamp(1, len(x) - 1)
    share = ((at - x[right - 1]) / (x[right] - x[right - 1]).clamp_min(1e-300)).clamp(0, 1)
    found = torch.lerp(y[right - 1], y[right], share)
    found[0], found[-1] = y[0], y[-1]
    return found


def log_mean(log_weights: Tensor) -> Tensor:
    """The logarithm of the mean weight over the last axis."""
    return log_weights.logsumexp(-1) - math.log(log_weights.shape[-1])


def _stderr(log_weights: Tensor) -> float:
    """The standard error of the logarithm of the mean weight, by the delta method."""
    weights = (log_weights - log_weights.max()).exp()
    return float(weights.std() / weights.mean() / math.sqrt(len(weights)))
