"""A likelihood that says what it is: its values, whether they are exact, bounds or estimates, and their error."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

__all__ = ["Kind", "Likelihood"]

Kind = Literal["exact", "lower_bound", "estimate"]


@final
@dataclass(frozen=True, eq=False)
class Likelihood:
    """Log-likelihoods of a batch.

    Args:
        values: Nats per datum, ``(N,)`` float64; -inf where the model holds a datum for impossible.
        kind: ``exact``, ``lower_bound`` (its expectation lies below the exact value) or ``estimate``.
        estimator: How it was computed: particles, steps, seed. Two numbers compare only in the light of it.
        mc_stderr: Monte Carlo standard error of each value, ``(N,)``; None where nothing was drawn.
    """

    values: Tensor
    kind: Kind
    estimator: str
    mc_stderr: Tensor | None = None

    @property
    def n(self) -> int:
        """The number of data."""
        return len(self.values)

    @property
    def impossible(self) -> int:
        """How many data have probability zero."""
        return int(torch.isneginf(self.values).sum())

    @property
    def mean(self) -> float:
        """Mean log-likelihood in nats per datum; -inf if any datum is impossible."""
        return float(self.values.mean())

    @property
    def common_stderr(self) -> float:
        """The standard error that all values share, as that of an estimated partition function; 0 of all but estimates."""
        if self.kind != "estimate" or self.mc_stderr is None or not self.n:
            return 0.0
        return float(self.mc_stderr.mean())

    @property
    def stderr(self) -> float:
        """Standard error of the mean, over the data and of what they share; NaN of one datum or where any is impossible."""
        return math.hypot(float(self.values.std()) / self.n**0.5, self.common_stderr) if self.n > 1 else float("nan")
