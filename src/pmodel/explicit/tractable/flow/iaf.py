r"""IAF: inverse autoregressive maps as a density model (Kingma et al. 2016, https://arxiv.org/abs/1606.04934).

.. math::

    x_i = \mu_i(z_{<i}) + e^{\alpha_i(z_{<i})} z_i, \qquad
    \log\left|\det \frac{\partial x}{\partial z}\right| = \sum_i \alpha_i,

several of them one after another. It is MAF read backwards: what is parallel there is sequential here. *Sampling* is one pass
of the masked networks. The *density* of given data needs their noise, which is found one entry after another: D steps for each
map, in scoring and in training, where gradients go through all of them. The paper has no use for that: it makes posteriors of a
variational autoencoder, whose samples come with their noise. As a density model of many entries it is slow to learn, and MAF is
the one to take; it is here because it is the other half of the idea, and for where samples must be fast.

The steps are cheaper than they sound: a unit of a masked network depends on the first m entries of z and is computed once,
when they are known, so that D steps cost about as many products as one pass, in D pieces.
"""

from __future__ import annotations

from typing import Any, ClassVar, final

from ....domain import Domain
from ....errors import require_whole
from ....learning import Recipe
from .element import Affine
from .flow import Flow, beginning
from .transform import Composition, Diagonal, Inverted
from .vector import Autoregressive, orders

__all__ = ["IAF"]


@final
class IAF(Flow):
    """A flow whose samples take one pass, and whose densities take one step for each entry.

    Args:
        domain: Real data of any shape, taken as vectors.
        given: A class label, which every network is told and which shifts and stretches z; or None.
        layers: Autoregressive maps.
        width: Hidden units of a masked network.
        blocks: Hidden layers of a masked network after the first.
        quantiles: Intervals between the quantiles through which each entry is made normal first; 0 for an affine map.

    Raises:
        RangeError: if a number is out of range.
    """

    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"layers": 1, "width": 16, "blocks": 0},
        "small": {"layers": 3, "width": 64},
    }

    def __init__(
        self,
        domain: Domain,
        given: Domain | None = None,
        *,
        layers: int = 5,
        width: int = 128,
        blocks: int = 1,
        quantiles: int = 24,
    ) -> None:
        super().__init__(domain, given)
        for name, value, low in (("layers", layers, 1), ("width", width, 1), ("blocks", blocks, 0)):
            require_whole(name, value, low)
        entries, labels = domain.entries, len(self.given_frequencies)
        maps = [
            Inverted(Autoregressive(order, Affine(outward=True), labels, width=width, layers=blocks + 1))
            for order in orders(entries, layers)
        ]
        self.flow = Composition([beginning(self, quantiles), *maps, Diagonal((entries,), labels)])

    @classmethod
    def tiny(cls, domain: Domain, given: Domain | None = None) -> IAF:
        """One map with a narrow network of one hidden layer."""
        return cls(domain, given, **cls.sizes["tiny"])

    def recipe(self) -> Recipe:
        """Adam at a high rate, with a moving average."""
        return Recipe(batch=512, rate=5e-3, clip=50.0, ema=0.998)
