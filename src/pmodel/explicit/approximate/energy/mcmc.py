r"""Markov chain Monte Carlo: kernels that leave :math:`p(x) \propto e^{-E(x)}` as it is, or nearly.

With the gradient :math:`g(x) = \nabla E(x)`, a step of size :math:`\epsilon` and :math:`\xi \sim N(0, I)`:

- ``Langevin``, unadjusted (ULA): :math:`x' = x - \tfrac{\epsilon^2}{2} g(x) + \epsilon \xi`. It has a bias that does not go
  away with more steps: for :math:`N(0, s^2)` its stationary variance is :math:`s^2 / (1 - \epsilon^2 / 4 s^2)`, and it
  diverges from :math:`\epsilon = 2 s` on.
- ``AdjustedLangevin`` (MALA; Roberts & Tweedie 1996): the same proposal, of density q(x' | x), accepted with probability
  :math:`\min(1, e^{E(x) - E(x')} q(x \mid x') / q(x' \mid x))`, which is detailed balance.
- ``Hamiltonian`` (HMC; Duane et al. 1987, Neal 2011): a momentum :math:`v \sim N(0, I)`, leapfrog steps of size
  :math:`\epsilon` (each is reversible and keeps volume), accepted with probability
  :math:`\min(1, e^{H(x, v) - H(x', v')})` with :math:`H = E(x) + \|v\|^2 / 2`.
- ``Gibbs``: blocks of variables drawn one after another, each given all others.

Every kernel moves a batch of independent chains, one a row, and takes a generator.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar, final

import torch
from torch import Generator, Tensor

from ....distribution import summed
from ....errors import BadInput, RangeError, require_whole

__all__ = [
    "AdjustedLangevin",
    "Chains",
    "Gibbs",
    "Hamiltonian",
    "Kernel",
    "Langevin",
    "adapted",
    "effective_sample_size",
    "leapfrog",
    "potential",
    "run",
]

Energy = Callable[[Tensor], Tensor]
"""From points ``(N, *shape)`` to energies ``(N,)``: minus a log-density, up to a constant."""
Sized = TypeVar("Sized", "AdjustedLangevin", "Hamiltonian")

TARGET = {"AdjustedLangevin": 0.574, "Hamiltonian": 0.8}
"""Acceptance that step sizes are adapted to: what is best in many dimensions (Roberts & Rosenthal 1998), and for HMC a little
more than the .65 of Beskos et al. (2013), which costs little and saves chains in narrow places."""


class Kernel(ABC):
    """One step of a Markov chain."""

    @abstractmethod
    def step(self, x: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """The next states of the chains ``x``, ``(N, *shape)``, and the probability with which each was accepted, ``(N,)``."""


@final
@dataclass(frozen=True)
class Langevin(Kernel):
    r"""Unadjusted Langevin: gradient descent on the energy, with noise. Nothing is rejected.

    Args:
        energy: Of the target.
        size: The step :math:`\epsilon`.
        noise: The noise's standard deviation, if it is not the step: a smaller one samples a colder target.
    """

    energy: Energy
    size: float
    noise: float | None = None

    def step(self, x: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """One step of every chain."""
        noise = self.size if self.noise is None else self.noise
        _, gradient = potential(self.energy, x)
        x = x - 0.5 * self.size**2 * gradient + noise * _normal(x, generator)
        return x, torch.ones(len(x), dtype=x.dtype, device=x.device)


@final
@dataclass(frozen=True)
class AdjustedLangevin(Kernel):
    r"""Metropolis-adjusted Langevin.

    Args:
        energy: Of the target.
        size: The step :math:`\epsilon`.
    """

    energy: Energy
    size: float

    def step(self, x: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """One step of every chain."""
        energy, gradient = potential(self.energy, x)
        ahead = x - 0.5 * self.size**2 * gradient + self.size * _normal(x, generator)
        energy_ahead, gradient_ahead = potential(self.energy, ahead)
        there = self._log_proposal(ahead, x, gradient)
        back = self._log_proposal(x, ahead, gradient_ahead)
        return _accepted(x, ahead, energy - energy_ahead + back - there, generator)

    def _log_proposal(self, there: Tensor, here: Tensor, gradient: Tensor) -> Tensor:
        """The log of q(there | here) up to a constant, ``(N,)``."""
        return -summed((there - here + 0.5 * self.size**2 * gradient).square()) / (2 * self.size**2)


@final
@dataclass(frozen=True)
class Hamiltonian(Kernel):
    r"""Hamiltonian Monte Carlo with unit masses.

    Args:
        energy: Of the target.
        size: The leapfrog step :math:`\epsilon`.
        steps: Leapfrog steps in one step of the chain.
    """

    energy: Energy
    size: float
    steps: int = 10

    def step(self, x: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """One trajectory of every chain."""
        v = _normal(x, generator)
        before = potential(self.energy, x)[0] + 0.5 * summed(v.square())
        ahead, v = leapfrog(self.energy, x, v, self.size, self.steps)
        after = potential(self.energy, ahead)[0] + 0.5 * summed(v.square())
        return _accepted(x, ahead, before - after, generator)


@final
@dataclass(frozen=True)
class Gibbs(Kernel):
    """A sweep over blocks of variables, each drawn given all others.

    Args:
        blocks: Each draws its block anew, from its conditional distribution, and leaves the rest as it is.
    """

    blocks: tuple[Callable[[Tensor, Generator], Tensor], ...]

    def step(self, x: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """One sweep of every chain."""
        for block in self.blocks:
            x = block(x, generator)
        return x, torch.ones(len(x), device=x.device)


@final
@dataclass(frozen=True, eq=False)
class Chains:
    """What chains went through.

    Args:
        x: The states that were kept, ``(kept, N, *shape)``.
        acceptance: Mean acceptance probability of each chain over all its steps, ``(N,)``.
    """

    x: Tensor
    acceptance: Tensor

    @property
    def effective(self) -> Tensor:
        """The number of independent draws that the states are worth for each entry's mean, of the shape of a state."""
        return effective_sample_size(self.x)


def run(kernel: Kernel, x: Tensor, steps: int, generator: Generator, *, discard: int = 0, every: int = 1) -> Chains:
    """Move chains for a number of steps and keep their states.

    Args:
        kernel: What moves them.
        x: Where they start, ``(N, *shape)``.
        steps: Steps of each chain.
        generator: Of the draws.
        discard: Steps at the beginning that are not kept.
        every: Of the others, one state in so many is kept.

    Raises:
        BadInput: if nothing would be kept.
    """
    require_whole("steps", steps, 1, 10**9)
    require_whole("every", every, 1, 10**9)
    require_whole("discard", discard, 0, 10**9)
    if discard + every > steps:
        raise BadInput("No state would be kept.", got=f"discard={discard}, every={every} of steps={steps}")
    kept, acceptance = [], torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for number in range(1, steps + 1):
        x, accepted = kernel.step(x, generator)
        acceptance += accepted.double()
        if number > discard and (number - discard) % every == 0:
            kept.append(x)
    return Chains(torch.stack(kept), acceptance / steps)


def adapted(kernel: Sized, x: Tensor, steps: int, generator: Generator, *, target: float | None = None) -> Sized:
    r"""The kernel with a step size at which about ``target`` of the proposals are accepted.

    Robbins and Monro's recursion :math:`\log \epsilon \leftarrow \log \epsilon + t^{-1/2} (\bar a - a^*)` over the mean
    acceptance :math:`\bar a` of all chains; the answer is the geometric mean of the second half. Chains whose step size is
    still being adapted are no chains of the target: throw them away.

    Args:
        kernel: With a step size to begin with.
        x: Where the chains are, ``(N, *shape)``.
        steps: Steps of adaptation, at least 2.
        generator: Of the draws.
        target: Acceptance :math:`a^*`; by default what is best for the kernel.

    Raises:
        RangeError: if the target is no probability between 0 and 1.
    """
    require_whole("steps", steps, 2, 10**6)
    goal = TARGET[type(kernel).__name__] if target is None else target
    if not 0 < goal < 1:
        raise RangeError("target must be between 0 and 1.", got=target)
    log_size, late = torch.tensor(kernel.size, dtype=torch.float64).log(), []
    for number in range(1, steps + 1):
        x, accepted = replace(kernel, size=float(log_size.exp())).step(x, generator)
        log_size = log_size + (float(accepted.double().mean()) - goal) / number**0.5
        late += [log_size] if 2 * number > steps else []
    return replace(kernel, size=float(torch.stack(late).mean().exp()))


def leapfrog(energy: Energy, x: Tensor, v: Tensor, size: float, steps: int) -> tuple[Tensor, Tensor]:
    """Position and momentum after ``steps`` leapfrog steps: half a kick, drifts and kicks in turn, half a kick."""
    v = v - 0.5 * size * potential(energy, x)[1]
    for number in range(1, steps + 1):
        x = x + size * v
        v = v - (size if number < steps else 0.5 * size) * potential(energy, x)[1]
    return x, v


def potential(energy: Energy, x: Tensor) -> tuple[Tensor, Tensor]:
    """Energies ``(N,)`` and their gradients ``(N, *shape)``, detached."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        value = energy(x)
        (gradient,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), gradient


def effective_sample_size(draws: Tensor) -> Tensor:
    r"""The number of independent draws that would estimate each entry's mean as well as these chains do.

    .. math:: \frac{K N}{1 + 2 \sum_t \rho_t}

    with the autocorrelations :math:`\rho_t` of the K states of N chains pooled with the variance between chains, and summed
    over pairs of lags until a pair is negative (Geyer 1992, Vehtari et al. 2021): chains that have not mixed count for little.

    Args:
        draws: States of chains, ``(K, N, *shape)``, at least four of each.

    Returns:
        At most K N log10(K N), of the shape of a state; 0 where nothing moves.
    """
    steps, chains = draws.shape[:2]
    if steps < 4:
        raise BadInput("An effective sample size needs at least four states of each chain.", got=steps)
    flat = draws.double().reshape(steps, chains, -1)
    centred = flat - flat.mean(0)
    spectrum = torch.fft.rfft(centred, n=2 * steps, dim=0)
    covariance = torch.fft.irfft(spectrum.abs().square(), n=2 * steps, dim=0)[:steps] / steps
    within = covariance[0].mean(0) * steps / (steps - 1)
    between = flat.mean(0).var(0) if chains > 1 else torch.zeros_like(within)
    total = within * (steps - 1) / steps + between
    rho = 1 - (within - covariance.mean(1)) / total.clamp_min(1e-300)
    rho[0] = 1.0
    pairs = rho[0 : steps - steps % 2 : 2] + rho[1:steps:2]
    positive = torch.cumprod((pairs > 0).double(), 0)
    falling = torch.cummin(pairs.clamp_min(0), 0).values  # an initial sequence that is positive and falls
    time = (2 * (falling * positive).sum(0) - 1).clamp_min(1 / torch.tensor(float(steps * chains)).log10())
    return torch.where(total > 0, steps * chains / time, 0.0).reshape(draws.shape[2:])


def _normal(x: Tensor, generator: Generator) -> Tensor:
    return torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)


def _accepted(x: Tensor, ahead: Tensor, log_ratio: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Metropolis and Hastings: go ahead with probability min(1, ratio), else stay; a proposal that is not finite is refused."""
    probability = torch.nan_to_num(log_ratio, nan=-torch.inf).clamp(max=0).exp()
    u = torch.rand(probability.shape, generator=generator, dtype=probability.dtype, device=x.device)
    moved = (u < probability).reshape(-1, *[1] * (x.ndim - 1))
    return torch.where(moved, ahead, x), probability
