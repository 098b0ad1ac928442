r"""The vector-quantised variational autoencoder (van den Oord et al. 2017, https://arxiv.org/abs/1711.00937).

The encoder puts a vector :math:`z_e(x)_i` at each place i of a grid, and the code there is the nearest of K vectors e:

.. math::

    z_i(x) = \arg\min_k \|z_e(x)_i - e_k\|, \qquad q(z \mid x) = \mathbb{1}[z = z(x)], \qquad
    \log p(x) \ge \log p(x \mid z(x)) + \log p(z(x)).

Trained is the negative of the first term, and what keeps the encoder near its codes,

.. math:: L = -\log p(x \mid e_{z(x)}) + \beta \sum_i \|z_e(x)_i - \mathrm{sg}[e_{z_i(x)}]\|^2,

in nats for each datum, where sg stops the gradient. The gradient passes through the choice as if it were the identity
(*straight-through*): with :math:`z_q = z_e + \mathrm{sg}[e - z_e]` the decoder reads e, and what it says about it reaches
:math:`z_e`. The codes follow the vectors by moving averages (``codebook.py``).

While this is trained p(z) is uniform, a constant in the bound. Afterwards it is learned: ``discrete.py`` has that, and the
networks.

The bound is one term of the sum :math:`p(x) = \sum_z p(x \mid z) p(z)`: what other codes would add is lost, and more draws do
not bring it back. That is the price of an encoder without noise.
"""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Generator, Tensor

from ....capability.activity import perplexity
from ....distribution import Point
from ....domain import Domain
from ....errors import RangeError
from ....learning import Batch, Loss
from ....nn.observation import LikelihoodName
from .codebook import Codebook
from .discrete import DiscreteAutoencoder
from .grids import usual_codes

__all__ = ["VQVAE"]

SETTLED = 0.8
"""The point of training after which no code starts anew: the decoder is to know them all."""


@final
class VQVAE(DiscreteAutoencoder):
    """A vector-quantised variational autoencoder, with a uniform p(z) where it stands alone.

    Options that are not listed are those of ``DiscreteAutoencoder``.

    Args:
        codes: Vectors K of the codebook. None takes 4 for data of two levels, where more cost the bound more than they explain,
            and 64 for others.
        features: Entries of a vector of the codebook.
        beta: Weight of the commitment.
        decay: How much of the codebook's averages stays at each step.
        restart: A code that is used less than this part of the average starts anew; 0 for never.

    Raises:
        BadInput: if the likelihood does not fit the domain.
        RangeError: if a number is out of range.
    """

    deterministic = True
    weighted = False

    def __init__(
        self,
        domain: Domain,
        given: Domain | None = None,
        *,
        codes: int | None = None,
        grid: int = 7,
        latent: int | None = None,
        features: int = 16,
        channels: int = 32,
        layers: int = 2,
        width: int = 256,
        likelihood: LikelihoodName = "auto",
        beta: float = 0.25,
        decay: float = 0.99,
        restart: float = 0.05,
    ) -> None:
        _check(beta, decay, restart)
        codes = usual_codes(domain) if codes is None else codes
        super().__init__(
            domain,
            given,
            codes=codes,
            outputs=features,
            grid=grid,
            latent=latent,
            features=features,
            channels=channels,
            layers=layers,
            width=width,
            likelihood=likelihood,
        )
        self.beta, self.settled = beta, False
        self.codebook = Codebook(codes, features, decay, restart)

    @property
    def size(self) -> int:
        """With the codebook, which no gradient moves."""
        return super().size + self.codebook.sums.numel()

    @torch.no_grad()
    def prepare(self, subset: Tensor, given: Tensor | None, generator: Generator) -> None:
        """Start the decoder at the best likelihood that ignores z, and the codes on vectors of the encoder."""
        super().prepare(subset, given, generator)
        self.codebook.begin(self._read(subset[:2048]).flatten(0, -2), generator)

    def advance(self, progress: float) -> None:
        """Leave the codes where they are towards the end."""
        self.settled = progress >= SETTLED

    def _encode(self, x: Tensor, given: Tensor | None) -> Point:
        """The numbers of the nearest codes, ``(N, 1, h, w)``."""
        return Point(self.codebook.nearest(self._read(x)).unsqueeze(1))

    def _vectors_of(self, z: Tensor) -> Tensor:
        return self.codebook.vectors[z]

    def _read(self, x: Tensor) -> Tensor:
        """The encoder's vectors, ``(N, h, w, D)``."""
        vectors: Tensor = self.encoder(self.observation.scaled(x))
        return vectors.to(self.codebook.sums.dtype)

    def _loss(self, batch: Batch, generator: Generator) -> Loss:
        vectors = self._read(batch.x)
        codes = self.codebook.nearest(vectors.detach())
        chosen = self.codebook.vectors[codes]
        reconstruction = self._written(vectors + (chosen - vectors).detach(), batch.given).log_prob(batch.x).mean()
        commitment = (vectors - chosen).square().flatten(1).sum(1).mean()
        self.codebook.follow(vectors.detach().flatten(0, -2), codes.flatten(), generator, restart=not self.settled)
        parts = {
            "bound": reconstruction + self._log_uniform,
            "reconstruction": reconstruction,
            "commitment": commitment,
            "perplexity": perplexity(torch.bincount(codes.flatten(), minlength=self.grid.levels) / codes.numel()),
            "used": self.codebook.used,
        }
        return Loss(self.beta * commitment - reconstruction, parts)


def _check(beta: float, decay: float, restart: float) -> None:
    if not 0 <= beta < math.inf or not 0 <= decay < 1 or not 0 <= restart < 1:
        got = f"beta={beta}, decay={decay}, restart={restart}"
        raise RangeError("beta must be 0 or more and finite, decay and restart from 0 to below 1.", got=got)
