r"""NICE: an exact density by additive couplings (Dinh, Krueger & Bengio 2014, https://arxiv.org/abs/1410.8516).

.. math::

    h_{\ell, A} = h_{\ell-1, A}, \qquad h_{\ell, B} = h_{\ell-1, B} + m_\ell(h_{\ell-1, A}), \qquad
    z_i = e^{s_i} h_{L, i}, \qquad \log p(x) = \sum_i \left(\log p_Z(z_i) + s_i\right) + \log|\det f_0'(x)|,

with the roles of A and B exchanged from layer to layer, a scale of its own for each entry at the end, and standard logistic or
normal noise Z. A coupling keeps volumes, so the density of x differs from that of its code by a constant and by what the fixed
first map :math:`f_0` does (a shift and a scale in the paper; here through quantiles of the data, ``marginal.py``).

A and B are told apart by the binary digits of an entry's index, so that any two entries meet; in the paper they are the odd
and the even ones.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, final

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from ....domain import Domain
from ....errors import BadInput, require_whole
from ....learning import Recipe
from .element import Shift
from .flow import Flow, beginning
from .transform import Composition, Diagonal
from .vector import VectorCoupling, tellers

__all__ = ["NICE"]


@final
class NICE(Flow):
    """A flow of additive couplings.

    Args:
        domain: Real data of any shape, taken as vectors.
        given: A class label, which every conditioner is told and which shifts and stretches z; or None.
        layers: Couplings; at least 2, so that every entry is moved.
        width: Hidden units of a conditioner.
        blocks: Residual blocks of a conditioner.
        noise: ``logistic`` or ``normal``.
        quantiles: Intervals between the quantiles through which each entry is made normal first; 0 for an affine map.

    Raises:
        RangeError: if a number is out of range.
        BadInput: if there is no such noise.
    """

    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"layers": 4, "width": 16},
        "small": {"layers": 4, "width": 64},
    }

    def __init__(
        self,
        domain: Domain,
        given: Domain | None = None,
        *,
        layers: int = 8,
        width: int = 128,
        blocks: int = 1,
        noise: Literal["logistic", "normal"] = "logistic",
        quantiles: int = 24,
    ) -> None:
        super().__init__(domain, given)
        for name, value, low in (("layers", layers, 2), ("width", width, 1), ("blocks", blocks, 0)):
            require_whole(name, value, low)
        if noise not in ("logistic", "normal"):
            raise BadInput("The noise of NICE is logistic or normal.", got=noise)
        self.noise, labels = noise, len(self.given_frequencies)
        couplings = [
            VectorCoupling(domain.entries, telling, Shift(), labels, width=width, blocks=blocks)
            for telling in tellers(domain.entries, layers)
        ]
        self.flow = Composition([beginning(self, quantiles), *couplings, Diagonal((domain.entries,), labels)])

    def recipe(self) -> Recipe:
        """Adam at a high rate, with a moving average."""
        return Recipe(batch=512, rate=5e-3, clip=50.0, ema=0.998)

    def _prior_log_prob(self, z: Tensor) -> Tensor:
        if self.noise == "normal":
            return super()._prior_log_prob(z)
        return (F.logsigmoid(z) + F.logsigmoid(-z)).sum(1)

    def _noise(self, n: int, generator: Generator) -> Tensor:
        if self.noise == "normal":
            return super()._noise(n, generator)
        u = torch.rand(n, self.domain.entries, generator=generator, device=self.device, dtype=torch.float64)
        return (u + 2**-54).logit().float()
