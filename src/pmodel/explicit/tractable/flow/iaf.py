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

from collections.abc import Sequence
from typing import Any, ClassVar, final

from .element import Affine
from .masked_affine import MaskedAffineFlow
from .transform import Inverted, Transform
from .vector import Autoregressive

__all__ = ["IAF"]


@final
class IAF(MaskedAffineFlow):
    """A flow whose samples take one pass, and whose densities take one step for each entry."""

    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"layers": 1, "width": 16, "blocks": 0},
        "small": {"layers": 3, "width": 64},
    }

    @staticmethod
    def _map(order: Sequence[int], contexts: int, *, width: int, layers: int) -> Transform:
        return Inverted(Autoregressive(order, Affine(outward=True), contexts, width=width, layers=layers))
