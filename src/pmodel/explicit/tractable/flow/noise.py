r"""Noise that fills the cells of a grid: uniform, or learned so that a density finds it easy (Ho et al. 2019, Flow++).

A model of real data is one of whole numbers through noise u in the unit cell, with a density q(u | x):

.. math:: \log P(x) = \log \mathbb{E}_{u \sim q} \frac{p(x + u - \tfrac12)}{q(u \mid x)}
    \ge \mathbb{E}_{u \sim q} \left[\log p(x + u - \tfrac12) - \log q(u \mid x)\right] .

The gap is :math:`\mathrm{KL}(q(u \mid x) \,\|\, p(u \mid x))`. With uniform q the bound asks p for steps at the borders of the
cells, which smooth maps do not have. A learned q settles where p is high; it is here the flow

.. math:: u = \sigma(g_x(\varepsilon)), \qquad \varepsilon \sim \text{Logistic}(0, 1), \qquad
    \log q(u \mid x) = \log\sigma'(\varepsilon) - \log|\det g_x'(\varepsilon)| - \sum_i \log \sigma'(g_x(\varepsilon)_i),

with :math:`g_x` affine in each entry first and then couplings, all told x. It starts as the identity, and so q as uniform.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from ....distribution import summed
from ....domain import Discrete
from .conditioner import Convolutional, Perceptron
from .coupling import Coupling, alternating, bit_masks
from .multiscale import Squeeze, masks_of, squeezable
from .transform import Composition

__all__ = ["CellNoise"]

LAYERS = 2
"""Couplings after the first map, which is affine in each entry."""
CHANNELS, WIDTH = 24, 64
"""Hidden channels for pictures, hidden units for vectors."""
EDGE = 2**-24
"""How near to 0 and 1 the variable comes that logistic noise is made from."""


class CellNoise(nn.Module):
    """The density q(u | x).

    Args:
        domain: Of x: discrete data.
    """

    def __init__(self, domain: Discrete) -> None:
        super().__init__()
        self.levels = domain.levels
        self.squeeze = Squeeze() if domain.image and squeezable(domain.shape, first=True) else None
        self.shape = _laid_shape(domain, squeezed=self.squeeze is not None)
        masks = _masks(domain, self.shape, squeezed=self.squeeze is not None)
        all_moved = torch.zeros(self.shape)
        self.flow = Composition(
            Coupling(mask, _Beside(self.shape)) for mask in (all_moved, *alternating(masks, LAYERS))
        )

    def forward(self, x: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Noise u of the shape of x, and log q(u | x) of each datum, ``(N,)``."""
        picture = self._laid(2 * x.float() / max(1, self.levels - 1) - 1)
        draw = torch.rand(picture.shape, generator=generator, device=x.device).clamp(EDGE, 1 - EDGE)
        epsilon = torch.logit(draw)
        v, ladj = self.flow(epsilon, picture)
        log_q = summed(_log_slope(epsilon)) - ladj - summed(_log_slope(v))
        u = v.sigmoid() if self.squeeze is None else self.squeeze.inverse(v.sigmoid())
        return u.reshape(x.shape), log_q

    def _laid(self, x: Tensor) -> Tensor:
        """Data as the couplings take them: pictures squeezed where their sides are even, all else flat."""
        return x.reshape(len(x), *self.shape) if self.squeeze is None else cast(Tensor, self.squeeze(x)[0])


def _laid_shape(domain: Discrete, *, squeezed: bool) -> tuple[int, ...]:
    """The shape in which couplings take a datum."""
    if not domain.image:
        return (domain.entries,)
    channels, height, width = domain.shape
    return (4 * channels, height // 2, width // 2) if squeezed else domain.shape


def _masks(domain: Discrete, shape: tuple[int, ...], *, squeezed: bool) -> list[Tensor]:
    """Masks for couplings of a datum in this shape; none for a single entry."""
    if not domain.image:
        return [*bit_masks(domain.entries)]
    channels, height, width = shape
    return masks_of((channels, height, width), squeezed=squeezed)


class _Beside(nn.Module):
    """A conditioner that is told the datum, which has the shape of what it keeps, as further channels or entries."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        channels, *sides = shape
        self.net: Any = (
            Convolutional(2 * channels, 2 * channels, (sides[0], sides[1]), 0, channels=CHANNELS, blocks=1)
            if sides
            else Perceptron(2 * channels, 2 * channels, 0, width=WIDTH, blocks=1)
        )

    def forward(self, kept: Tensor, x: Tensor) -> Tensor:
        """The raw s and t of a coupling."""
        return cast(Tensor, self.net(torch.cat([kept, x], 1), None))


def _log_slope(v: Tensor) -> Tensor:
    r""":math:`\log \sigma'(v) = \log \sigma(v) + \log \sigma(-v)`, which is also the logistic log-density."""
    return F.logsigmoid(v) + F.logsigmoid(-v)
