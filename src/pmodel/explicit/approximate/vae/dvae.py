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

A model of the grid of codes then learns p(z) (``wrappers.WithPrior``), which ``make`` puts around it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, final

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from ....capability import Bound, Latent, Samples
from ....distribution import Categorical, Distribution, wide
from ....domain import Discrete, Domain, Real
from ....errors import RangeError, require_whole
from ....learning import Batch, GradientTrained, Loss, Phase, Recipe
from .codebook import perplexity
from .grids import Reader, Writer, sides_of, usual_codes
from .observation import LikelihoodName, Observation

__all__ = ["DVAE", "gumbel_softmax"]

COLD = 0.75
"""The part of training after which the temperature stays where it is."""


@final
class DVAE(Samples, Bound, Latent, GradientTrained):
    """A discrete variational autoencoder, with a uniform p(z) where it stands alone.

    A label is told to the decoder, and to the prior around it.

    Args:
        domain: Discrete or real data of any shape.
        given: A class label, or None.
        codes: Categories K of each place. None takes 8 for data of two levels and 128 for others.
        grid: Pictures are halved, once at least, until neither side is longer: there is a code for each place then.
        latent: Codes of a datum that is no picture. None takes twice its entries, at most 16.
        features: Entries of the vector that stands for a code.
        channels: Of the outermost convolution; the others have twice as many.
        layers: Residual blocks at the grid, or hidden layers of perceptrons where data are no pictures.
        width: Units of a hidden layer.
        likelihood: p(x | z), as of ``vae``.
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

    natives: ClassVar[tuple[type[Domain], ...]] = (Discrete, Real)
    conditional: ClassVar[bool] = True
    usual_prior: ClassVar[str | None] = "transformer"
    handover = 0.6
    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"codes": 4, "grid": 2, "latent": 2, "features": 2, "channels": 4, "layers": 1, "width": 8},
        "small": {"channels": 16, "layers": 1, "width": 64},
    }

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
        super().__init__(domain, given)
        whole = {"codes": (codes, 2), "grid": (grid, 1), "latent": (latent, 1), "features": (features, 1)}
        for name, (value, low) in {
            **whole,
            "channels": (channels, 1),
            "layers": (layers, 0),
            "width": (width, 1),
        }.items():
            if value is not None:
                require_whole(name, value, low, 2**16)
        _check(temperature, coldest, beta, warmup)
        self.warmest, self.coldest, self.straight = temperature, coldest, straight
        self.beta, self.warmup, self.channels, self.blocks = beta, warmup, channels, layers
        self.temperature, self.annealing = temperature, 1.0
        sides = sides_of(domain, grid, latent)
        codes = 2 * usual_codes(domain) if codes is None else codes
        self.grid = Discrete((1, *sides[-1]), codes)
        self.observation = Observation(domain, likelihood)
        heads = self.observation.heads
        self.encoder = Reader(domain, sides, channels, layers, width, codes)
        self.decoder = Writer(domain, sides, channels, layers, width, features, heads, len(self.given_frequencies))
        self.vectors = nn.Parameter(nn.init.normal_(torch.empty(codes, features)))

    @classmethod
    def tiny(cls, domain: Domain, given: Domain | None = None) -> DVAE:
        """Four codes of two entries."""
        return cls(domain, given, **cls.sizes["tiny"])

    def recipe(self) -> Recipe:
        """AdamW, with a cosine schedule and a moving average."""
        return Recipe(batch=64, rate=2e-3, ema=0.999, clip=100.0)

    @property
    def codes(self) -> Domain:
        """A picture of one channel, whose levels are the numbers of the codes."""
        return self.grid

    @property
    def prior_options(self) -> Mapping[str, Any]:
        """A token for each code, in a stream four times as wide as the convolutions, and one block more than here."""
        width, blocks = 4 * self.channels, self.blocks + 1
        return {"patch": 1, "layers": blocks, "width": width, "heads": 2, "hidden": width}

    @torch.no_grad()
    def prepare(self, subset: Tensor, given: Tensor | None, generator: Generator) -> None:
        """Start the decoder at the best likelihood that ignores z."""
        self.observation.prepare(subset)

    def advance(self, progress: float) -> None:
        """Let the temperature fall, and the KL's weight grow."""
        self.temperature = self.warmest * (self.coldest / self.warmest) ** min(1.0, progress / COLD)
        self.annealing = min(1.0, progress / self.warmup) if self.warmup else 1.0

    def _encode(self, x: Tensor, given: Tensor | None) -> Categorical:
        """q(z | x), over ``(N, 1, h, w)``."""
        logits: Tensor = self.encoder(self.observation.scaled(x))
        return Categorical(logits.to(self.vectors.dtype).unsqueeze(1))

    def _decode(self, z: Tensor, given: Tensor | None) -> Distribution:
        """p(x | z)."""
        return self._written(self.vectors[z.squeeze(1)], given)

    def _written(self, vectors: Tensor, given: Tensor | None) -> Distribution:
        """p(x | z) from the vectors of codes, ``(N, h, w, features)``."""
        written: Distribution = self.observation(self.decoder(vectors, given))
        return written

    def _sample(self, n: int, given: Tensor | None, generator: Generator) -> Tensor:
        z = torch.randint(self.grid.levels, (n, *self.grid.shape), generator=generator, device=self.device)
        return self._decode(z, given).sample(generator)

    def _log_weight(self, x: Tensor, given: Tensor | None, generator: Generator) -> Tensor:
        return self._log_weight_under(self._encode(x, given), x, given, generator)

    def _log_weights(
        self, x: Tensor, given: Tensor | None, observed: Tensor | None, generator: Generator, effort: int
    ) -> Tensor:
        """Encode once for all draws."""
        if self.given is not None and given is None:
            return super()._log_weights(x, given, observed, generator, effort)
        q = self._encode(x, given)
        return torch.stack([self._log_weight_under(q, x, given, generator).double() for _ in range(effort)])

    def _log_weight_under(self, q: Categorical, x: Tensor, given: Tensor | None, generator: Generator) -> Tensor:
        """Log p(x | z) + log p(z) - log q(z | x) at one draw of hard codes, ``(N,)``."""
        z = q.sample(generator)
        log_uniform = -self.grid.entries * math.log(self.grid.levels)
        return self._decode(z, given).log_prob(x) + log_uniform - q.log_prob(z)

    def phases(self) -> tuple[Phase, ...]:
        """One phase: encoder and decoder climb the same relaxed bound."""
        return (Phase("bound", tuple(self.parameters()), self._loss),)

    def _loss(self, batch: Batch, generator: Generator) -> Loss:
        log_pi = wide(self._encode(batch.x, batch.given).logits).log_softmax(-1).squeeze(1)
        y = gumbel_softmax(log_pi, self.temperature, generator, straight=self.straight)
        reconstruction = self._written(y @ self.vectors, batch.given).log_prob(batch.x).mean()
        pi = log_pi.exp()
        divergence = (pi * log_pi).flatten(1).sum(1).mean() + self.grid.entries * math.log(self.grid.levels)
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
