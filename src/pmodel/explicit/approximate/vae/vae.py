r"""The variational autoencoder (Kingma & Welling 2014, https://arxiv.org/abs/1312.6114; Rezende et al. 2014).

.. math::

    z \sim N(0, I), \quad x \sim p_\theta(x \mid z), \qquad
    q_\phi(z \mid x) = N(z; \mu_\phi(x), \mathrm{diag}\,\sigma_\phi^2(x)), \quad
    z = \mu + \sigma \epsilon, \;\; \epsilon \sim N(0, I)

    -\mathrm{ELBO} = -E_q[\log p_\theta(x \mid z)] + \mathrm{KL}(q \| p), \qquad
    \mathrm{KL} = \tfrac12 \sum_j (\mu_j^2 + \sigma_j^2 - 1 - \log \sigma_j^2).

The first term is summed over the entries of a datum and the second over those of z, in nats; the batch is averaged. Three
common slips:

- The noise has standard deviation 1. Training with 0.1 breaks the KL: the reported bound holds for no model, and codes drawn
  from the prior fall where the decoder never was.
- Binary cross-entropy on grey pixels is no likelihood: :math:`\sigma(l)^x (1-\sigma(l))^{1-x}` does not sum to one over the 256
  levels. Grey levels have a discretised logistic or a categorical likelihood here.
- A squared error stands for a Gaussian of a fixed variance. Here the variance is learned.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal, cast, final

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from ....capability import Bound, Latent, Samples
from ....distribution import Bernoulli, Categorical, DiscretisedLogistic, Distribution, Normal, kl
from ....domain import Discrete, Domain, Real
from ....errors import BadInput, RangeError, require_whole
from ....learning import Batch, GradientTrained, Loss, Phase, Recipe
from .trunks import Architecture, perceptron, trunk

__all__ = ["VAE"]

LikelihoodName = Literal["auto", "bernoulli", "categorical", "logistic", "normal", "isotropic"]

DEPTH = {"dense": 2, "conv": 0, "residual": 1}
"""Hidden layers of each architecture's perceptrons."""
FEW_LEVELS = 32
"""Up to so many levels of data that are not pictures are told apart one by one; more are bins of a logistic variable."""
FINEST = -7.0
"""The smallest log-scale of a logistic variable: an eighth of one of 256 bins."""
COARSE = -4.0
"""The smallest at the start, where a narrow bin would make the gradient explode."""


@final
class VAE(Samples, Bound, Latent, GradientTrained):
    r"""A variational autoencoder with a standard normal prior and a diagonal Gaussian posterior.

    ``sample`` draws z from the prior and then x from p(x | z), pixel noise and all; ``decode(z).mean`` is the smooth picture
    that papers show. ``score(effort=K)`` is the importance-weighted bound of Burda et al. (2016), which rises to log p(x).

    Args:
        domain: Discrete or real data of any shape.
        given: A class label, which encoder and decoder are both told; or None.
        latent: Entries of z. None takes 32, and fewer for data of less than 32 entries.
        architecture: ``dense``: perceptrons only. ``conv``: four 3×3 convolutions of 1, 2, 2, 2 times ``channels``, strides
            1, 2, 2, 1, and their mirror. ``residual``: strided convolutions down to 7×7 and a residual block there, cheaper
            and better. ``auto``: residual for pictures.
        layers: Hidden layers of the perceptrons between convolutions and code. None takes the architecture's own; with
            ``dense``, 0 makes encoder and decoder linear.
        width: Units of a hidden layer.
        channels: Channels of the outermost convolution.
        likelihood: p(x | z). Discrete data: ``bernoulli`` (two levels), ``categorical``, or ``logistic`` (ordered levels).
            Real data: ``normal`` with a learned std for each entry, or ``isotropic`` with one for all. ``auto``: the first
            that fits, but logistic for grey or coloured pictures and for more than 32 levels.
        beta: Weight of the KL in training (Higgins et al. 2017); 1 is the bound. Scores are always of the bound.
        particles: Draws of z for each datum in training; more than one trains on the importance-weighted bound.
        warmup: The part of training in which the KL's weight grows linearly to ``beta``.

    Raises:
        BadInput: if an architecture or likelihood does not fit the domain.
        RangeError: if a number is out of range.
    """

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
        beta: float = 1.0,
        particles: int = 1,
        warmup: float = 0.1,
    ) -> None:
        super().__init__(domain, given)
        _check_options(latent, layers, width, channels, beta, particles, warmup)
        self.latent = min(32, max(2, domain.entries)) if latent is None else latent
        self.beta, self.particles, self.warmup = beta, particles, warmup
        self.annealing = 1.0
        self.labels = len(self.given_frequencies)
        self.levels = domain.levels if isinstance(domain, Discrete) else 0
        self.likelihood = _likelihood(likelihood, self.levels, picture=domain.image)
        heads = {"categorical": self.levels, "logistic": 2}.get(self.likelihood, 1)
        chosen = _architecture(architecture, domain)
        self.inward, self.features, expected, self.outward = trunk(chosen, domain, channels, heads)
        hidden = [width] * (DEPTH[chosen] if layers is None else layers)
        self.encoder = perceptron(self.features + self.labels, hidden, 2 * self.latent)
        self.decoder = perceptron(self.latent + self.labels, hidden, expected)
        self.offset = nn.Parameter(torch.zeros(*domain.shape, heads))
        if self.likelihood in ("normal", "isotropic"):
            sides = domain.shape if self.likelihood == "normal" else (1,) * len(domain.shape)
            self.log_std = nn.Parameter(torch.zeros(sides))

    @classmethod
    def tiny(cls, domain: Domain, given: Domain | None = None) -> VAE:
        """Two latents, and perceptrons of eight units."""
        return cls(domain, given, **cls.sizes["tiny"])

    def recipe(self) -> Recipe:
        """AdamW, with a cosine schedule and a moving average."""
        return Recipe(batch=128, rate=2e-3, ema=0.999, clip=100.0)

    @torch.no_grad()
    def prepare(self, subset: Tensor, given: Tensor | None, generator: Generator) -> None:
        """Start the decoder at the best likelihood that ignores z: each entry's frequencies, or its mean and spread."""
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

    def _encode(self, x: Tensor, given: Tensor | None) -> Normal:
        """q(z | x): means and log-stds from one network."""
        features = self.inward(self._scaled(x)).reshape(len(x), self.features)
        mu, log_std = self.encoder(self._told(features, given)).to(self.offset.dtype).chunk(2, 1)
        return Normal(mu, log_std.clamp(-10, 10).exp())

    def _decode(self, z: Tensor, given: Tensor | None) -> Distribution:
        """p(x | z)."""
        outputs = self.outward(self.decoder(self._told(z.to(self.offset.dtype), given)))
        outputs = outputs.to(self.offset.dtype) + self.offset
        if self.likelihood == "bernoulli":
            return Bernoulli(outputs.squeeze(-1))
        if self.likelihood == "categorical":
            return Categorical(outputs)
        if self.likelihood == "logistic":
            mu, log_scale = outputs.unbind(-1)
            return DiscretisedLogistic(mu, log_scale.clamp(FINEST, 7.0), self.levels)
        return Normal(outputs.squeeze(-1), self.log_std.exp())

    def _sample(self, n: int, given: Tensor | None, generator: Generator) -> Tensor:
        z = torch.randn(n, self.latent, generator=generator, device=self.device)
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

    def _log_weight_under(self, q: Normal, x: Tensor, given: Tensor | None, generator: Generator) -> Tensor:
        """The log-weight log p(x | z) + log p(z) - log q(z | x) at one draw of z from q, ``(N,)``."""
        z = q.sample(generator)
        return self._decode(z, given).log_prob(x) + self._prior(z).log_prob(z) - q.log_prob(z)

    def phases(self) -> tuple[Phase, ...]:
        """One phase: encoder and decoder climb the same bound."""
        return (Phase("bound", tuple(self.parameters()), self._loss),)

    def advance(self, progress: float) -> None:
        """Grow the KL's weight, so that the decoder finds a use for z before the prior makes z expensive."""
        self.annealing = min(1.0, progress / self.warmup) if self.warmup else 1.0

    def _loss(self, batch: Batch, generator: Generator) -> Loss:
        q = self._encode(batch.x, batch.given)
        if self.particles > 1:
            draws = [self._log_weight_under(q, batch.x, batch.given, generator) for _ in range(self.particles)]
            bound = (torch.logsumexp(torch.stack(draws), 0) - math.log(self.particles)).mean()
            return Loss(-bound, {"bound": bound})
        reconstruction = self._decode(q.sample(generator), batch.given).log_prob(batch.x).mean()
        divergence = kl(q, self._prior(q.mu)).mean()
        total = self.annealing * self.beta * divergence - reconstruction
        return Loss(total, {"bound": reconstruction - divergence, "reconstruction": reconstruction, "kl": divergence})

    def _scaled(self, x: Tensor) -> Tensor:
        """Levels on [-1, 1]; real data as they are."""
        x = x.to(self.offset.dtype)
        return x * (2 / max(1, self.levels - 1)) - 1 if self.levels else x

    def _told(self, features: Tensor, given: Tensor | None) -> Tensor:
        """Features with the label beside them, one-hot: the next linear layer adds an embedding of it."""
        if given is None:
            return features
        return torch.cat([features, F.one_hot(given, self.labels).to(features.dtype)], 1)

    @staticmethod
    def _prior(z: Tensor) -> Normal:
        return Normal(torch.zeros_like(z), torch.ones_like(z))


def _architecture(name: str, domain: Domain) -> Architecture:
    if name not in ("auto", *DEPTH):
        raise BadInput("architecture is auto, dense, conv or residual.", got=name)
    if name == "auto":
        return "residual" if domain.image else "dense"
    if name != "dense" and len(domain.shape) != 3:
        raise BadInput(f"{name!r} needs pictures of shape (C, H, W).", got=domain.shape, hint="architecture=dense")
    return cast(Architecture, name)


def _likelihood(name: str, levels: int, *, picture: bool) -> str:
    fitting = ["categorical", "logistic"] if levels else ["normal", "isotropic"]
    if levels == 1:
        fitting = ["categorical"]
    elif levels == 2:
        fitting.insert(0, "bernoulli")
    elif picture or levels > FEW_LEVELS:
        fitting = fitting[::-1] if levels else fitting
    if name != "auto" and name not in fitting:
        what = f"data of {levels} levels" if levels else "real data"
        raise BadInput(f"The likelihood of {what} is {' or '.join(fitting)}.", got=name)
    return fitting[0] if name == "auto" else name


def _check_options(
    latent: int | None, layers: int | None, width: int, channels: int, beta: float, particles: int, warmup: float
) -> None:
    whole = {"latent": (latent, 1), "layers": (layers, 0), "width": (width, 1), "channels": (channels, 1)}
    for name, (value, low) in {**whole, "particles": (particles, 1)}.items():
        if value is not None:
            require_whole(name, value, low, 2**16)
    if not 0 <= beta < math.inf or not 0 <= warmup <= 1:
        raise RangeError("beta must be 0 or more and finite, warmup from 0 to 1.", got=f"beta={beta}, warmup={warmup}")
