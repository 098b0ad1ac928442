r"""Invertible maps with known log-determinants, and their composition.

:math:`\log|\det \partial (g \circ f)/\partial x| = \log|\det \partial g/\partial f| + \log|\det \partial f/\partial x|`:
log-determinants add. They are summed in the precision of the data, float32 at least, whatever the networks compute in.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import cast

import torch
from torch import Tensor, nn

__all__ = ["Composition", "Diagonal", "Inverted", "Transform"]

SMALLEST = 1e-4
"""The least spread that an entry is taken to have: real data may be constant there, and no density describes that."""


class Transform(nn.Module, ABC):
    """An invertible map of data ``(N, *shape)``, which may depend on a context ``(N, K)`` such as a one-hot label."""

    @abstractmethod
    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The image z of x, and the log-determinant of the Jacobian dz/dx of each datum, ``(N,)``."""

    @abstractmethod
    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """The x whose image is z under the same context."""

    def prepare(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Set what must be known from data before training, and answer with their image."""
        return self(x, context)[0]  # type: ignore[no-any-return]


class Composition(Transform):
    """One map after another; the empty composition is the identity."""

    def __init__(self, parts: Iterable[Transform]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def __iter__(self) -> Iterator[Transform]:
        return cast(Iterator[Transform], iter(self.parts))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The image under all parts, and the sum of their log-determinants."""
        total = x.new_zeros(len(x))
        for part in self:
            x, ladj = part(x, context)
            total = total + ladj
        return x, total

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """The parts' inverses, the last one's first."""
        for part in reversed([*self]):
            z = part.inverse(z, context)
        return z

    def prepare(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Prepare each part on the image under the parts before it."""
        for part in self:
            x = part.prepare(x, context)
        return x


class Inverted(Transform):
    """A map the other way round. To learn it asks for an inverse that gradients go through."""

    def __init__(self, map: Transform) -> None:
        super().__init__()
        self.map = map

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The z whose image is x, and minus the log-determinant there."""
        z = self.map.inverse(x, context)
        return z, -self.map(z, context)[1]

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """The image of z."""
        return cast(Tensor, self.map(z, context)[0])


class Diagonal(Transform):
    r"""An affine map of each entry, which a context shifts and stretches: :math:`z = (x - \mu_c)\, e^{-\log\sigma_c}`.

    Prepared, it gives every entry mean 0 and standard deviation 1 within each context. It takes the place of the batch
    normalisation of the paper, whose statistics would make the score of a datum depend on its batch.

    Args:
        shape: Of a datum.
        contexts: Size K of a one-hot context, or 0 for none.
    """

    def __init__(self, shape: tuple[int, ...], contexts: int = 0) -> None:
        super().__init__()
        self.mu = nn.Parameter(torch.zeros(max(1, contexts), *shape))
        self.log_sigma = nn.Parameter(torch.zeros(max(1, contexts), *shape))
        self.contexts = contexts

    def _of(self, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Means and log-scales for each datum, or for all."""
        if context is None or not self.contexts:
            return self.mu, self.log_sigma
        rows = context.argmax(1)
        return self.mu[rows], self.log_sigma[rows]

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """z, and minus the sum of the log-scales."""
        mu, log_sigma = self._of(context)
        return (x - mu) * (-log_sigma).exp(), -log_sigma.flatten(1).sum(1).expand(len(x))

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Mu + sigma z."""
        mu, log_sigma = self._of(context)
        return mu + log_sigma.exp() * z

    @torch.no_grad()
    def prepare(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Take means from the data of each context, and the spread around them from all data."""
        if len(x) > 1:
            self.mu.copy_(_means(x, context if self.contexts else None))
            spread = (x - self._of(context)[0]).square().mean(0).sqrt()
            self.log_sigma.copy_(spread.clamp_min(SMALLEST).log().expand_as(self.log_sigma))
        return cast(Tensor, self(x, context)[0])


def _means(x: Tensor, context: Tensor | None) -> Tensor:
    """The mean of the data, or of those of each context, drawn to the former as by one datum more: ``(K, *shape)``."""
    overall = x.mean(0, keepdim=True)
    if context is None:
        return overall
    sums: Tensor = context.T @ x.flatten(1) + overall.flatten(1)
    return (sums / (context.sum(0).unsqueeze(1) + 1)).reshape(-1, *x.shape[1:])
