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
- Conditioners are residual networks with a bias for each position, and know the label.
- A picture with an odd side is not squeezed. It has one scale, whose couplings move the squares of a checkerboard.
"""

from __future__ import annotations

from typing import Any, ClassVar, final

from ....domain import Domain, Real
from ....errors import BadInput, require_whole
from ....learning import Recipe
from .conditioner import Convolutional
from .coupling import Coupling, Halves, checkerboard
from .flow import Flow, beginning
from .mixing import Actnorm, Convolution1x1
from .multiscale import MultiScale, Shape, Squeeze, squeezable
from .transform import Composition, Diagonal, Transform

__all__ = ["Glow"]


@final
class Glow(Flow):
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
        BadInput: if the domain is not that of pictures, or a number is out of range.
    """

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
        if (reason := self.refuses(domain)) is not None:
            raise BadInput(f"Glow cannot take these data: {reason}.", got=domain)
        for name, value, low in (("layers", layers, 1), ("channels", channels, 1), ("blocks", blocks, 0)):
            require_whole(name, value, low)
        if scales is not None:
            require_whole("scales", scales, 1)
        self.shape = domain.shape
        labels = len(self.given_frequencies)
        body = _scales(domain.shape, labels, layers=layers, channels=channels, blocks=blocks, scales=scales)
        self.flow = Composition([beginning(self, quantiles), body, Diagonal((domain.entries,), labels)])

    @classmethod
    def refuses(cls, domain: Domain) -> str | None:
        """All but real pictures of at least 2×2 pixels."""
        if isinstance(domain, Real) and domain.image and min(domain.shape[1:]) >= 2:
            return None
        return "it takes real pictures of one or three channels and at least 2×2 pixels"

    def recipe(self) -> Recipe:
        """Adam at a high rate, with a moving average."""
        return Recipe(batch=64, rate=1e-2, clip=500.0, ema=0.998, retry=2)


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
