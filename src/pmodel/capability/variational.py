"""Models with a code and a bound: encoded once, however many draws are made."""

from __future__ import annotations

from abc import abstractmethod
from typing import Generic, TypeVar, cast

import torch
from torch import Generator, Tensor

from .latent import Latent
from .scoring import Bound

__all__ = ["Variational"]

Seen = TypeVar("Seen")
"""What inference has found of some data: q(z | x), or what it is made of."""


class Variational(Bound, Latent, Generic[Seen]):
    r"""A model whose bound is the mean of log-weights of its code.

    .. math:: \log p(x \mid z) + \log p(z) - \log q(z \mid x), \qquad z \sim q(z \mid x).

    What inference needs of the data is found once for all draws.
    """

    def _infer(self, x: Tensor, given: Tensor | None) -> Seen:
        """All that inference needs of the data, whatever is drawn later. The default is q(z | x)."""
        return cast(Seen, self._encode(x, given))

    @abstractmethod
    def _log_weight_under(self, seen: Seen, x: Tensor, given: Tensor | None, generator: Generator) -> Tensor:
        """The log-weight of one draw of z, ``(N,)``, from what ``_infer`` has found."""

    @property
    def certain(self) -> bool:
        """Whether all draws of a datum's log-weight are the same: where q(z | x) is a point, nothing is drawn."""
        return self.deterministic

    def _log_weight(self, x: Tensor, given: Tensor | None, generator: Generator) -> Tensor:
        return self._log_weight_under(self._infer(x, given), x, given, generator)

    def _log_weights(
        self, x: Tensor, given: Tensor | None, observed: Tensor | None, generator: Generator, effort: int
    ) -> Tensor:
        seen, different = self._infer(x, given), 1 if self.certain else effort
        draws = [self._log_weight_under(seen, x, given, generator).double() for _ in range(different)]
        return torch.stack(draws).expand(effort, -1)
