r"""Sequences drawn from a hidden Markov model that is known: points in the plane, whose next place depends on a hidden state.

.. math:: p(x_1 \dots x_T \mid T) = \sum_{z_1 \dots z_T} \pi_{z_1} \prod_{t>1} A_{z_{t-1} z_t} \prod_t N(x_t; \mu_{z_t}, s^2 I)

Two of the three states lie so near that a single point does not tell them apart: the order does.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from ..domain import Real, Sequences
from ..randomness import generator
from .dataset import Dataset, Split, assemble, kept

__all__ = ["SIZES", "draw_chains", "load_chains", "log_prob_of_chains"]

SIZES = (1000, 200, 200)
SHORTEST, LONGEST = 10, 40
START = (0.6, 0.3, 0.1)
STEP = ((0.9, 0.1, 0.0), (0.0, 0.8, 0.2), (0.3, 0.0, 0.7))
MEANS = ((0.0, 0.0), (1.0, 0.5), (-3.0, 2.0))
STD = 0.7


def draw_chains(n: int, noise: Generator) -> Tensor:
    """``n`` sequences of 10 to 40 points, float32 ``(n, 40, 2)`` with the end after the last."""
    start, step, means = (torch.tensor(table) for table in (START, STEP, MEANS))
    states = [torch.multinomial(start.expand(n, -1), 1, generator=noise)[:, 0]]
    for _ in range(LONGEST - 1):
        states.append(torch.multinomial(step[states[-1]], 1, generator=noise)[:, 0])
    x = means[torch.stack(states, 1)] + STD * torch.randn(n, LONGEST, 2, generator=noise)
    lengths = torch.randint(SHORTEST, LONGEST + 1, (n,), generator=noise)
    return _domain().cut(x, lengths)


def log_prob_of_chains(x: Tensor) -> Tensor:
    """The true log-density of sequences, given their lengths, by the forward algorithm: float64 ``(N,)``."""
    start, step, means = (torch.tensor(table, dtype=torch.float64) for table in (START, STEP, MEANS))
    there = _domain().present(x)
    points = torch.where(there[:, :, None], x.double(), 0.0)
    emitted = -0.5 * ((points[:, :, None] - means) / STD).square().sum(3) - 2 * math.log(STD) - math.log(2 * math.pi)
    alpha = start.log() + emitted[:, 0]
    for t in range(1, LONGEST):
        further = torch.logsumexp(alpha[:, :, None] + step.log(), 1) + emitted[:, t]
        alpha = torch.where(there[:, t, None], further, alpha)
    return alpha.logsumexp(1)


def load_chains(seed: int) -> Dataset:
    """``hmm-three``: sequences of the three states, and in the note what the true model scores on the test data."""
    domain = _domain()
    splits = [Split(kept(draw_chains(n, generator(seed, "hmm-three", k)), domain)) for k, n in enumerate(SIZES)]
    best = float(log_prob_of_chains(splits[2].x).mean())  # type: ignore[arg-type]
    note = f"known density: the true model scores {best:.4f} nats a sequence on the test data"
    return assemble("hmm-three", domain, splits, note=note)


def _domain() -> Sequences:
    return Sequences(Real((2,)), LONGEST)
