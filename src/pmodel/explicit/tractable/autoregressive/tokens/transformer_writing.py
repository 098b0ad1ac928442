"""Tokens written by a transformer with a key-value cache.

A token costs one position of the stack: the keys and values of the earlier ones are kept. So all of a datum costs about as much
work as one pass over it, where the plain loop needs a pass for each token.
"""

from __future__ import annotations

from typing import final

from torch import Tensor

from ..writing import Writer
from .token_writing import Draws, Strings
from .transformer_head import Head
from .transformer_stack import Cache, Stack
from .transformer_tokens import Embedding

__all__ = ["CachedWriter"]


@final
class CachedWriter(Writer):
    """A transformer that writes n data.

    Args:
        parts: The network.
        n: How many data.
        given: Their labels, or None.
        strings: The rules of sequences; None for entries within patches.
        draws: How entries are drawn.
    """

    def __init__(
        self, parts: tuple[Embedding, Stack, Head], n: int, given: Tensor | None, strings: Strings | None, draws: Draws
    ) -> None:
        self.embedding, self.stack, self.head = parts
        self.given, self.strings, self.draws = given, strings, draws
        self.end = None if strings is None else strings.end
        patches = self.embedding.patches
        self.cache = Cache(self.stack, n, patches.tokens)
        self.real = patches.real(self.stack.norm.weight.device).tolist()

    def step(self, t: int, x: Tensor, u: Tensor, held: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """One position of the stack, and then the entries."""
        features = self.stack(self.embedding.at(t, x, self.given), self.cache)[:, 0]
        if self.strings is not None:
            return self.strings.step(t, self.head.first(features), x, u, held)
        return self.head.draw(features, u, x[:, t], held, self.real[t], self.draws)

    def select(self, rows: Tensor) -> None:
        """Labels and rules stay: the copies of a datum share them."""
        self.cache.select(rows)
