"""Data written step after step, be they vectors, pictures or strings: all entries drawn, or some forced to what was observed.

Drawing is ancestral sampling. Forcing is what p(missing | observed) needs: a particle filter (``particles.py``) that writes K
copies of each datum. The uniform numbers that decide the entries are drawn before anything else, so an entry's are the same
whatever the others become, and however its distribution was computed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from .particles import Weights

__all__ = ["Writer", "write"]


class Writer(ABC):
    """What writes data step after step, and keeps what it needs of the steps before.

    Attributes:
        end: The symbol after which a datum is over, or None.
    """

    end: int | None = None

    @abstractmethod
    def step(self, t: int, x: Tensor, u: Tensor, held: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The entries of step t.

        Args:
            t: Its number: one after the other.
            x: Data ``(N, T, P)``, of which the steps before t are written; in t read only what is held.
            u: Uniform numbers, ``(N, …)``.
            held: A mask of the entries to take from x, ``(N, P)``, or None for none.

        Returns:
            The entries ``(N, P)``, and the weight of what was forced, ``(N,)``, or None.
        """

    @abstractmethod
    def select(self, rows: Tensor) -> None:
        """Go on with these data: row n becomes what row ``rows[n]`` was. What copies of a datum share stays."""


@torch.no_grad()
def write(writer: Writer, x: Tensor, forced: Tensor | None, u: Tensor, weights: Weights) -> Tensor:
    """Data ``(n, T, P)`` drawn from a model.

    Args:
        writer: Of n times K data.
        x: Each datum K times, ``(n · K, T, P)``; read only where they are forced, and written.
        forced: A mask of the entries to keep, of the same shape, or None for none.
        u: Uniform numbers, ``(T, n · K, …)``.
        weights: Of the K copies of each datum.
    """
    some, every = _steps(forced, x.shape[1])
    for t in range(x.shape[1]):
        rows = None if every[t] else weights.resampled()
        if rows is not None:
            x = x[rows]
            writer.select(rows)
        x[:, t], log_p = writer.step(t, x, u[t], forced[:, t] if forced is not None and some[t] else None)
        weights.multiply(log_p)
        if writer.end is not None and bool((x[:, t] == writer.end).all()):
            x[:, t + 1 :] = writer.end
            break
    return x if weights.copies == 1 else x[weights.chosen()]


def _steps(forced: Tensor | None, length: int) -> tuple[list[bool], list[bool]]:
    """For each step, whether an entry of some datum is forced there, and whether all are."""
    if forced is None:
        return ([False] * length,) * 2
    return forced.any(2).any(0).tolist(), forced.all(2).all(0).tolist()
