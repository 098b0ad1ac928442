r"""The discrete variational autoencoder, by the Gumbel-softmax (Jang et al. 2017), or concrete (Maddison et al. 2017), trick.

At each place i of a grid stands one of K codes, and encoder and prior are distributions of it:

.. math::

    q(z \mid x) = \prod_i \mathrm{Cat}(z_i; \pi_i(x)), \qquad p(z) = \prod_i \frac1K, \qquad
    \mathrm{ELBO} = E_q[\log p(x \mid z)] - \mathrm{KL}(q \| p), \quad
    \mathrm{KL} = \sum_i \Big( \log K + \sum_k \pi_{ik} \log \pi_{ik} \Big).

The KL is computed. A draw of a category has no gradient; so the decoder reads a point inside the simplex instead of a corner,

.. math::

    y_k = \frac{\exp((\log \pi_k + g_k) / \tau)}{\sum_l \exp((\log \pi_l + g_l) / \tau)}, \qquad g_k \sim \mathrm{Gumbel}(0, 1),

and for it :math:`\sum_k y_k e_k`, a mixture of the vectors of the codes. As the temperature goes to 0, y goes to the corner of
:math:`\arg\max_k (\log \pi_k + g_k)`, which is a draw from Cat(π): the bias of the gradient goes to 0, and its variance grows.
So the temperature falls during training. ``straight=true`` lets the decoder read the corner, and the gradient pass as if it had
read y (*straight-through*): biased at every temperature, but the decoder learns what it is scored on.

Scores are always those of corners, which alone have a mass: the bound with relaxed codes bounds no log p(x).

Afterwards p(z) is learned: ``discrete.py`` has that, and the networks.
"""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from ....capability.activity import perplexity
from ....distribution import Categorical, wide
from ....domain import Domain
from ....errors import RangeError
from ....learning import Batch, Loss
from ....nn.observation import LikelihoodName
from .discrete import DiscreteAutoencoder
from .grids import usual_codes

__all__ = ["DVAE", "gumbel_softmax"]

COLD = 0.75
"""The part of training after which the temperature stays where it is."""


@final
class DVAE(DiscreteAutoencoder):
    """A discrete variational autoencoder, with a uniform p(z) where it stands alone.

    Options that are not listed are those of ``DiscreteAutoencoder``.

    Args:
        codes: Categories K of each place. None takes 8 for data of two levels and 128 for others.
        temperature: Of the relaxed draws at the start of training.
        coldest: The temperature that it falls to, by the same factor at every step.
        straight: Whether the decoder reads hard codes in training, with the gradient of relaxed ones.
        beta: Weight of the KL from a uniform p(z) in training. Less than 1 where a prior is to be learned, which asks less for
            the same codes.
        warmup: The part of training in which the KL's weight grows linearly to ``beta``.

    Raises:
        BadInput: if the likelihood does not fit the domain.
        RangeError: if a number is out of range.
    """

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
        temperature: float = 1.0,
        coldest: float = 0.3,
        straight: bool = False,
        beta: float = 0.4,
        warmup: float = 0.2,
    ) -> None:
        _check(temperature, coldest, beta, warmup)
        codes = 2 * usual_codes(domain) if codes is None else codes
        super().__init__(
            domain,
            given,
            codes=codes,
            outputs=codes,
            grid=grid,
            latent=latent,
            features=features,
            channels=channels,
            layers=layers,
            width=width,
            likelihood=likelihood,
        )
        self.warmest, self.coldest, self.straight = temperature, coldest, straight
        self.beta, self.warmup = beta, warmup
        self.temperature, self.annealing = temperature, 1.0
        self.vectors = nn.Parameter(nn.init.normal_(torch.empty(codes, features)))

    def advance(self, progress: float) -> None:
        """Let the temperature fall, and the KL's weight grow."""
        self.temperature = self.warmest * (self.coldest / self.warmest) ** min(1.0, progress / COLD)
        self.annealing = min(1.0, progress / self.warmup) if self.warmup else 1.0

    def _encode(self, x: Tensor, given: Tensor | None) -> Categorical:
        """q(z | x), over ``(N, 1, h, w)``."""
        logits: Tensor = self.encoder(self.observation.scaled(x))
        return Categorical(logits.to(self.vectors.dtype).unsqueeze(1))

    def _vectors_of(self, z: Tensor) -> Tensor:
        return self.vectors[z]

    def _loss(self, batch: Batch, generator: Generator) -> Loss:
        log_pi = wide(self._encode(batch.x, batch.given).logits).log_softmax(-1).squeeze(1)
        y = gumbel_softmax(log_pi, self.temperature, generator, straight=self.straight)
        reconstruction = self._written(y @ self.vectors, batch.given).log_prob(batch.x).mean()
        pi = log_pi.exp()
        divergence = (pi * log_pi).flatten(1).sum(1).mean() - self._log_uniform
        parts = {
            "bound": reconstruction - divergence,
            "reconstruction": reconstruction,
            "kl": divergence,
            "perplexity": perplexity(pi.detach().flatten(0, -2).mean(0)),
            "temperature": pi.new_tensor(self.temperature),
        }
        return Loss(self.annealing * self.beta * divergence - reconstruction, parts)


def gumbel_softmax(log_pi: Tensor, temperature: float, generator: Generator, *, straight: bool = False) -> Tensor:
    """A relaxed draw of one of K categories, differentiable in their log-probabilities.

    Args:
        log_pi: ``(…, K)``.
        temperature: Above 0; towards 0 draws become hard.
        generator: Of the Gumbel noise.
        straight: Whether the draw is hard, with the gradient of the relaxed one.

    Returns:
        Points of the simplex, ``(…, K)``.
    """
    noise = torch.empty_like(log_pi).exponential_(generator=generator)  # minus its logarithm is a Gumbel variable
    y = ((log_pi - noise.log()) / temperature).softmax(-1)
    if not straight:
        return y
    corner = F.one_hot(y.argmax(-1), y.shape[-1]).to(y.dtype)
    return y + (corner - y).detach()


def _check(temperature: float, coldest: float, beta: float, warmup: float) -> None:
    if not 0 < coldest <= temperature < math.inf:
        got = f"temperature={temperature}, coldest={coldest}"
        raise RangeError("temperature must be finite and at least coldest, which is above 0.", got=got)
    if not 0 <= beta < math.inf or not 0 <= warmup <= 1:
        raise RangeError("beta must be 0 or more and finite, warmup from 0 to 1.", got=f"beta={beta}, warmup={warmup}")
