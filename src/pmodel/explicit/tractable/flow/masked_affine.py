"""What MAF and IAF share: masked autoregressive affine maps, each in the reverse order of the one before."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from ....domain import Domain
from ....errors import require_whole
from ....learning import Recipe
from .flow import Flow, beginning
from .transform import Composition, Diagonal, Transform
from .vector import orders

__all__ = ["MaskedAffineFlow"]


class MaskedAffineFlow(Flow):
    """Everything but the direction of the maps.

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
        maps = [self._map(order, labels, width=width, layers=blocks + 1) for order in orders(entries, layers)]
        self.flow = Composition([beginning(self, quantiles), *maps, Diagonal((entries,), labels)])

    @staticmethod
    @abstractmethod
    def _map(order: Sequence[int], contexts: int, *, width: int, layers: int) -> Transform:
        """The map in which each entry is told by those before it in this order."""

    def recipe(self) -> Recipe:
        """Adam at a high rate, with a moving average."""
        return Recipe(batch=512, rate=5e-3, clip=50.0, ema=0.998)
