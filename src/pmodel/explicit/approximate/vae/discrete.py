r"""Autoencoders whose code is a grid of numbers: what they share, whichever way the numbers are found and learned.

At each place of the grid stands one of K codes, and a vector e of the code is what the decoder reads there. While the
autoencoder learns, and where it stands alone, p(z) is uniform,

.. math:: \log p(z) = -h w \log K, \qquad
    \log p(x) \ge E_{q(z \mid x)}\bigl[\log p(x \mid z) - h w \log K - \log q(z \mid x)\bigr].

Then a model of the grid of codes learns p(z) (``wrappers.WithPrior``), which ``make`` puts around it: a transformer, unless
another ``prior`` is asked for. It is told the label too.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from ....capability import Samples, Variational
from ....distribution import Distribution
from ....domain import Discrete, Domain, Real
from ....errors import require_whole
from ....learning import Batch, GradientTrained, Loss, Phase, Recipe
from ....nn.observation import LikelihoodName, Observation
from .grids import Reader, Writer, sides_of

__all__ = ["DiscreteAutoencoder"]


class DiscreteAutoencoder(Samples, Variational[Distribution], GradientTrained):
    """An autoencoder between data and a grid of codes, with a uniform p(z) where it stands alone.

    A label is told to the decoder, and to the prior around it.

    Args:
        domain: Discrete or real data of any shape.
        given: A class label, or None.
        codes: Values K of a place.
        outputs: Numbers that the encoder gives for each place.
        grid: Pictures are halved, once at least, until neither side is longer: there is a code for each place then.
        latent: Codes of a datum that is no picture. None takes twice its entries, at most 16.
        features: Entries of the vector that stands for a code.
        channels: Of the outermost convolution; the others have twice as many.
        layers: Residual blocks at the grid, or hidden layers of perceptrons where data are no pictures.
        width: Units of a hidden layer.
        likelihood: p(x | z), as of ``vae``.

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
        codes: int,
        outputs: int,
        grid: int,
        latent: int | None,
        features: int,
        channels: int,
        layers: int,
        width: int,
        likelihood: LikelihoodName,
    ) -> None:
        super().__init__(domain, given)
        whole = {"codes": (codes, 2), "grid": (grid, 1), "latent": (1 if latent is None else latent, 1)}
        whole |= {"features": (features, 1), "channels": (channels, 1), "layers": (layers, 0), "width": (width, 1)}
        for name, (value, low) in whole.items():
            require_whole(name, value, low, 2**16)
        self.channels, self.blocks = channels, layers
        sides = sides_of(domain, grid, latent)
        self.grid = Discrete((1, *sides[-1]), codes)
        self.observation = Observation(domain, likelihood)
        heads, labels = self.observation.heads, len(self.given_frequencies)
        self.encoder = Reader(domain, sides, channels, layers, width, outputs)
        self.decoder = Writer(domain, sides, channels, layers, width, features, heads, labels)

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

    def phases(self) -> tuple[Phase, ...]:
        """One phase: all that gradients move climbs one bound."""
        return (Phase("bound", tuple(self.parameters()), self._loss),)

    @abstractmethod
    def _loss(self, batch: Batch, generator: Generator) -> Loss: ...

    @abstractmethod
    def _vectors_of(self, z: Tensor) -> Tensor:
        """The vectors of codes, ``(N, h, w) -> (N, h, w, features)``."""

    def _decode(self, z: Tensor, given: Tensor | None) -> Distribution:
        """p(x | z)."""
        return self._written(self._vectors_of(z.squeeze(1)), given)

    def _written(self, vectors: Tensor, given: Tensor | None) -> Distribution:
        """p(x | z) from the vectors of codes, ``(N, h, w, features)``."""
        written: Distribution = self.observation(self.decoder(vectors, given))
        return written

    def _sample(self, n: int, given: Tensor | None, generator: Generator) -> Tensor:
        z = torch.randint(self.grid.levels, (n, *self.grid.shape), generator=generator, device=self.device)
        return self._decode(z, given).sample(generator)

    def _log_weight_under(self, seen: Distribution, x: Tensor, given: Tensor | None, generator: Generator) -> Tensor:
        z = seen.sample(generator)
        return self._decode(z, given).log_prob(x) + self._log_uniform - seen.log_prob(z)

    @property
    def _log_uniform(self) -> float:
        """Log p(z), the same for all z."""
        return -self.grid.entries * math.log(self.grid.levels)
