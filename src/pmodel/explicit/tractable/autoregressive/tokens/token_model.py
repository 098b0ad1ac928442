"""What models that write tokens share: the settings of their draws, and what the end of a sequence means to them."""

from __future__ import annotations

import math

from torch import Tensor

from .....capability import Samples
from .....domain import Sequences
from ..completing import CompletesInOrder
from .token_writing import Draws

__all__ = ["TokenModel"]


class TokenModel(Samples, CompletesInOrder):
    """A model that writes data token by token.

    ``sample`` and ``complete`` take ``temperature``, ``top_k`` and ``top_p`` for one call. They change the distribution that
    is drawn from, which is then no longer the one that ``score`` scores.

    Attributes:
        temperature: By which logits are divided.
        top_k: The number of levels that are left, or 0 for all.
        top_p: The probability that the levels that are left have at least.
    """

    adjustable = ("particles", "temperature", "top_k", "top_p")
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def _check_sampling(self) -> None:
        super()._check_sampling()
        self._draws()

    def _draws(self) -> Draws:
        return Draws(self.temperature, self.top_k, self.top_p)

    def _few(self, missing: Tensor) -> Tensor:
        """Joint states are scored under the model's own distribution: not where another is drawn from."""
        return super()._few(missing) if self._draws() == Draws() else missing == 0

    def _evidence(self, x: Tensor, observed: Tensor) -> Tensor:
        """What fills up a sequence of known length has no factor."""
        if isinstance(self.domain, Sequences) and not self.domain.ends:
            return observed & self.domain.present(x)
        return observed

    def _ended(self, x: Tensor, log_prob: Tensor) -> Tensor:
        """Log-probabilities ``(N,)`` of data: minus infinity where an element comes after the end of a sequence."""
        if not isinstance(self.domain, Sequences):
            return log_prob
        there = self.domain.present(x)
        again = (there[:, 1:] & ~there[:, :-1]).any(1)
        return log_prob.masked_fill(again, -math.inf)
