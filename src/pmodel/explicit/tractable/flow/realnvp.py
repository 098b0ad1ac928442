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

from ....domain import Domain
from ....errors import require_whole
from ....learning import Recipe
from .conditioner import Perceptron
from .coupling import Coupling, alternating, bit_masks
from .flow import Flow, beginning
from .multiscale import multiscale
from .transform import Composition, Diagonal, Transform

__all__ = ["RealNVP"]


@final
class RealNVP(Flow):
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
        require_whole("layers", layers, 2)
        require_whole("blocks", blocks, 0)
        require_whole("quantiles", quantiles, 0)
        for name, value in (("width", width), ("channels", channels), ("scales", 1 if scales is None else scales)):
            require_whole(name, value, 1)
        labels = len(self.given_frequencies)
        self.shape = domain.shape if domain.image else (domain.entries,)
        if domain.image:
            body: Transform = multiscale(
                domain.shape, labels, layers=layers, channels=channels, blocks=blocks, scales=scales
            )
        else:
            body = _of_vectors(domain.entries, labels, layers=layers, width=width, blocks=blocks)
        self.flow = Composition([beginning(self, quantiles), body, Diagonal((domain.entries,), labels)])

    def recipe(self) -> Recipe:
        """Adam at a high rate, with a moving average: small batches of pictures, large ones of points."""
        if self.domain.image:
            return Recipe(batch=64, rate=1e-2, clip=500.0, ema=0.998, retry=2)
        return Recipe(batch=512, rate=5e-3, clip=50.0, ema=0.998)


def _of_vectors(entries: int, contexts: int, *, layers: int, width: int, blocks: int) -> Composition:
    """Couplings of a vector; none for a single entry."""
    return Composition(
        Coupling(mask, Perceptron(entries, 2 * entries, contexts, width=width, blocks=blocks))
        for mask in alternating([*bit_masks(entries)], layers)
    )
