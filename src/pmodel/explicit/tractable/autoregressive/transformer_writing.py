r"""Data written token by token with a key-value cache: all entries drawn, or some forced to what was observed.

A token costs one position of the stack: the keys and values of the earlier ones are kept. The uniform numbers that decide the
entries are drawn before anything else, so an entry's are the same however the features were computed.

Observed entries are forced, and weigh the particles (``particles.py``). Strings with an end symbol have two more rules.
After the end, everything is the end, with probability one. And where an element is observed further on, the string cannot end
yet: the end is left out, and what is drawn weighs as much as all other symbols together, so that no particle is in vain.

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

from ....errors import RangeError
from .particles import Weights
from .transformer_head import Head, drawn
from .transformer_stack import Cache, Stack
from .transformer_tokens import Embedding

__all__ = ["Draws", "write"]


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


@torch.no_grad()
def write(
    parts: tuple[Embedding, Stack, Head],
    tokens: Tensor,
    given: Tensor | None,
    forced: Tensor | None,
    generator: Generator,
    *,
    draws: Draws,
    particles: int = 1,
    end: int | None = None,
) -> Tensor:
    """Tokens ``(N, T, P)`` drawn from the model.

    Args:
        parts: The network.
        tokens: Levels; read only where they are forced.
        given: Labels, or None.
        forced: A mask of the entries to keep, or None for none.
        generator: Of the noise.
        draws: How entries are drawn.
        particles: Copies K of each datum.
        end: The symbol after which a string is over, or None.
    """
    embedding, stack, head = parts
    n, length, _ = tokens.shape
    x = tokens.repeat_interleave(particles, 0)
    labels = None if given is None else given.repeat_interleave(particles)
    keep = None if forced is None else forced.repeat_interleave(particles, 0)
    u = torch.rand((length, *x[:, 0].shape), generator=generator, device=x.device, dtype=stack.norm.weight.dtype)
    cache, weights = Cache(stack, len(x), length), Weights(n, particles, generator, stack.norm.weight)
    real = embedding.patches.real(x.device).tolist()
    some, every = _tokens(forced, length)
    string = None if end is None else _String(x, keep, end)
    for t in range(length):
        rows = None if every[t] else weights.resampled()
        if rows is not None:
            x = x[rows]
            cache.select(rows)
        features = stack(embedding.at(t, x, labels), cache)[:, 0]
        held = keep[:, t] if keep is not None and some[t] else None
        if string is None:
            x[:, t], log_p = head.draw(features, u[t], x[:, t], held, real[t], draws)
        else:
            x[:, t, 0], log_p = string.drawn(t, head.first(features), u[t, :, :1], x, held, draws)
        weights.multiply(log_p)
        if string is not None and string.over(x[:, t, 0]):
            x[:, t + 1 :] = string.end
            break
    return x if particles == 1 else x[weights.chosen()]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _tokens(forced: Tensor | None, length: int) -> tuple[list[bool], list[bool]]:
    """For each token, whether an entry of some datum is forced there, and whether all are."""
    if forced is None:
        return ([False] * length,) * 2
    return forced.any(2).any(0).tolist(), forced.all(2).all(0).tolist()


@final
class _String:
    """The rules of strings that end.

    Args:
        x: The strings, ``(N, T, 1)``.
        keep: Where they are observed, or None for nowhere.
        end: The symbol.
    """

    def __init__(self, x: Tensor, keep: Tensor | None, end: int) -> None:
        self.end = end
        self.goes_on = None
        if keep is not None:  # an element is observed further on; the copies of a string share it
            elements = (keep & (x != end))[:, 1:, 0].flip(1).cumsum(1).flip(1) > 0
            self.goes_on = torch.cat([elements, torch.zeros_like(keep[:, :1, 0])], 1)

    def drawn(
        self, t: int, logits: Tensor, u: Tensor, x: Tensor, held: Tensor | None, draws: Draws
    ) -> tuple[Tensor, Tensor | None]:
        """The symbols ``(N,)`` at position t, and the weight of what was forced, ``(N,)``."""
        ended = x[:, t - 1, 0] == self.end if t else torch.zeros_like(x[:, 0, 0], dtype=torch.bool)
        if self.goes_on is None:
            return torch.where(ended, self.end, drawn(draws(logits), u)), None
        log_p, goes_on = logits.log_softmax(1), self.goes_on[:, t]
        without = log_p.index_fill(1, torch.tensor([self.end], device=x.device), -math.inf)
        level = drawn(draws(torch.where(goes_on.unsqueeze(1), without, log_p)), u)
        weight = torch.where(goes_on, without.logsumexp(1), 0)
        if held is not None:
            level = torch.where(held[:, 0], x[:, t, 0], level)
            weight = torch.where(held[:, 0], log_p.gather(1, level.unsqueeze(1)).squeeze(1), weight)
        return torch.where(ended, self.end, level), torch.where(ended, 0, weight)

    def over(self, symbols: Tensor) -> bool:
        """Whether all strings have ended."""
        return bool((symbols == self.end).all())
