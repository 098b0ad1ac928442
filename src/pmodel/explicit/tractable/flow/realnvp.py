r"""RealNVP: an exact density by affine couplings (Dinh, Sohl-Dickstein & Bengio 2017, https://arxiv.org/abs/1605.08803).

.. math::

    \log p(x) = \log N(f(x); 0, I) + \log|\det f_0'(x)|
    + \sum_\ell \sum_i (1 - b_{\ell i})\, s_{\ell i}(b_\ell \odot h_{\ell - 1}) - \sum_i \log \sigma_i, \qquad
    f = f_{L+1} \circ f_L \circ \dots \circ f_1 \circ f_0,

where :math:`f_0` is a fixed map of each entry, coupling :math:`f_\ell` keeps the entries :math:`b_\ell` and moves the others
(``coupling.py``), and :math:`f_{L+1}` shifts and scales each entry. Pictures go through several scales (``multiscale.py``).
Training is maximum likelihood.

What differs from the paper:

- :math:`f_0` is a logit there; here it goes through quantiles of the data (``marginal.py``).
- Batch normalisation is left out, because it makes the score of a datum depend on what else is in the batch. Each entry has
  a scale of its own instead, started from the data.
- The logarithm of a coupling's scale is bounded, so that the map inverts in float32 and is finite far from the data.
- The checkerboard of a picture is coupled after the squeeze, as a mask of channels, for a quarter of the work.
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
from .conditioner import Perceptron
from .coupling import Coupling, alternating, bit_masks
from .marginal import Marginal
from .multiscale import multiscale
from .transform import Composition, Diagonal, Transform

__all__ = ["RealNVP"]

MOST = 2**12
"""The largest value of an option: a guard against absurd ones from files and arguments."""


@final
class RealNVP(Samples, Density, Latent, GradientTrained):
    """A normalising flow of affine couplings: exact density, one-pass sampling, and a code as large as the datum.

    Vectors are coupled by perceptrons, with masks by the binary digits of an entry's index; pictures by convolutions at
    several scales. Where there is a single entry there is nothing to couple: its density is that of the quantiles, shifted
    and stretched by the label. A picture with an odd side is not squeezed, and so has one scale, at full resolution.

    Args:
        domain: Real data of any shape.
        given: A class label, which every conditioner is told and which shifts and stretches z; or None.
        layers: Couplings of a vector, or of a picture at each scale; at least 2, so that every entry is moved.
        width: Hidden units of a vector's conditioners.
        channels: Hidden channels of a picture's conditioners.
        blocks: Residual blocks of a conditioner.
        scales: The most scales of a picture; None goes on until a side is odd or 2.
        quantiles: Intervals between the quantiles through which each entry is made normal first (``marginal.py``); 0 for an
            affine map in its place, as good where the marginals are smooth.

    Raises:
        RangeError: if a number is out of range.
    """

    natives: ClassVar[tuple[type[Domain], ...]] = (Real,)
    conditional: ClassVar[bool] = True
    chunk = 2**19
    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"layers": 4, "width": 16, "channels": 8, "blocks": 1},
        "small": {"layers": 4, "width": 64, "channels": 16, "blocks": 1},
    }

    def __init__(
        self,
        domain: Domain,
        given: Domain | None = None,
        *,
        layers: int = 8,
        width: int = 128,
        channels: int = 24,
        blocks: int = 1,
        scales: int | None = None,
        quantiles: int = 24,
    ) -> None:
        super().__init__(domain, given)
        _check("layers", layers, 2)
        _check("blocks", blocks, 0)
        _check("quantiles", quantiles, 0)
        for name, value in (("width", width), ("channels", channels), ("scales", 1 if scales is None else scales)):
            _check(name, value, 1)
        labels = len(self.given_frequencies)
        self.shape = domain.shape if domain.image else (domain.entries,)
        if domain.image:
            body: Transform = multiscale(
                domain.shape, labels, layers=layers, channels=channels, blocks=blocks, scales=scales
            )
        else:
            body = _of_vectors(domain.entries, labels, layers=layers, width=width, blocks=blocks)
        first = Marginal(self.shape, quantiles, shared=domain.image) if quantiles else Diagonal(self.shape)
        self.flow = Composition([first, body, Diagonal((domain.entries,), labels)])

    @classmethod
    def tiny(cls, domain: Domain, given: Domain | None = None) -> RealNVP:
        """Four couplings with narrow networks."""
        return cls(domain, given, **cls.sizes["tiny"])

    def recipe(self) -> Recipe:
        """Adam at a high rate, with a moving average: small batches of pictures, large ones of points."""
        if self.domain.image:
            return Recipe(batch=64, rate=1e-2, clip=500.0, ema=0.998, retry=2)
        return Recipe(batch=512, rate=5e-3, clip=50.0, ema=0.998)

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
        x: Tensor = self.flow.inverse(z.to(self._dtype), self._context(given))
        return Point(x.reshape(-1, *self.domain.shape))

    @property
    def _dtype(self) -> torch.dtype:
        """Of the arithmetic of data: that of the weights."""
        return next(self.parameters()).dtype

    def _entering(self, x: Tensor) -> Tensor:
        """Data as the flow takes them: pictures as they are, all else flat."""
        return x.to(self._dtype).reshape(len(x), *self.shape)

    def _context(self, given: Tensor | None) -> Tensor | None:
        return None if given is None else F.one_hot(given, len(self.given_frequencies)).to(self._dtype)


def _of_vectors(entries: int, contexts: int, *, layers: int, width: int, blocks: int) -> Composition:
    """Couplings of a vector; none for a single entry."""
    return Composition(
        Coupling(mask, Perceptron(entries, 2 * entries, contexts, width=width, blocks=blocks))
        for mask in alternating([*bit_masks(entries)], layers)
    )


def _check(name: str, value: object, low: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= MOST:
        raise RangeError(f"{name} must be a whole number from {low} to {MOST}.", got=value)
