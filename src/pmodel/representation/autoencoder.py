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
from typing import Any, ClassVar, Literal, final

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from ..capability import Latent
from ..distribution import Distribution, Normal, Point
from ..domain import Discrete, Domain, Real
from ..errors import RangeError, require_whole
from ..learning import Batch, GradientTrained, Loss, Phase, Recipe
from ..nn.observation import LikelihoodName, Observation
from ..nn.trunks import DEPTH, Architecture, architecture_for, perceptron, trunk

__all__ = ["Autoencoder"]

FLOOR = 1e-2
"""The least standard deviation of real data given their codes. A code that holds all of a datum would have no best one."""


@final
class Autoencoder(Latent, GradientTrained):
    r"""An autoencoder: a point for each datum, and a distribution of data for each point.

    ``encode(x).mean`` is the code, ``decode(z)`` the distribution p(x | z), whose ``mean`` is the restored datum. It neither
    draws nor scores data by itself: ``make("autoencoder", domain, prior="gaussian")`` does the first.

    Args:
        domain: Discrete or real data of any shape.
        given: A class label, which encoder and decoder are both told; or None.
        latent: Entries of z. None takes 32, and half as many as a datum has where these are less than 64.
        architecture: ``dense``: perceptrons only. ``conv``: four 3×3 convolutions of 1, 2, 2, 2 times ``channels``, strides
            1, 2, 2, 1, and their mirror. ``residual``: strided convolutions down to 7×7 and a residual block there, cheaper
            and better. ``broadcast``: the same encoder, and a decoder that paints every pixel from the code and the place.
            ``auto``: residual for pictures.
        layers: Hidden layers of the perceptrons between convolutions and code. None takes the architecture's own; with
            ``dense``, 0 makes encoder and decoder linear.
        width: Units of a hidden layer.
        channels: Channels of the outermost convolution.
        likelihood: p(x | z). Discrete data: ``bernoulli`` (two levels), ``categorical``, or ``logistic`` (ordered levels).
            Real data: ``normal`` with a learned std for each entry, or ``isotropic`` with one for all. ``auto``: the first
            that fits, but logistic for grey or coloured pictures and for more than 32 levels.
        noise: The standard deviation of Gaussian noise that is added to what the encoder sees in training: levels lie on
            [-1, 1], and ``make`` standardises real data.
        masking: The part of the entries that the encoder does not see in training: they are at the lowest level, or 0.
        jitter: The standard deviation of Gaussian noise that is added to codes in training. Above 0, the loss has the penalty
            :math:`\tfrac12 \lVert z \rVert^2` too, or codes would outgrow the noise (Ghosh et al. 2020).

    Raises:
        BadInput: if an architecture or likelihood does not fit the domain.
        RangeError: if a number is out of range.
    """

    natives: ClassVar[tuple[type[Domain], ...]] = (Discrete, Real)
    conditional: ClassVar[bool] = True
    deterministic = True
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
        jitter: float = 0.0,
    ) -> None:
        super().__init__(domain, given)
        _check_options(latent, layers, width, channels, noise, masking, jitter)
        self.latent = min(32, max(1, domain.entries // 2)) if latent is None else latent
        self.noise, self.masking, self.jitter = noise, masking, jitter
        self.labels = len(self.given_frequencies)
        chosen = architecture_for(architecture, domain)
        self.observation = Observation(domain, likelihood)
        self.inward, self.seen, self.state, self.outward = trunk(chosen, domain, channels, self.observation.heads)
        hidden = [width] * (DEPTH[chosen] if layers is None else layers)
        self.encoder = perceptron(math.prod(self.seen) + self.labels, hidden, self.latent)
        self.decoder = perceptron(self.latent + self.labels, hidden, math.prod(self.state))

    def recipe(self) -> Recipe:
        """AdamW, with a cosine schedule and a moving average."""
        return Recipe(batch=128, rate=2e-3, ema=0.999, clip=100.0, select="last")

    def prepare(self, subset: Tensor, given: Tensor | None, generator: Generator) -> None:
        """Start the decoder at the best likelihood that ignores z."""
        self.observation.prepare(subset)

    def _encode(self, x: Tensor, given: Tensor | None) -> Point:
        return Point(self._code(self.observation.scaled(x), given))

    def _code(self, x: Tensor, given: Tensor | None) -> Tensor:
        """The codes of data as the encoder sees them."""
        features = self.inward(x).reshape(len(x), math.prod(self.seen))
        return self.encoder(self._told(features, given)).to(x.dtype)  # type: ignore[no-any-return]

    def _decode(self, z: Tensor, given: Tensor | None) -> Distribution:
        hidden = self.decoder(self._told(z.to(self.observation.offset.dtype), given))
        p: Distribution = self.observation(self.outward(hidden.reshape(len(z), *self.state)))
        return Normal(p.mu, (p.std.square() + FLOOR**2).sqrt()) if isinstance(p, Normal) else p

    def phases(self) -> tuple[Phase, ...]:
        """One phase: encoder and decoder climb the likelihood of the data given their codes."""
        return (Phase("reconstruction", tuple(self.parameters()), self._loss),)

    def _loss(self, batch: Batch, generator: Generator) -> Loss:
        seen = self._corrupted(self.observation.scaled(batch.x), generator)
        z = self._code(seen, batch.given)
        if not self.jitter:
            reconstruction = self._decode(z, batch.given).log_prob(batch.x).mean()
            return Loss(-reconstruction, {"reconstruction": reconstruction})
        near = Normal(z, torch.full_like(z, self.jitter)).sample(generator)
        reconstruction, size = self._decode(near, batch.given).log_prob(batch.x).mean(), 0.5 * z.square().sum(1).mean()
        return Loss(size - reconstruction, {"reconstruction": reconstruction, "size": size})

    def _corrupted(self, x: Tensor, generator: Generator) -> Tensor:
        """What the encoder sees of data on its scale, in training."""
        if self.noise:
            x = x + self.noise * torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        if self.masking:
            hidden = torch.rand(x.shape, generator=generator, device=x.device) < self.masking
            x = x.masked_fill(hidden, -1.0 if isinstance(self.domain, Discrete) else 0.0)
        return x

    def _told(self, features: Tensor, given: Tensor | None) -> Tensor:
        """Features with the label beside them, one-hot: the next linear layer adds an embedding of it."""
        if given is None:
            return features
        return torch.cat([features, F.one_hot(given, self.labels).to(features.dtype)], 1)


def _check_options(
    latent: int | None, layers: int | None, width: int, channels: int, noise: float, masking: float, jitter: float
) -> None:
    whole = {"latent": (latent, 1), "layers": (layers, 0), "width": (width, 1), "channels": (channels, 1)}
    for name, (value, low) in whole.items():
        if value is not None:
            require_whole(name, value, low, 2**16)
    for name, std in (("noise", noise), ("jitter", jitter)):
        if not 0 <= std < math.inf:
            raise RangeError(f"{name} is a standard deviation, 0 or more and finite.", got=std)
    if not 0 <= masking < 1:
        raise RangeError("masking is from 0 to less than 1.", got=masking)
