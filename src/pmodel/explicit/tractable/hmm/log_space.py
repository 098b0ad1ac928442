r"""The same recursions in logarithms: slower, and without a limit to what can be told apart.

.. math::
    \log\alpha_t(j) = \log b_t(j) + \log\sum_i e^{\log\alpha_{t-1}(i) + \log A_{ij}}, \qquad
    \delta_t(j) = \log b_t(j) + \max_i \left(\delta_{t-1}(i) + \log A_{ij}\right)

The second is Viterbi's (1967): the path of states that is likeliest given all of the sequence.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from .forward_backward import Chain, Smoothed
from .packing import Packing

__all__ = ["best_paths", "drawn_paths", "log_filtered", "log_smoothed"]

BLOCK = 2**20
"""Sums of pairs of states that are held at a time."""


def log_filtered(chain: Chain, log_likelihood: Tensor, packing: Packing) -> tuple[Tensor, Tensor]:
    """``log p(x)`` ``(N,)``, and ``log p(x_1 … x_t, z_t)`` ``(P, K)``.

    Args:
        chain: The states.
        log_likelihood: ``(P, K)``.
        packing: Where the sequences are.
    """
    log_alpha = log_likelihood.clone()
    steps = log_alpha.split(packing.sizes)
    forth = chain.transition.log()
    for t, now in enumerate(steps):
        now += chain.initial.log() if t == 0 else _log_matmul(steps[t - 1][: len(now)], forth)
    log_prob = log_alpha.new_zeros(len(packing.order))
    last = _last_rows(packing)
    log_prob[packing.sequence[last]] = log_alpha[last].logsumexp(1)
    return log_prob, log_alpha


def log_smoothed(chain: Chain, log_likelihood: Tensor, packing: Packing) -> Smoothed:
    """Posteriors and expected transitions; those of an impossible sequence are zero, and its log-likelihood -inf."""
    log_prob, log_alpha = log_filtered(chain, log_likelihood, packing)
    K = log_alpha.shape[1]
    log_beta = torch.zeros_like(log_alpha)
    forth = chain.transition.log()
    total = torch.where(log_prob.isneginf(), torch.inf, log_prob)[packing.sequence]
    transitions = log_alpha.new_zeros(K, K)
    parts = [part.split(packing.sizes) for part in (log_alpha, log_beta, log_likelihood, total)]
    for t in range(len(packing.sizes) - 1, 0, -1):
        size = packing.sizes[t]
        into = parts[2][t] + parts[1][t]
        parts[1][t - 1][:size] = _log_matmul(into, forth.T)
        pairs = parts[0][t - 1][:size, :, None] + forth + into[:, None, :] - parts[3][t][:, None, None]
        transitions += pairs.exp().sum(0)
    gamma = (log_alpha + log_beta - total[:, None]).exp()
    return Smoothed(log_prob, gamma, transitions, torch.zeros_like(log_prob, dtype=torch.bool))


def best_paths(chain: Chain, log_likelihood: Tensor, packing: Packing) -> tuple[Tensor, Tensor]:
    """The likeliest states of each sequence ``(P,)`` int64, and ``log p(x, z)`` of them, ``(N,)``."""
    delta = log_likelihood.clone()
    came = torch.zeros(delta.shape, dtype=torch.int64, device=delta.device)
    forth = chain.transition.log().T.contiguous()
    steps, origins = delta.split(packing.sizes), came.split(packing.sizes)
    for t, now in enumerate(steps):
        if t == 0:
            now += chain.initial.log()
            continue
        for rows in _blocks(len(now), delta.shape[1]):
            best, origins[t][rows] = (steps[t - 1][: len(now)][rows, None, :] + forth).max(2)
            now[rows] += best
    log_prob = delta.new_zeros(len(packing.order))
    last = _last_rows(packing)
    log_prob[packing.sequence[last]] = delta[last].max(1).values

    def step(t: int, after: Tensor | None) -> Tensor:
        states = steps[t].argmax(1)
        if after is not None:
            states[: len(after)] = origins[t + 1].gather(1, after[:, None])[:, 0]
        return states

    return _backwards(packing, step), log_prob


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
    steps = log_alpha.split(packing.sizes)
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
    return torch.cat(found[::-1]) if found else torch.zeros(0, dtype=torch.int64)


def _last_rows(packing: Packing) -> Tensor:
    """The rows of the last elements of the sequences that have any."""
    sizes = itertools.pairwise([*packing.sizes, 0])
    ends = [(start + after, start + size) for start, (size, after) in zip(packing.starts, sizes, strict=False)]
    rows = [torch.arange(first, end, device=packing.order.device) for first, end in ends if end > first]
    return torch.cat(rows) if rows else packing.order.new_zeros(0)


def _log_matmul(x: Tensor, logs: Tensor) -> Tensor:
    """The logarithm of ``exp(x) @ exp(logs)``, ``(n, K)``, whatever the range."""
    back = logs.T.contiguous()
    rows = [(x[part, None, :] + back).logsumexp(2) for part in _blocks(len(x), x.shape[1])]
    return torch.cat(rows) if rows else x


def _blocks(rows: int, states: int) -> list[slice]:
    """Rows in parts whose pairs of states fit a cache."""
    size = max(1, BLOCK // states**2)
    return [slice(first, min(first + size, rows)) for first in range(0, rows, size)]
