"""Chains of a model with labels: each chain keeps one, and a label counts in chains by how often it comes in data."""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from ....errors import RangeError

__all__ = ["labelled", "matched", "require_each", "weighted", "written"]


def require_each(chains: int, labels: int) -> None:
    """Check that every label has a chain.

    Raises:
        RangeError: if there are fewer chains than labels.
    """
    if chains < labels:
        raise RangeError(
            f"chains must be at least one for each label, of which there are {labels}.",
            got=chains,
            hint=f"pass chains={labels} or more",
        )


def labelled(rows: Tensor, frequencies: Tensor) -> Tensor | None:
    """The labels of the chains in these rows: as many chains for every label as their number allows; None without labels.

    Args:
        rows: Numbers of chains, ``(N,)``.
        frequencies: Of the labels in training, ``(labels,)``.
    """
    return rows % len(frequencies) if len(frequencies) else None


def weighted(n: int, given: Tensor | None, frequencies: Tensor) -> Tensor:
    """The weights of ``n`` chains, of sum one, so that every label among theirs has its frequency in training."""
    if given is None:
        return torch.full((n,), 1 / n, device=frequencies.device)
    counts = torch.bincount(given, minlength=len(frequencies))
    weights = (frequencies / counts.clamp_min(1)).float()[given]
    return weights / weights.sum()


def matched(given: Tensor, chains: int, labels: int, generator: Generator) -> Tensor:
    """For each datum the row of a random chain of its own label; one comes again only when the label has no others left.

    Args:
        given: Labels of the data, ``(N,)``.
        chains: The number of all chains, of which the label is as in ``labelled``.
        labels: The number of labels.
        generator: Of the order.
    """
    rows = torch.randperm(chains, generator=generator, device=given.device)
    rows = rows[(rows % labels).argsort(stable=True)]
    counts = torch.bincount(rows % labels, minlength=labels)
    ranks = F.one_hot(given, labels).cumsum(0).gather(1, given.unsqueeze(1)).squeeze(1) - 1
    return rows[(counts.cumsum(0) - counts)[given] + ranks % counts[given]]


def written(replay: Tensor, rows: Tensor, chains: Tensor) -> None:
    """Put chains back into their rows of the buffer; of several in one row the last, whole, whatever the order of writing."""
    order = torch.arange(len(rows), device=rows.device)
    last = rows.new_zeros(len(replay)).scatter_reduce(0, rows, order, "amax")
    replay[rows] = chains[last[rows]]
