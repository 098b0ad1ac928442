r"""The recursions of ``forward_backward`` in logarithms: slower, and without a limit to what can be told apart.

.. math:: \log\alpha_t(j) = \log b_t(j) + \log\sum_i e^{\log\alpha_{t-1}(i) + \log A_{ij}}
"""

from __future__ import annotations

import torch
from torch import Tensor

from .forward_backward import Chain, Smoothed
from .packing import Packing

__all__ = ["blocks", "log_filtered", "log_smoothed"]

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
    steps = packing.steps(log_alpha)
    forth = chain.transition.log()
    for t, now in enumerate(steps):
        now += chain.initial.log() if t == 0 else _log_matmul(steps[t - 1][: len(now)], forth)
    log_prob = log_alpha.new_zeros(len(packing.order))
    last = packing.last
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
    parts = [packing.steps(part) for part in (log_alpha, log_beta, log_likelihood, total)]
    for t in range(len(packing.sizes) - 1, 0, -1):
        size = packing.sizes[t]
        into = parts[2][t] + parts[1][t]
        parts[1][t - 1][:size] = _log_matmul(into, forth.T)
        before = parts[0][t - 1][:size] - parts[3][t][:, None]
        for rows in blocks(size, K):
            transitions += (before[rows, :, None] + forth + into[rows, None, :]).exp_().sum(0)
    gamma = (log_alpha + log_beta - total[:, None]).exp()
    return Smoothed(log_prob, gamma, transitions, torch.zeros_like(log_prob, dtype=torch.bool))


def _log_matmul(x: Tensor, logs: Tensor) -> Tensor:
    """The logarithm of ``exp(x) @ exp(logs)``, ``(n, K)``, whatever the range."""
    back = logs.T.contiguous()
    rows = [(x[part, None, :] + back).logsumexp(2) for part in blocks(len(x), x.shape[1])]
    return torch.cat(rows) if rows else x


def blocks(rows: int, states: int) -> list[slice]:
    """Rows in parts whose pairs of states fit a cache."""
    size = max(1, BLOCK // states**2)
    return [slice(first, min(first + size, rows)) for first in range(0, rows, size)]
