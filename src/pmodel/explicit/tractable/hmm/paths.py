r"""Paths of states: the likeliest given a sequence, draws given a sequence, and draws of the chain alone.

Viterbi's recursion (1967) puts a maximum where the forward recursion has a sum,

.. math:: \delta_t(j) = \log b_t(j) + \max_i \left(\delta_{t-1}(i) + \log A_{ij}\right),

and remembers where the maximum was.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from .forward_backward import Chain
from .log_space import blocks
from .packing import Packing

__all__ = ["best_paths", "drawn_paths", "walks"]


def best_paths(chain: Chain, log_likelihood: Tensor, packing: Packing) -> Tensor:
    """The likeliest states of each sequence, ``(P,)`` int64."""
    delta = log_likelihood.clone()
    came = torch.zeros(delta.shape, dtype=torch.int64, device=delta.device)
    forth = chain.transition.log().T.contiguous()
    steps, origins = packing.steps(delta), packing.steps(came)
    for t, now in enumerate(steps):
        if t == 0:
            now += chain.initial.log()
            continue
        for rows in blocks(len(now), delta.shape[1]):
            best, origins[t][rows] = (steps[t - 1][: len(now)][rows, None, :] + forth).max(2)
            now[rows] += best

    def step(t: int, after: Tensor | None) -> Tensor:
        states = steps[t].argmax(1)
        if after is not None:
            states[: len(after)] = origins[t + 1].gather(1, after[:, None])[:, 0]
        return states

    return _backwards(packing, step)


def drawn_paths(chain: Chain, log_alpha: Tensor, packing: Packing, generator: Generator) -> Tensor:
    r"""Draws of all the states from :math:`p(z \mid x)`, ``(P,)`` int64: filtered forward, sampled backward.

    The last state is drawn from its filtered distribution, and each earlier one from
    :math:`p(z_t \mid z_{t+1}, x_{1 \dots t}) \propto \hat\alpha_t(z_t) A_{z_t z_{t+1}}`, as the largest of perturbed
    logarithms (Gumbel), which nothing can underflow.

    Args:
        chain: The states.
        log_alpha: The filtered distributions in logarithms, each up to a constant, ``(P, K)``.
        packing: Where the sequences are.
        generator: Of the draws.
    """
    steps = packing.steps(log_alpha)
    into = chain.transition.log().T.contiguous()

    def step(t: int, after: Tensor | None) -> Tensor:
        scores = steps[t].clone()
        if after is not None:
            scores[: len(after)] += into[after]
        noise = torch.empty_like(scores).exponential_(generator=generator)
        return (scores - noise.log()).argmax(1)

    return _backwards(packing, step)


def _backwards(packing: Packing, step: Callable[[int, Tensor | None], Tensor]) -> Tensor:
    """The states ``(P,)`` from the last time to the first; ``step`` gives those of a time from those of the next."""
    found: list[Tensor] = []
    for t in range(len(packing.sizes) - 1, -1, -1):
        found.append(step(t, found[-1] if found else None))
    return torch.cat(found[::-1]) if found else packing.order[:0]


def walks(chain: Chain, n: int, times: int, generator: Generator) -> Tensor:
    """Draws of the first states of the chain itself, ``(n, times)`` int64."""
    first, onward = chain.initial.cumsum(0), chain.transition.cumsum(1)
    u = torch.rand(times, n, generator=generator, dtype=torch.float64, device=first.device)
    last = len(first) - 1  # rounding may leave the sum below the draw
    states = [torch.searchsorted(first, u[0], right=True).clamp_max(last)]
    for now in u[1:]:
        states.append(torch.searchsorted(onward[states[-1]], now[:, None], right=True)[:, 0].clamp_max(last))
    return torch.stack(states, 1)
