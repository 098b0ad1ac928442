r"""The forward-backward recursions (Baum et al. 1970), scaled (Rabiner 1989), for many sequences at a time.

For states :math:`z_t` with initial probabilities :math:`\pi`, transitions :math:`A_{ij} = p(z_{t+1} = j \mid z_t = i)` and
likelihoods :math:`b_t(j) = p(x_t \mid z_t = j)`,

.. math::
    c_t \, \hat\alpha_t(j) &= b_t(j) \sum_i \hat\alpha_{t-1}(i) A_{ij}, \qquad
    \hat\beta_{t-1}(i) = \sum_j A_{ij} \, b_t(j) \hat\beta_t(j) / c_t \\
    \log p(x) &= \sum_t \log c_t, \qquad
    \gamma_t(i) = p(z_t = i \mid x) = \hat\alpha_t(i) \hat\beta_t(i) \\
    \sum_t p(z_t = i, z_{t+1} = j \mid x) &= A_{ij} \sum_t \hat\alpha_t(i) \, b_{t+1}(j) \hat\beta_{t+1}(j) / c_{t+1}

A step is one product of matrices for all sequences, and the last line one product for all times. The identities hold for any
:math:`c_t > 0`, so the sums are brought back to one only every few steps (and where sequences end); in between
:math:`c_t = 1`. Everything is float64.

What a step can lose is bounded by the range of the numbers. A sequence whose numbers leave it (evidence against every state
that can be reached, by hundreds of nats) is reported as ``lost``, with zeros for its answers; ``log_space`` has the same
recursions without that limit. The forward recursion alone cannot see all of that: where evidence against one state adds up to
hundreds of nats, and the future turns out to be all for it, only the backward recursion finds nothing left to go on with. Such
sequences are ``faint``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from .packing import Packing, empty

__all__ = ["Chain", "Filtered", "Smoothed", "backward", "faint", "filtered", "pairs", "smoothed", "unsound"]

RESCALE = 4
"""Steps between two normalisations: as few as the range of float64 allows with a large margin (each may cost 100 nats)."""
SMALL = 2**20
"""A product of matrices with fewer multiplications is small; more of them are worth PyTorch's threads."""
ALONE = 2**18
"""With fewer still, NumPy's library stays on one thread, whatever number it is set to."""
LEAST = 1e-200
"""A sum below this has lost digits."""
CLOSE = 1e-6
"""How far the posterior of the first state may be from one in sum."""


@final
@dataclass(frozen=True, eq=False)
class Chain:
    """The hidden chain of states.

    Args:
        initial: The probabilities of the first state, ``(K,)``.
        transition: Those of the next one, ``(K, K)``; rows may sum to less than one where a sequence may end.
    """

    initial: Tensor
    transition: Tensor


@final
@dataclass(frozen=True, eq=False)
class Filtered:
    """What the past says.

    Args:
        log_prob: Log-likelihoods of the sequences relative to the likelihoods' scale, ``(N,)``; -inf where lost.
        alpha: p(z_t | x_1 … x_t) up to a factor, ``(P, K)``.
        scale: The factors c_t, ``(P, 1)``.
        lost: Sequences that left the range of the numbers, ``(N,)``.
    """

    log_prob: Tensor
    alpha: Tensor
    scale: Tensor
    lost: Tensor


@final
@dataclass(frozen=True, eq=False)
class Smoothed:
    """What all of a sequence says.

    Args:
        log_prob: As in ``Filtered``.
        gamma: p(z_t | x), ``(P, K)``.
        transitions: The expected number of transitions between states in all sequences, ``(K, K)``.
        lost: As in ``Filtered``.
    """

    log_prob: Tensor
    gamma: Tensor
    transitions: Tensor
    lost: Tensor


@final
@dataclass(frozen=True)
class Arithmetic:
    """The operations of a step: NumPy's for small ones on the CPU, which take it half the time.

    Args:
        array: From a contiguous tensor to what the others take, over the same memory.
        matmul: The product of two matrices.
        multiply: The product of entries.
    """

    array: Callable[[Tensor], Any]
    matmul: Callable[..., Any]
    multiply: Callable[..., Any]

    @classmethod
    def of(cls, likelihood: Tensor, packing: Packing) -> Arithmetic:
        """Those for the device of the data and the size of a step."""
        products = max(packing.sizes, default=0) * likelihood.shape[1] ** 2
        if likelihood.device.type != "cpu" or products >= SMALL:
            return cls(lambda tensor: tensor, torch.mm, torch.multiply)
        return cls(Tensor.numpy, np.dot if products < ALONE else _dot_alone, np.multiply)


def _dot_alone(a: Any, b: Any, out: Any) -> None:
    """The product in parts that are done on one thread: PyTorch's setting holds here, too."""
    rows = max(1, ALONE // b.size - 1)
    for first in range(0, len(a), rows):
        np.dot(a[first : first + rows], b, out=out[first : first + rows])


@np.errstate(all="ignore")  # what leaves the range of the numbers is found afterwards, all at once
def filtered(chain: Chain, likelihood: Tensor, packing: Packing, into: Tensor | None = None) -> Filtered:
    """The forward recursion.

    Args:
        chain: The states.
        likelihood: b, ``(P, K)``, contiguous, each row up to a factor; its largest value should be near one.
        packing: Where the sequences are.
        into: The probabilities of each sequence's first state, ``(N, K)``; by default those of the chain.
    """
    alpha, scale = empty(*likelihood.shape, like=likelihood), torch.ones_like(likelihood[:, :1])
    first = chain.initial if into is None else into[packing.order[: packing.sizes[0] if packing.sizes else 0]]
    ops, unit = Arithmetic.of(likelihood, packing), torch.ones_like(alpha[:1].T)
    b, a, c, onward, ones = map(ops.array, (likelihood, alpha, scale, chain.transition, unit))
    before = 0
    for (start, end), normalise in zip(itertools.pairwise(packing.starts), _normalised(packing.sizes), strict=True):
        now = a[start:end]
        if start == 0:
            ops.multiply(b[start:end], ops.array(first), out=now)
        else:
            ops.matmul(a[before : before + end - start], onward, out=now)
            now *= b[start:end]
        if normalise:
            ops.matmul(now, ones, out=c[start:end])
            now /= c[start:end]
        before = start
    log_prob = packing.summed(scale.log()[:, 0])
    lost = packing.any((scale > LEAST).logical_not_()[:, 0])
    return Filtered(log_prob.masked_fill(lost, -torch.inf), alpha, scale, lost)


def faint(alpha: Tensor, packing: Packing) -> Tensor:
    """Sequences in which a state fell below what can come back, ``(N,)``: it may be what their future speaks for."""
    return packing.any(alpha.amin(1) < LEAST)


def smoothed(chain: Chain, likelihood: Tensor, packing: Packing) -> Smoothed:
    """Both recursions. Arguments as in ``filtered``; ``likelihood`` is overwritten."""
    forward = filtered(chain, likelihood, packing)
    gamma = backward(chain, likelihood, packing, forward)
    lost = forward.lost | unsound(gamma, packing)
    if bool(lost.any()):
        gone = lost[packing.sequence]
        forward.alpha[gone], likelihood[gone], gamma[gone] = 0.0, 0.0, 0.0
    transitions = pairs(forward.alpha, likelihood, packing) * chain.transition
    return Smoothed(forward.log_prob.masked_fill(lost, -torch.inf), gamma, transitions, lost)


@np.errstate(all="ignore")
def backward(
    chain: Chain, likelihood: Tensor, packing: Packing, forward: Filtered, onward: Tensor | None = None
) -> Tensor:
    r"""The backward recursion: gamma, ``(P, K)``; ``likelihood`` becomes :math:`b_t(j) \hat\beta_t(j) / c_t`.

    Args:
        chain: The states.
        likelihood: As for ``filtered``.
        packing: Where the sequences are.
        forward: What ``filtered`` found.
        onward: beta after the last element of each sequence, ``(N, K)``; by default one.
    """
    gamma, width = empty(*likelihood.shape, like=likelihood), max(packing.sizes, default=0)
    beta = torch.ones_like(likelihood[:width]) if onward is None else onward[packing.order[:width]]
    ops = Arithmetic.of(likelihood, packing)
    a, h, g, c = map(ops.array, (forward.alpha, likelihood, gamma, forward.scale))
    back, ahead = ops.array(chain.transition.T.contiguous()), ops.array(beta)
    after = h[:0]
    times = zip(itertools.pairwise(packing.starts), _normalised(packing.sizes), strict=True)
    for (start, end), normalised in reversed(list(times)):
        # rows that t + 1 does not have still hold what comes after the last element
        ops.matmul(after, back, out=ahead[: len(after)])
        now, after = ahead[: end - start], h[start:end]
        ops.multiply(a[start:end], now, out=g[start:end])
        after *= now
        if normalised:
            after /= c[start:end]
    return gamma


def _normalised(sizes: list[int]) -> list[bool]:
    """The times at which sums are brought back to one: every few, and where a sequence ends."""
    changes = itertools.pairwise([*sizes, 0])
    return [t % RESCALE == RESCALE - 1 or size != after for t, (size, after) in enumerate(changes)]


def unsound(gamma: Tensor, packing: Packing) -> Tensor:
    """Sequences whose first posterior is none: an overflow anywhere after it reaches it as infinity or NaN, ``(N,)``."""
    first = gamma[: packing.sizes[0]] if packing.sizes else gamma
    unsound = torch.zeros(len(packing.order), dtype=torch.bool, device=gamma.device)
    unsound[packing.sequence[: len(first)]] = ((first.sum(1) - 1).abs() < CLOSE).logical_not_()
    return unsound


def pairs(alpha: Tensor, h: Tensor, packing: Packing) -> Tensor:
    """The sum over neighbours in time of the outer products of alpha_t and h_{t+1}, ``(K, K)``."""
    total = alpha.new_zeros(alpha.shape[1], alpha.shape[1])
    previous = 0
    for number, (first, size, times) in enumerate(packing.spans):
        last = first + (times - 1) * size
        if number:
            total.addmm_(alpha[previous : previous + size].T, h[first : first + size])
        total.addmm_(alpha[first:last].T, h[first + size : last + size])
        previous = last
    return total
