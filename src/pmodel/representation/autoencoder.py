r"""The autoencoder (Hinton & Salakhutdinov 2006), and the denoising one (Vincent et al. 2008).

.. math::

    z = f_\phi(\tilde x), \qquad \tilde x \sim c(\tilde x \mid x), \qquad
    \min_{\theta, \phi} \; -E_{p(x)} E_{c(\tilde x \mid x)} \bigl[\log p_\theta(x \mid z)\bigr]

The code is a point, not a distribution; encoding twice gives the same code. The loss is a likelihood of the datum given its
code, in nats and summed over the entries: squared errors are a Gaussian's, cross-entropies a Bernoulli's or a category's, and
grey levels have a discretised logistic. It is no likelihood of x: there is no p(z), hence no p(x), to score with or to sample
from. Codes drawn at random mostly fall where the decoder never was, and look like nothing; ``WithPrior`` learns a density
of the codes and cures that.

Without hidden layers and with Gaussian noise of one variance the best decoder spans the principal subspace of the data
(Bourlard & Kamp 1988; Baldi & Hornik 1989): z is principal components up to an invertible linear map.

The *denoising* autoencoder sees a corrupted datum and is to restore the whole one. It cannot copy, and so has to learn how
entries hang together; its code may even be larger than the datum. What is encoded after training is not corrupted.

Source:
    | Reducing the dimensionality of data with neural networks (Hinton and Salakhutdinov, 2006)
    | https://doi.org/10.1126/science.1127647
    | Extracting and composing robust features with denoising autoencoders (Vincent et al., 2008)
    | https://doi.org/10.1145/1390156.1390294
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal, cast, final

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from ..capability import Latent
from ..distribution import Bernoulli, Categorical, DiscretisedLogistic, Distribution, Normal, Point
from ..domain import Discrete, Domain, Real
from ..errors import RangeError, require_whole
from ..explicit.approximate.vae.trunks import Architecture, perceptron, trunk
from ..explicit.approximate.vae.vae import COARSE, DEPTH, FINEST, LikelihoodName, _architecture, _likelihood
from ..learning import Batch, GradientTrained, Loss, Phase, Recipe

__all__ = ["Autoencoder"]

FLOOR = 1e-2


@final
class Autoencoder(Latent, GradientTrained):
    natives: ClassVar[tuple[type[Domain], ...]] = (Discrete, Real)
    conditional: ClassVar[bool] = True
    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"latent": 2, "architecture": "dense", "layers": 1, "width": 8},
        "small": {"latent": 16, "width": 128, "channels": 8},
    }

    def __init__(
        self,
        domain: Domain,
        given: Domain | None = None,
        *,
        latent: int | None = None,
        architecture: Architecture | Literal["auto"] = "auto",
        layers: int | None = None,
        width: int = 256,
        channels: int = 16,
        likelihood: LikelihoodName = "auto",
        noise: float = 0.0,
        masking: float = 0.0,
    ) -> None:
        super().__init__(domain, given)
        self.latent = min(32, max(1, domain.entries // 2)) if latent is None else latent
        self.noise, self.masking = noise, masking
        self.labels = len(self.given_frequencies)
        self.levels = domain.levels if isinstance(domain, Discrete) else 0
        self.likelihood = _likelihood(likelihood, self.levels, picture=domain.image)
        heads = {"categorical": self.levels, "logistic": 2}.get(self.likelihood, 1)
        chosen = _architecture(architecture, domain)
        self.inward, self.features, expected, self.outward = trunk(chosen, domain, channels, heads)
        hidden = [width] * (DEPTH[chosen] if layers is None else layers)
        self.encoder = perceptron(self.features + self.labels, hidden, self.latent)
        self.decoder = perceptron(self.latent + self.labels, hidden, expected)
        self.offset = nn.Parameter(torch.zeros(*domain.shape, heads))
        if self.likelihood in ("normal", "isotropic"):
            sides = domain.shape if self.likelihood == "normal" else (1,) * len(domain.shape)
            self.log_std = nn.Parameter(torch.zeros(sides))

    @property
    def codes(self):
        return Real((self.latent,))

    @classmethod
    def tiny(cls, domain: Domain, given: Domain | None = None) -> Autoencoder:
        """Two latents, and perceptrons of eight units."""
        return cls(domain, given, **cls.sizes["tiny"])

    def recipe(self) -> Recipe:
        """AdamW, with a cosine schedule and a moving average."""
        return Recipe(batch=128, rate=2e-3, ema=0.999, clip=100.0)

    @torch.no_grad()
    def prepare(self, subset: Tensor, given: Tensor | None, generator: Generator) -> None:
        x = self._scaled(subset)
        if self.likelihood == "bernoulli":
            self.offset.copy_(((subset.sum(0) + 0.5) / (len(x) + 1)).logit().unsqueeze(-1))
        elif self.likelihood == "categorical":
            counts = torch.stack([(subset == level).sum(0) for level in range(self.levels)], -1)
            self.offset.copy_(((counts + 1) / (len(x) + self.levels)).log())
        elif self.likelihood == "logistic":
            scale = x.std(0, correction=0) * (math.sqrt(3) / math.pi)  # a logistic's std is pi s / sqrt 3
            self.offset.copy_(torch.stack([x.mean(0), scale.log().clamp_min(COARSE)], -1))
        else:
            variance = x.var(0, correction=0)
            variance = variance.mean() if self.likelihood == "isotropic" else variance
            self.offset.copy_(x.mean(0).unsqueeze(-1))
            self.log_std.copy_(0.5 * variance.clamp_min(1e-8).log().expand_as(self.log_std))

    def _encode(self, x: Tensor, given: Tensor | None) -> Point:
        return Point(self._code(self._scaled(x), given))

    def _code(self, x, given):
        features = self.inward(x).reshape(len(x), self.features)
        return self.encoder(self._told(features, given)).to(self.offset.dtype)

    def _corrupted(self, x, generator):
        if self.noise:
            x = x + self.noise * torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
        if self.masking:
            gone = torch.rand(x.shape, generator=generator, device=x.device) < self.masking
            x = torch.where(gone, -1.0 if self.levels else 0.0, x)
        return x

    def _decode(self, z: Tensor, given: Tensor | None) -> Distribution:
        outputs = self.outward(self.decoder(self._told(z.to(self.offset.dtype), given)))
        outputs = outputs.to(self.offset.dtype) + self.offset
        if self.likelihood == "bernoulli":
            return Bernoulli(outputs.squeeze(-1))
        if self.likelihood == "categorical":
            return Categorical(outputs)
        if self.likelihood == "logistic":
            mu, log_scale = outputs.unbind(-1)
            return DiscretisedLogistic(mu, log_scale.clamp(FINEST, 7.0), self.levels)
        return Normal(outputs.squeeze(-1), (self.log_std.mul(2).exp() + FLOOR**2).sqrt())

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("reconstruction", tuple(self.parameters()), self._loss),)

    def _loss(self, batch: Batch, generator: Generator) -> Loss:
        x = self._corrupted(self._scaled(batch.x), generator)
        z = self._code(x, batch.given)
        reconstruction = self._decode(z, batch.given).log_prob(batch.x).mean()
        return Loss(-reconstruction, {"reconstruction": reconstruction})

    def _scaled(self, x: Tensor) -> Tensor:
        """Levels on [-1, 1]; real data as they are."""
        x = x.to(self.offset.dtype)
        return x * (2 / max(1, self.levels - 1)) - 1 if self.levels else x

    def _told(self, features: Tensor, given: Tensor | None) -> Tensor:
        """Features with the label beside them, one-hot: the next linear layer adds an embedding of it."""
        if given is None:
            return features
        return torch.cat([features, F.one_hot(given, self.labels).to(features.dtype)], 1)
