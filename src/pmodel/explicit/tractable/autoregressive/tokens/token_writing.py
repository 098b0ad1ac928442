r"""How tokens are drawn and forced while data are written (``writing.py``).

Strings with an end symbol have two more rules. After the end, everything is the end, with probability one. And where an element
is observed further on, the string cannot end yet: the end is left out, and what is drawn weighs as much as all other symbols
together, so that no particle is in vain.

*Settings of the draws* change the distribution that is drawn from, and nothing that is scored. With logits l of an entry,

.. math:: p_\tau(k) \propto e^{l_k / \tau}

at the temperature :math:`\tau`; ``top_k`` leaves only the k likeliest levels, and ``top_p`` the fewest likeliest levels that
together have at least the probability p (Holtzman et al. 2020, https://arxiv.org/abs/1904.09751).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Generator, Tensor

from .....errors import RangeError
from ..categories import inverse_cdf
from ..particles import Weights
from ..writing import Writer, write

__all__ = ["Draws", "Strings", "write_tokens"]


@final
@dataclass(frozen=True)
class Draws:
    """How entries are drawn from their logits; the defaults are the model's own distribution.

    Args:
        temperature: By which logits are divided.
        top_k: The number of levels that are left, or 0 for all.
        top_p: The probability that the levels that are left have at least.

    Raises:
        RangeError: if one is out of range.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not _is_number(self.temperature) or not 0 < self.temperature < math.inf:
            raise RangeError("temperature must be a number above 0.", got=self.temperature)
        if isinstance(self.top_k, bool) or not isinstance(self.top_k, int) or self.top_k < 0:
            raise RangeError("top_k must be a whole number, 0 for all levels.", got=self.top_k)
        if not _is_number(self.top_p) or not 0 < self.top_p <= 1:
            raise RangeError("top_p must be above 0 and at most 1.", got=self.top_p)

    def __call__(self, logits: Tensor) -> Tensor:
        """The logits ``(N, L)`` to draw from."""
        if self.temperature != 1:
            logits = logits / self.temperature
        if 0 < self.top_k < logits.shape[1]:
            least = logits.topk(self.top_k, 1).values[:, -1:]
            logits = logits.masked_fill(logits < least, -math.inf)
        if self.top_p < 1:
            ordered, places = logits.sort(1, descending=True)
            p = ordered.softmax(1)
            gone = p.cumsum(1) - p >= self.top_p
            logits = torch.where(gone.scatter(1, places, gone), -math.inf, logits)
        return logits


def write_tokens(
    writer: Writer, x: Tensor, forced: Tensor | None, generator: Generator, *, particles: int, dtype: torch.dtype
) -> Tensor:
    """Tokens ``(n, T, P)`` drawn from a model.

    Args:
        writer: Of n times K data.
        x: Tokens, each datum K times, ``(n · K, T, P)``; read only where they are forced, and written.
        forced: A mask of the entries to keep, of the same shape, or None for none.
        generator: Of the noise.
        particles: Copies K of each datum.
        dtype: Of the uniform numbers.
    """
    u = torch.rand((x.shape[1], len(x), x.shape[2]), generator=generator, device=x.device, dtype=dtype)
    return write(writer, x, forced, u, Weights(len(x) // particles, particles, generator, u))


@final
class Strings:
    """How the symbols of strings are drawn, and the rules of those that end.

    Args:
        x: The strings, ``(N, T, 1)``.
        keep: Where they are observed, or None for nowhere.
        end: The end symbol, or None.
        draws: How symbols are drawn.
    """

    def __init__(self, x: Tensor, keep: Tensor | None, end: int | None, draws: Draws) -> None:
        self.end, self.draws = end, draws
        self.goes_on = None
        if keep is not None and end is not None:  # an element is observed further on; the copies of a string share it
            elements = (keep & (x != end))[:, 1:, 0].flip(1).cumsum(1).flip(1) > 0
            self.goes_on = torch.cat([elements, torch.zeros_like(keep[:, :1, 0])], 1)

    def step(self, t: int, logits: Tensor, x: Tensor, u: Tensor, held: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """What ``Writer.step`` answers, from the logits ``(N, L)`` of the symbol."""
        log_p, weight = logits.log_softmax(1), None
        if self.goes_on is not None and self.end is not None:
            goes_on = self.goes_on[:, t]
            without = log_p.index_fill(1, torch.tensor([self.end], device=x.device), -math.inf)
            weight = torch.where(goes_on, without.logsumexp(1), 0)
            logits = torch.where(goes_on.unsqueeze(1), without, logits)
        level = inverse_cdf(self.draws(logits), u)
        if held is not None:
            level = torch.where(held[:, 0], x[:, t, 0], level)
            forced = log_p.gather(1, level.unsqueeze(1)).squeeze(1)
            weight = torch.where(held[:, 0], forced, 0 if weight is None else weight)
        if self.end is not None and t:
            ended = x[:, t - 1, 0] == self.end
            level = torch.where(ended, self.end, level)
            weight = None if weight is None else torch.where(ended, 0, weight)
        return level.unsqueeze(1), weight


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
