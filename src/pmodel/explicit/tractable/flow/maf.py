r"""MAF: an exact density by autoregressive maps (Papamakarios, Pavlakou & Murray 2017, https://arxiv.org/abs/1705.07057).

.. math::

    z_i = \left(x_i - \mu_i(x_{<i})\right) e^{-\alpha_i(x_{<i})}, \qquad
    \log\left|\det \frac{\partial z}{\partial x}\right| = -\sum_i \alpha_i,

several of them one after another, each in the reverse order of the one before. Masked networks (MADE) tell all mu and alpha
in one pass, so scores and training are as fast as of any network. Sampling is sequential: x_i needs :math:`x_{<i}`, D steps for
each map. They are cheap here, as no unit of a network is computed twice, but there are D of them.

What differs from the paper: batch normalisation is left out, because it makes the score of a datum depend on its batch, and a
first map through quantiles of the data takes its place; alpha is bounded softly, so that the map inverts in float32; hidden
layers are residual.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, final

from .element import Affine
from .masked_affine import MaskedAffineFlow
from .transform import Transform
from .vector import Autoregressive

__all__ = ["MAF"]


@final
class MAF(MaskedAffineFlow):
    """A flow of masked autoregressive affine maps."""

    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"layers": 2, "width": 16},
        "small": {"layers": 3, "width": 64},
    }

    @staticmethod
    def _map(order: Sequence[int], contexts: int, *, width: int, layers: int) -> Transform:
        return Autoregressive(order, Affine(), contexts, width=width, layers=layers)
