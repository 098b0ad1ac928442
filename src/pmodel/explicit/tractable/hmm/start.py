"""Where expectation maximisation starts: a partition of the elements, and the transitions between its parts."""

from __future__ import annotations

import itertools

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from ..categorical_components import CategoricalComponents
from ..components import Sums
from ..kmeans import kmeans
from .emission import Emission, add, blocks
from .packing import Packing

__all__ = ["start"]


def start(emission: Emission, packing: Packing, x: Tensor, observed: Tensor | None, generator: Generator) -> Sums:
    """Statistics of the start, of the form that the M-step takes.

    Numbers are clustered by k-means, within a state again for its components; single symbols, which have no distances, are
    shared out among the states at random, symbol by symbol. Each transition is counted once more than it occurs, because
    expectation maximisation never takes up a transition of probability zero.

    Args:
        emission: What the states emit; what its sums need before there are parameters is fixed here.
        packing: Where the sequences are.
        x: Their elements as rows, ``(P, D)``.
        observed: The mask of what is known of them, or None; an unknown entry counts as its column's mean.
        generator: For random choices.
    """
    if observed is not None:
        known = torch.where(observed, x, 0)
        x = torch.where(observed, x, (known.sum(0) / observed.sum(0).clamp_min(1)).to(x.dtype))
    emission.parts.anchor(x)
    shares = _by_symbol(emission, x, generator) if emission.symbols else _by_cluster(emission, x, generator)
    states = shares.reshape(len(x), emission.states, -1).sum(2)
    kernel, sums = emission.parts.kernel(), Sums()
    for rows in blocks(len(x), kernel):
        add(sums, kernel.sums(kernel.features(x[rows]), shares[rows].T.contiguous()))
    onward = states.new_ones(emission.states, emission.states)
    steps = packing.steps(states)
    for now, after in itertools.pairwise(steps):
        onward += now[: len(after)].T @ after
    return kernel.finish(sums) | {"first": steps[0].sum(0) + 1, "transitions": onward}


def _by_cluster(emission: Emission, x: Tensor, generator: Generator) -> Tensor:
    """One component for each row, ``(P, K M)``."""
    K, M = emission.weights.shape
    labels = kmeans(x.double(), K, generator)
    if M > 1:
        within = torch.zeros_like(labels)
        for k in range(K):
            rows = (labels == k).nonzero()[:, 0]
            if len(rows):
                within[rows] = kmeans(x[rows].double(), M, generator, restarts=1)
        labels = labels * M + within
    return F.one_hot(labels, K * M).double()


def _by_symbol(emission: Emission, x: Tensor, generator: Generator) -> Tensor:
    """Shares of every component in every symbol, uniform on the simplex, ``(P, K M)``."""
    assert isinstance(emission.parts, CategoricalComponents)  # noqa: S101 - what ``symbols`` says
    weights = torch.empty(emission.parts.levels, emission.parts.components, dtype=torch.float64, device=x.device)
    weights.exponential_(generator=generator)
    return (weights / weights.sum(1, keepdim=True))[x[:, 0]]
