r"""The weights of a particle filter (Gordon et al. 1993), for models that write data in a fixed order.

K copies of each datum are written. A missing entry is drawn from its conditional; an observed one is forced and multiplies the
weight w of its copy by its conditional probability. Where the effective number of copies :math:`(\sum w)^2 / \sum w^2` is below
K/2, they are drawn anew by their weights before anything more is drawn. Last, one copy is drawn by its weight: this is
p(missing | observed) as K grows, and for any K where nothing observed comes after something missing, for then all weights are
equal. The product of the mean weights between the draws is an unbiased estimate of p(observed).
"""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Generator, Tensor

from .categories import cumulative, inverse_cdf

__all__ = ["Weights"]


@final
class Weights:
    """The weights of K copies of each of n data; the copies of a datum are rows that follow each other.

    Args:
        n: How many data.
        particles: Copies K of each.
        generator: Of the draws.
        like: A tensor whose type and device the weights have.
    """

    def __init__(self, n: int, particles: int, generator: Generator, like: Tensor) -> None:
        self.generator = generator
        self.log_w = like.new_zeros(n, particles)
        self.settled = like.new_zeros(n)
        self.changed = False

    def multiply(self, log_p: Tensor | None) -> None:
        """Multiply the weights by probabilities ``(n · K,)``, if there are any."""
        if log_p is not None:
            self.log_w = self.log_w + log_p.reshape(self.log_w.shape)
            self.changed = self.copies > 1

    def resampled(self) -> Tensor | None:
        """The rows to go on with, or None for all: where few copies bear the weight, systematic draws by it."""
        if not self.changed:
            return None
        self.changed, k = False, self.copies
        w = self.log_w.softmax(1)
        few = w.square().sum(1, keepdim=True) * k > 2
        if not bool(few.any()):
            return None
        every = torch.arange(k, device=w.device)
        at = (self._uniform() + every) / k  # the last may be rounded to 1, which no category is beyond
        drawn = torch.searchsorted(cumulative(self.log_w), at, right=True).clamp_max(k - 1)
        self.settled = torch.where(few[:, 0], self.log_evidence, self.settled)
        self.log_w = self.log_w.masked_fill(few, 0)
        return self._rows(torch.where(few, drawn, every))

    @property
    def copies(self) -> int:
        """The copies K of each datum."""
        return self.log_w.shape[1]

    @property
    def log_evidence(self) -> Tensor:
        """The logarithm of the estimate of p(observed), ``(n,)``: exact where all weights are equal."""
        mean: Tensor = self.log_w.logsumexp(1) - math.log(self.copies)
        return self.settled + mean

    def chosen(self) -> Tensor:
        """One row for each datum, drawn by its weight."""
        return self._rows(inverse_cdf(self.log_w, self._uniform()).unsqueeze(1))

    def _uniform(self) -> Tensor:
        like = self.log_w
        return torch.rand(len(like), 1, generator=self.generator, device=like.device, dtype=like.dtype)

    def _rows(self, copies: Tensor) -> Tensor:
        n, k = self.log_w.shape
        return (torch.arange(n, device=copies.device).unsqueeze(1) * k + copies).flatten()
