r"""The conditional probabilities of an n-gram model, from counts of n-grams.

With :math:`h_k` the k - 1 symbols before w, an order-k probability is mixed with that of the next lower order,

.. math::

    p_k(w \mid h_k) = \frac{\max(c_k(h_k w) - D_k(c_k(h_k w)), 0)}{C_k(h_k)} + \lambda_k(h_k)\, p_{k-1}(w \mid h_{k-1}),

    \lambda_k(h) = \sum_w \frac{\min(c_k(hw), D_k(c_k(hw)))}{C_k(h)}, \qquad C_k(h) = \sum_w c_k(hw),

down to :math:`p_0`, which is uniform. Where h was never seen, :math:`p_k = p_{k-1}`. So every conditional sums to one.

*Modified Kneser–Ney* (Chen and Goodman 1999, https://doi.org/10.1006/csla.1999.0128): :math:`c_n` counts n-grams; for k < n,
:math:`c_k(s)` is the number of different symbols that come before s, unless s begins at the start of a string: then it is how
often it occurs. The discounts of counts 1, 2 and 3 or more follow from :math:`n_i`, the number of k-grams with count i:

.. math:: Y = \frac{n_1}{n_1 + 2 n_2}, \qquad D(1) = 1 - 2Y\frac{n_2}{n_1}, \qquad D(2) = 2 - 3Y\frac{n_3}{n_2},
          \qquad D(3) = 3 - 4Y\frac{n_4}{n_3}

and are 1/2, 1 and 3/2 where these make no sense, as where hardly anything is rare.

*Witten–Bell* (1991): with N(h) the number of different symbols after h, and c the plain counts at every order,
:math:`c(hw) / (C(h) + N(h))` takes the place of the first term and :math:`\lambda(h) = N(h) / (C(h) + N(h))`.

Strings of k symbols are numbered in order: the number of a string is the place of (number of its first k - 1 symbols, last
symbol) in a sorted list, and -1 if it is not there. So a table is a sorted vector, a look-up a binary search, and the
symbols that follow a context are next to each other.
"""

from __future__ import annotations

from typing import Literal, final

import torch
from torch import Tensor

__all__ = ["Smoothing", "Tables"]

Smoothing = Literal["kneser-ney", "witten-bell"]

FALLBACK = (0.5, 1.0, 1.5)
"""Discounts of counts 1, 2 and more, where their frequencies give none."""


@final
class Tables:
    """What probabilities are looked up in.

    Args:
        grams: Distinct n-grams ``(U, n)`` of symbols below ``base``, whose largest is the start of a string.
        counts: How often each occurs, ``(U,)`` float64.
        outcomes: The number of symbols that can come next, the first of all symbols.
        base: The number of symbols.
        smoothing: Of the counts.
    """

    def __init__(self, grams: Tensor, counts: Tensor, outcomes: int, base: int, smoothing: Smoothing) -> None:
        self.outcomes, self.base, self.order, self.device = outcomes, base, grams.shape[1], grams.device
        self.strings: list[Tensor] = []
        self.weights: list[Tensor] = []
        self.shares: list[Tensor] = []
        ends, contexts = self._numbered(grams)
        adjusted = self._counts(grams, counts, ends, plain=smoothing == "witten-bell")
        sizes = [1, *(len(keys) for keys in self.strings)]
        for k in range(self.order):
            context = torch.zeros(sizes[k + 1], dtype=torch.int64, device=grams.device)
            context[ends[k]] = contexts[k]
            weights, shares = _smoothed(adjusted[k], context, sizes[k], smoothing)
            self.weights.append(torch.cat([weights, weights.new_zeros(1)]))  # the last is what number -1 finds
            self.shares.append(torch.cat([shares, shares.new_ones(1)]))

    def _numbered(self, grams: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """For each k the numbers of the last k symbols of every n-gram, and of the k - 1 symbols before the last.

        All strings within n-grams are listed, wherever they stand.
        """
        n = self.order
        numbers = [torch.zeros(len(grams), dtype=torch.int64, device=grams.device)] * n
        ends, contexts = list[Tensor](), [numbers[0]]
        for k in range(1, n + 1):
            keys = [numbers[first] * self.base + grams[:, first + k - 1] for first in range(n - k + 1)]
            self.strings.append(torch.unique(torch.cat(keys)))
            numbers = [torch.searchsorted(self.strings[-1], key) for key in keys]
            ends.append(numbers[n - k])
            contexts += [numbers[n - k - 1]] if k < n else []
        return ends, contexts

    def _counts(self, grams: Tensor, counts: Tensor, ends: list[Tensor], *, plain: bool) -> list[Tensor]:
        """The counts :math:`c_k` of all strings of k symbols."""
        often = [
            counts.new_zeros(len(keys)).index_add(0, end, counts) for keys, end in zip(self.strings, ends, strict=True)
        ]
        if plain:
            return often
        adjusted = [often[-1]]
        for k in range(self.order - 1, 0, -1):
            shorter, longer = ends[k - 1], ends[k]
            tail = torch.full((len(self.strings[k]),), -1, dtype=torch.int64, device=grams.device)
            tail[longer] = shorter  # of each longer string that ends an n-gram
            variety = torch.bincount(tail[tail >= 0], minlength=len(self.strings[k - 1])).double()
            starts = torch.zeros(len(self.strings[k - 1]), dtype=torch.bool, device=grams.device)
            starts[shorter] = grams[:, self.order - k] == self.base - 1
            adjusted.insert(0, torch.where(starts, often[k - 1], variety))
        return adjusted

    def look_up(self, strings: Tensor) -> Tensor:
        """The probability of the last symbol of ``(M, n)`` after the others, ``(M,)``."""
        p = torch.full((len(strings),), 1 / self.outcomes, dtype=torch.float64, device=strings.device)
        for k, context in enumerate(self._contexts(strings[:, :-1])):
            gram = self._found(k, context, strings[:, -1])
            p = self.shares[k][context] * p + self.weights[k][gram]
        return p

    def next(self, contexts: Tensor) -> Tensor:
        """The probabilities ``(M, outcomes)`` of what comes after ``(M, n - 1)``."""
        p = torch.full((len(contexts), self.outcomes), 1 / self.outcomes, dtype=torch.float64, device=contexts.device)
        for k, context in enumerate(self._contexts(contexts)):
            first, last = self._span(k, context)
            rows = torch.repeat_interleave(torch.arange(len(context), device=context.device), last - first)
            places = torch.arange(len(rows), device=context.device)
            places = places - torch.repeat_interleave((last - first).cumsum(0) - last, last - first)
            symbols = self.strings[k][places] - context[rows] * self.base
            possible = symbols < self.outcomes
            p = p * self.shares[k][context].unsqueeze(1)
            p.index_put_((rows[possible], symbols[possible]), self.weights[k][places[possible]], accumulate=True)
        return p

    def _contexts(self, symbols: Tensor) -> list[Tensor]:
        """The numbers of the last 0, 1, …, n - 1 symbols of ``(M, n - 1)``, ``(M,)`` each."""
        found = []
        for length in range(self.order):
            number = torch.zeros(len(symbols), dtype=torch.int64, device=symbols.device)
            for k in range(length):
                number = self._found(k, number, symbols[:, self.order - 1 - length + k])
            found.append(number)
        return found

    def _found(self, k: int, number: Tensor, symbol: Tensor) -> Tensor:
        """The number of the string of k + 1 symbols that begins with this string of k, or -1."""
        keys = self.strings[k]
        if len(keys) == 0:
            return torch.full_like(number, -1)
        key = number * self.base + symbol
        place = torch.searchsorted(keys, key).clamp_max(len(keys) - 1)
        return torch.where((number >= 0) & (keys[place] == key), place, -1)

    def _span(self, k: int, number: Tensor) -> tuple[Tensor, Tensor]:
        """From where to where the strings of k + 1 symbols begin with this one; nothing for -1."""
        first = torch.searchsorted(self.strings[k], number * self.base)
        last = torch.searchsorted(self.strings[k], (number + 1) * self.base)
        return torch.where(number < 0, 0, first), torch.where(number < 0, 0, last)


def _smoothed(counts: Tensor, context: Tensor, contexts: int, smoothing: Smoothing) -> tuple[Tensor, Tensor]:
    """The first term of each string, and the share of the lower order after each context."""
    zeros = counts.new_zeros(contexts)
    total = zeros.index_add(0, context, counts)
    if smoothing == "witten-bell":
        kinds = zeros.index_add(0, context, (counts > 0).double())
        whole = (total + kinds).clamp_min(1)
        return counts / whole[context], torch.where(total > 0, kinds / whole, 1)
    discount = counts.new_tensor((0.0, *_discounts(counts)))[counts.clamp_max(3).long()]
    whole = total.clamp_min(1)
    shares = zeros.index_add(0, context, discount) / whole
    return (counts - discount) / whole[context], torch.where(total > 0, shares, 1)


def _discounts(counts: Tensor) -> tuple[float, float, float]:
    """Of counts 1, 2, and 3 or more."""
    n1, n2, n3, n4 = (float((counts == i).sum()) for i in (1, 2, 3, 4))
    if min(n1, n2, n3) == 0:
        return FALLBACK
    y = n1 / (n1 + 2 * n2)
    found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    return found if all(0 < d < i for i, d in enumerate(found, 1)) else FALLBACK
