r"""NSF: an exact density by monotone splines (Durkan, Bekasov, Murray & Papamakarios 2019, https://arxiv.org/abs/1906.04032).

.. math::

    \log p(x) = \log N(f(x); 0, I) + \log\left|\det \frac{\partial f}{\partial x}\right|, \qquad
    f = f_{L+1} \circ (\tau_L \circ A_L) \circ \dots \circ (\tau_2 \circ A_2) \circ \tau_1 \circ f_0,

where each tau maps every entry by a rational-quadratic spline (``splines.py``) whose bins and slopes a network says, from half
of the entries (``coupling``) or from all earlier ones (``autoregressive``; ``vector.py``); A mixes the entries by a learned
linear map, L U (``linear.py``); and :math:`f_{L+1}` shifts and scales each entry. A spline with many bins is any monotone map,
so that a single autoregressive layer can be any distribution; of couplings it takes several.

Splines act in a box as wide as the data and a little more, and are the identity outside: data that lie a hundred standard
deviations away have finite scores and gradients, and come back from their codes.

What differs from the paper: the box is taken from the data; a first spline of each entry, :math:`f_0`, starts where it
makes the marginals normal and then learns with the rest; entries that tell others are moved in a coupling too, each by a
spline of its own (an option of the authors' code); the slope at a knot is softly bounded on both sides.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal, final

from ....domain import Domain
from ....errors import BadInput, require_whole
from ....learning import Recipe
from . import splines
from .element import Spline
from .flow import Flow
from .linear import Linear
from .transform import Composition, Diagonal, Transform
from .vector import Autoregressive, Elementwise, VectorCoupling, orders, tellers

__all__ = ["NSF"]


@final
class NSF(Flow):
    """A flow of rational-quadratic splines.

    A single entry has nobody to be told by: its density is that of the first spline, one for each label.

    Args:
        domain: Real data of any shape, taken as vectors.
        given: A class label, which every network is told and which shifts and stretches z; or None.
        coupling: ``coupling``, which samples as fast as it scores, or ``autoregressive``, which says more with fewer
            layers, and samples in as many steps as there are entries.
        layers: Maps by splines.
        bins: Of a spline.
        width: Hidden units of a network.
        blocks: Hidden layers of a network after the first, each added to the one before it.
        linear: Whether a learned linear map is between two layers.
        quantiles: Bins of the first spline of each entry; 0 for an affine map in its place.

    Raises:
        RangeError: if a number is out of range.
        BadInput: if there is no such coupling.
    """

    chunk = 2**16
    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"layers": 2, "width": 16, "bins": 4, "blocks": 0, "quantiles": 4},
        "small": {"layers": 2, "width": 64},
    }

    def __init__(
        self,
        domain: Domain,
        given: Domain | None = None,
        *,
        coupling: Literal["coupling", "autoregressive"] = "coupling",
        layers: int = 4,
        bins: int = 8,
        width: int = 128,
        blocks: int = 1,
        linear: bool = True,
        quantiles: int = 24,
    ) -> None:
        super().__init__(domain, given)
        for name, value, low in (("layers", layers, 1), ("width", width, 1), ("blocks", blocks, 0)):
            require_whole(name, value, low)
        require_whole("bins", bins, 2, splines.MOST_BINS)
        require_whole("quantiles", quantiles, 0, splines.MOST_BINS)
        if coupling not in ("coupling", "autoregressive"):
            raise BadInput("A spline flow is a coupling or autoregressive.", got=coupling)
        entries, labels = domain.entries, len(self.given_frequencies)
        alone = entries == 1
        first: Transform = (
            Elementwise(entries, max(3, quantiles), labels if alone else 0) if quantiles else Diagonal(self.shape)
        )
        maps: list[Transform] = []
        if coupling == "coupling":
            maps += [
                VectorCoupling(entries, telling, Spline(bins), labels, width=width, blocks=blocks, own=True)
                for telling in tellers(entries, layers)
            ]
        else:
            maps += [
                Autoregressive(order, Spline(bins), labels, width=width, layers=blocks + 1)
                for order in orders(entries, layers)
            ]
        mixed = _mixed(maps, entries) if linear else maps
        self.flow = Composition([first, *mixed, Diagonal((entries,), labels)])

    def recipe(self) -> Recipe:
        """Adam at a high rate, with a moving average; small batches of data with many entries, each with many bins."""
        return Recipe(batch=512 if self.domain.entries <= 64 else 64, rate=5e-3, clip=50.0, ema=0.998)


def _mixed(maps: list[Transform], entries: int) -> Iterator[Transform]:
    """The maps with a linear one between any two."""
    for number, map in enumerate(maps):
        if number:
            yield Linear(entries)
        yield map
