r"""Glow: a flow of pictures with invertible 1×1 convolutions (Kingma & Dhariwal 2018, https://arxiv.org/abs/1807.03039).

.. math::

    x = h_0, \qquad h_{i-1} \xrightarrow{\text{squeeze}}
    \Big[\xrightarrow{\text{actnorm}} \xrightarrow{W} \xrightarrow{\text{coupling}}\Big]^K
    \xrightarrow{\text{split}} (z_i, h_i), \qquad
    \log p(x) = \sum_i \log N(z_i;\, \mu_i(h_i), \sigma_i^2(h_i)) + \log|\det| .

A squeeze turns squares of 2×2 positions into channels. A step normalises the channels (actnorm), mixes them (W, a 1×1
convolution) and moves half of them by what the other half says (an affine coupling, ``coupling.py``). After K steps half of
the channels leave, with a normal prior whose mean and scale a network tells from those that stay; the rest is squeezed again.
Training is maximum likelihood.

What differs from the paper:

- The learned prior of a split is written as one more coupling, which moves the half that leaves towards N(0, I), so that the
  code of every datum is standard normal. That of the last scale is a shift and a scale of each entry, for each label.
- A fixed map through quantiles of the data comes first (``marginal.py``), where the paper has none: the grey levels of
  pictures lie in spikes, which affine couplings would have to find.
- The logarithm of a coupling's scale is bounded, so that the map inverts in float32 and is finite far from the data.
- Conditioners are gated residual networks with a bias for each position, and know the label.
- A picture with an odd side is not squeezed. It has one scale, whose couplings move the squares of a checkerboard.
"""

from __future__ import annotations

from typing import Any, ClassVar, final

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from ....capability import Density, Latent, Samples
from ....distribution import Distribution, Normal, Point
from ....domain import Domain, Real
from ....errors import RangeError
from ....learning import Batch, GradientTrained, Loss, Phase, Recipe
from .conditioner import Convolutional
from .coupling import Coupling, Halves, checkerboard
from .marginal import Marginal
from .mixing import Actnorm, Convolution1x1
from .multiscale import MultiScale, Shape, Squeeze, squeezable
from .transform import Composition, Diagonal, Transform

__all__ = ["Glow"]

MOST = 2**12
"""The largest value of an option: a guard against absurd ones from files and arguments."""


@final
class Glow(Samples, Density, Latent, GradientTrained):
    """A normalising flow of pictures: exact density, one-pass sampling, and a code as large as the picture.

    Args:
        domain: Real pictures of at least 2×2 pixels, of one or three channels.
        given: A class label, which every conditioner is told and which shifts and stretches the code; or None.
        layers: Steps K at each scale.
        channels: Hidden channels of the conditioners.
        blocks: Residual blocks of a conditioner.
        scales: The most scales; None goes on until a side is odd or 2.
        quantiles: Intervals between the quantiles through which each entry is made normal first (``marginal.py``); 0 for an
            affine map in its place, as good where the marginals are smooth.

    Raises:
        RangeError: if a number is out of range.
    """

    natives: ClassVar[tuple[type[Domain], ...]] = (Real,)
    conditional: ClassVar[bool] = True
    chunk = 2**19
    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"layers": 2, "channels": 8, "blocks": 1},
        "small": {"layers": 4, "channels": 16, "blocks": 1},
    }

    def __init__(
        self,
        domain: Domain,
        given: Domain | None = None,
        *,
        layers: int = 8,
        channels: int = 32,
        blocks: int = 1,
        scales: int | None = None,
        quantiles: int = 24,
    ) -> None:
        super().__init__(domain, given)
        _check("blocks", blocks, 0)
        _check("quantiles", quantiles, 0)
        for name, value in (("layers", layers), ("channels", channels), ("scales", 1 if scales is None else scales)):
            _check(name, value, 1)
        labels = len(self.given_frequencies)
        first = Marginal(domain.shape, quantiles, shared=True) if quantiles else Diagonal(domain.shape)
        body = _scales(domain.shape, labels, layers=layers, channels=channels, blocks=blocks, scales=scales)
        self.flow = Composition([first, body, Diagonal((domain.entries,), labels)])

    @classmethod
    def tiny(cls, domain: Domain, given: Domain | None = None) -> Glow:
        """Two steps a scale with narrow networks."""
        return cls(domain, given, **cls.sizes["tiny"])

    @classmethod
    def refuses(cls, domain: Domain) -> str | None:
        """All but real pictures of at least 2×2 pixels."""
        if isinstance(domain, Real) and domain.image and min(domain.shape[1:]) >= 2:
            return None
        return "it takes real pictures of one or three channels and at least 2×2 pixels"

    def recipe(self) -> Recipe:
        """Adam at a high rate, with a moving average."""
        return Recipe(batch=64, rate=1e-2, clip=500.0, ema=0.998, retry=2)

    def prepare(self, subset: Tensor, given: Tensor | None, generator: Generator) -> None:
        """Take quantiles, means and spreads from the data."""
        self.flow.prepare(self._entering(subset), self._context(given))

    def phases(self) -> tuple[Phase, ...]:
        """One phase: maximum likelihood."""
        return (Phase("likelihood", tuple(self.parameters()), self._loss),)

    def _loss(self, batch: Batch, generator: Generator) -> Loss:
        log_prob = self._log_prob(batch.x, batch.given).mean()
        return Loss(-log_prob, {"log_prob": log_prob})

    def _log_prob(self, x: Tensor, given: Tensor | None) -> Tensor:
        found: tuple[Tensor, Tensor] = self.flow(self._entering(x), self._context(given))
        z, ladj = found
        return Normal(torch.zeros_like(z), torch.ones_like(z)).log_prob(z) + ladj

    def _sample(self, n: int, given: Tensor | None, generator: Generator) -> Tensor:
        z = torch.randn(n, self.domain.entries, generator=generator, device=self.device)
        return self._decode(z, given).mean

    def _encode(self, x: Tensor, given: Tensor | None) -> Distribution:
        """All mass at z = f(x), flat ``(N, D)``."""
        return Point(self.flow(self._entering(x), self._context(given))[0])

    def _decode(self, z: Tensor, given: Tensor | None) -> Distribution:
        """All mass at the x with f(x) = z."""
        return Point(self.flow.inverse(z.to(self._dtype), self._context(given)))

    @property
    def _dtype(self) -> torch.dtype:
        """Of the arithmetic of data: that of the weights."""
        return next(self.parameters()).dtype

    def _entering(self, x: Tensor) -> Tensor:
        """Data in the arithmetic of the flow."""
        return x.to(self._dtype)

    def _context(self, given: Tensor | None) -> Tensor | None:
        return None if given is None else F.one_hot(given, len(self.given_frequencies)).to(self._dtype)


def _scales(
    picture: tuple[int, ...], contexts: int, *, layers: int, channels: int, blocks: int, scales: int | None
) -> MultiScale:
    """Squeeze, steps and split, scale after scale."""
    colours, height, width = picture
    shape: Shape = (colours, height, width)
    found: list[tuple[Transform, Shape]] = []
    while True:
        squeezed = squeezable(shape, first=not found)
        if squeezed:
            shape = (4 * shape[0], shape[1] // 2, shape[2] // 2)
        parts: list[Transform] = [Squeeze()] if squeezed else []
        for layer in range(layers):
            parts += [Actnorm(shape[0]), Convolution1x1(shape[0]), _coupling(shape, layer, contexts, channels, blocks)]
        last = len(found) + 1 == scales or not squeezable((shape[0] // 2, *shape[1:]), first=False)
        if not last:
            half = shape[0] // 2
            prior = Convolutional(half, 2 * half, shape[1:], contexts, channels=channels, blocks=0)
            parts.append(Halves(prior))
        found.append((Composition(parts), shape))
        if last:
            return MultiScale(found)
        shape = (shape[0] // 2, *shape[1:])


def _coupling(shape: Shape, layer: int, contexts: int, channels: int, blocks: int) -> Transform:
    """One half of the channels moved; where they cannot be halved, one colour of a checkerboard, in turns."""
    each = shape[0]
    if each % 2 == 0:
        net = Convolutional(each // 2, each, shape[1:], contexts, channels=channels, blocks=blocks)
        return Halves(net)
    mask = checkerboard(*shape[1:]).repeat(each, 1, 1)
    net = Convolutional(each, 2 * each, shape[1:], contexts, channels=channels, blocks=blocks)
    return Coupling(1 - mask if layer % 2 else mask, net)


def _check(name: str, value: object, low: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= MOST:
        raise RangeError(f"{name} must be a whole number from {low} to {MOST}.", got=value)
