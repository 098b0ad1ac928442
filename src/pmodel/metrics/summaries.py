"""Features of sequences: how long they are, what is in them, and what follows what."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from ..domain import Discrete, Sequences
from ..randomness import generator
from .features import CHUNK, Extractor

__all__ = ["Summaries"]

COMMON = 24
"""Symbols, and pairs of neighbours, that are counted: the most frequent ones in training."""
PROJECTIONS = 4
"""Random projections of symbols."""
FEATURES = 8
"""Real features of an element that are summarised, at most: the first ones."""


@final
class Summaries(Extractor):
    """Sequences by their summaries, each with mean 0 and variance 1 on the training data.

    Of symbols: the length, the shares of the most frequent ones, and of the most frequent pairs of neighbours; and a few random
    projections of which symbol stands where, so that only equal sequences have equal features. Of real
    elements: the length and, for each feature, the mean, the standard deviation, and the mean product of neighbours around the
    mean; missing values count as the mean.

    Args:
        domain: What one sequence is.
        train: Training data, ``(N, longest, *element.shape)``.
    """

    def __init__(self, domain: Sequences, train: Tensor) -> None:
        super().__init__(domain)
        self.sequences = domain
        self.symbols = self.pairs = torch.zeros(0, dtype=torch.int64)
        noise = generator(0, "summaries")
        self.places = torch.randn(PROJECTIONS, domain.longest, self._values, generator=noise, dtype=torch.float64)
        if isinstance(domain.element, Discrete):
            symbols, pairs = self._symbols(train), self._pairs(train)
            self.symbols, self.pairs = (_frequent(codes[codes >= 0]) for codes in (symbols, pairs))
        raw = torch.cat([self._raw(part) for part in torch.split(train, max(1, CHUNK // domain.entries))])
        self.loc, scale = raw.mean(0), raw.std(0).nan_to_num()
        self.scale = torch.where(scale > 1e-12 * (1 + self.loc.abs()), scale, 1.0)

    @property
    def name(self) -> str:
        """They depend on nothing but the data, whose hash the measure holds."""
        return "standardised summaries of sequences"

    def _features(self, x: Tensor) -> Tensor:
        return (self._raw(x) - self.loc) / self.scale

    def _raw(self, x: Tensor) -> Tensor:
        lengths = self.sequences.lengths(x).double()[:, None]
        if isinstance(self.sequences.element, Discrete):
            shares = [
                _shares(codes, which)
                for codes, which in ((self._symbols(x), self.symbols), (self._pairs(x), self.pairs))
            ]
            return torch.cat([lengths, *shares, self._projections(x)], 1)
        return torch.cat([lengths, *self._moments(x)], 1)

    @property
    def _values(self) -> int:
        """The values of a symbol, the end among them; none of real elements."""
        return int(self.sequences.end) + 1 if isinstance(self.sequences.element, Discrete) else 0

    def _projections(self, x: Tensor) -> Tensor:
        first, where = _first(x), torch.arange(x.shape[1])
        found: Tensor = torch.stack([table[where, first].sum(1) for table in self.places], 1) / x.shape[1] ** 0.5
        return found

    def _symbols(self, x: Tensor) -> Tensor:
        """The first entry of each element, -1 after the end."""
        return _first(x).where(self.sequences.present(x), -1)

    def _pairs(self, x: Tensor) -> Tensor:
        """Each symbol with the one before it, as one number; -1 after the end."""
        symbols = self._symbols(x)
        before, after = symbols[:, :-1], symbols[:, 1:]
        return (before * self._values + after).where(after >= 0, -1)

    def _moments(self, x: Tensor) -> list[Tensor]:
        there = self.sequences.present(x)[:, :, None]
        values = x.flatten(2)[:, :, :FEATURES].double()
        known = there & values.isfinite()
        values = values.masked_fill(~known, 0.0)
        mean = values.sum(1) / known.sum(1).clamp_min(1)
        centred = (values - mean[:, None]).masked_fill(~known, 0.0)
        std = (centred.square().sum(1) / known.sum(1).clamp_min(1)).sqrt()
        after = (centred[:, 1:] * centred[:, :-1]).sum(1) / there[:, 1:].sum(1).clamp_min(1)
        return [mean, std, after]


def _first(x: Tensor) -> Tensor:
    """The first entry of each element, ``(N, longest)``."""
    return (x.flatten(2)[:, :, 0] if x.ndim > 2 else x).long()


def _frequent(codes: Tensor) -> Tensor:
    values, counts = torch.unique(codes, return_counts=True)
    found: Tensor = values[counts.argsort(descending=True, stable=True)[:COMMON]]
    return found


def _shares(codes: Tensor, which: Tensor) -> Tensor:
    """The share of each of these codes in each row, ``(N, len(which))``."""
    counts = (
        torch.stack([(codes == code).sum(1) for code in which], 1) if len(which) else codes.new_zeros(len(codes), 0)
    )
    return counts.double() / (codes >= 0).sum(1, keepdim=True).clamp_min(1)
