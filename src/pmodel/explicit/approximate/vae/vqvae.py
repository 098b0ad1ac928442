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

While this is trained p(z) is uniform, so that it is a constant, :math:`h w \log K`, in the bound. Then a model of the grid of
codes learns p(z) (``wrappers.WithPrior``), which ``make`` puts around it: a transformer, unless another ``prior`` is asked for.

The bound is one term of the sum :math:`p(x) = \sum_z p(x \mid z) p(z)`: what other codes would add is lost, and more draws do
not bring it back. That is the price of an encoder without noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, final

import torch
from torch import Generator, Tensor

from ....capability import Bound, Latent, Samples
from ....distribution import Distribution, Point
from ....domain import Discrete, Domain, Real
from ....errors import RangeError, require_whole
from ....learning import Batch, GradientTrained, Loss, Phase, Recipe
from .codebook import Codebook, perplexity
from .grids import Reader, Writer, sides_of, usual_codes
from .observation import LikelihoodName, Observation

__all__ = ["VQVAE"]

SETTLED = 0.8
"""The point of training after which no code starts anew: the decoder is to know them all."""


@final
class VQVAE(Samples, Bound, Latent, GradientTrained):
    """A vector-quantised variational autoencoder, with a uniform p(z) where it stands alone.

    A label is told to the decoder, and to the prior around it.

    Args:
        domain: Discrete or real data of any shape.
        given: A class label, or None.
        codes: Vectors K of the codebook. None takes 4 for data of two levels, where more cost the bound more than they explain,
            and 64 for others.
        grid: Pictures are halved, once at least, until neither side is longer: there is a code for each place then.
        latent: Codes of a datum that is no picture. None takes twice its entries, at most 16.
        features: Entries of a vector of the codebook.
        channels: Of the outermost convolution; the others have twice as many.
        layers: Residual blocks at the grid, or hidden layers of perceptrons where data are no pictures.
        width: Units of a hidden layer.
        likelihood: p(x | z), as of ``vae``.
        beta: Weight of the commitment.
        decay: How much of the codebook's averages stays at each step.
        restart: A code that is used less than this part of the average starts anew; 0 for never.

    Raises:
        BadInput: if the likelihood does not fit the domain.
        RangeError: if a number is out of range.
    """

    natives: ClassVar[tuple[type[Domain], ...]] = (Discrete, Real)
    conditional: ClassVar[bool] = True
    usual_prior: ClassVar[str | None] = "transformer"
    deterministic = True
    weighted = False
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
        beta: float = 0.25,
        decay: float = 0.99,
        restart: float = 0.05,
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
        _check(beta, decay, restart)
        self.beta, self.channels, self.blocks = beta, channels, layers
        self.settled = False
        sides = sides_of(domain, grid, latent)
        codes = usual_codes(domain) if codes is None else codes
        self.grid = Discrete((1, *sides[-1]), codes)
        self.observation = Observation(domain, likelihood)
        heads = self.observation.heads
        self.encoder = Reader(domain, sides, channels, layers, width, features)
        self.decoder = Writer(domain, sides, channels, layers, width, features, heads, len(self.given_frequencies))
        self.codebook = Codebook(codes, features, decay, restart)

    @classmethod
    def tiny(cls, domain: Domain, given: Domain | None = None) -> VQVAE:
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

    @property
    def size(self) -> int:
        """With the codebook, which no gradient moves."""
        return super().size + self.codebook.sums.numel()

    @torch.no_grad()
    def prepare(self, subset: Tensor, given: Tensor | None, generator: Generator) -> None:
        """Start the decoder at the best likelihood that ignores z, and the codes on vectors of the encoder."""
        self.observation.prepare(subset)
        self.codebook.begin(self._read(subset[:2048]).flatten(0, -2), generator)

    def advance(self, progress: float) -> None:
        """Leave the codes where they are towards the end."""
        self.settled = progress >= SETTLED

    def _encode(self, x: Tensor, given: Tensor | None) -> Point:
        """The numbers of the nearest codes, ``(N, 1, h, w)``."""
        return Point(self.codebook.nearest(self._read(x)).unsqueeze(1))

    def _decode(self, z: Tensor, given: Tensor | None) -> Distribution:
        """p(x | z)."""
        return self._written(self.codebook.vectors[z.squeeze(1)], given)

    def _read(self, x: Tensor) -> Tensor:
        """The encoder's vectors, ``(N, h, w, D)``."""
        vectors: Tensor = self.encoder(self.observation.scaled(x))
        return vectors.to(self.codebook.sums.dtype)

    def _written(self, vectors: Tensor, given: Tensor | None) -> Distribution:
        """p(x | z) from the vectors of codes."""
        written: Distribution = self.observation(self.decoder(vectors, given))
        return written

    def _sample(self, n: int, given: Tensor | None, generator: Generator) -> Tensor:
        z = torch.randint(self.grid.levels, (n, *self.grid.shape), generator=generator, device=self.device)
        return self._decode(z, given).sample(generator)

    def _log_weight(self, x: Tensor, given: Tensor | None, generator: Generator) -> Tensor:
        """Log p(x | z(x)) + log p(z(x)) with a uniform p(z)."""
        return self._decode(self._encode(x, given).x, given).log_prob(x) + self._log_uniform

    def _log_weights(
        self, x: Tensor, given: Tensor | None, observed: Tensor | None, generator: Generator, effort: int
    ) -> Tensor:
        """All draws are the same: nothing is drawn."""
        if self.given is not None and given is None:
            return super()._log_weights(x, given, observed, generator, effort)
        return self._log_weight(x, given, generator).double().expand(effort, -1)

    @property
    def _log_uniform(self) -> float:
        return -self.grid.entries * math.log(self.grid.levels)

    def phases(self) -> tuple[Phase, ...]:
        """One phase: encoder and decoder by gradients, the codebook by averages."""
        return (Phase("bound", tuple(self.parameters()), self._loss),)

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
