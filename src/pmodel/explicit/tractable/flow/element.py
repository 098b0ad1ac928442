r"""Monotone maps of single entries, of which a network says the numbers: shifts, affine maps, splines.

Their numbers come first: x is ``(D, N)`` and what the network says ``(numbers, D, N)``. All zero, they are the identity.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from . import splines

__all__ = ["Affine", "Element", "Shift", "Spline", "bounded"]

BOUND = 3.0
"""The largest logarithm of a scale: a map that stretches no more than e³ twentyfold inverts in float32."""
NARROWEST, WIDEST = 4.0, 32.0
"""The least and the largest half-width of a spline's box, in the units of its input: standard deviations, about."""
MARGIN = 1.1
"""How much wider the box of a spline is than its data."""


class Element(nn.Module, ABC):
    """A monotone map of each entry by ``numbers`` numbers."""

    numbers: int

    @abstractmethod
    def forward(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """The image of x, and the logarithm of the slope, both of the shape of x."""

    @abstractmethod
    def inverse(self, z: Tensor, raw: Tensor) -> Tensor:
        """The x whose image is z."""

    def prepare(self, x: Tensor) -> None:
        """Set what must be known from data before training. The default needs nothing."""


class Shift(Element):
    """z = x + m (Dinh et al. 2014, equation 6): no volume changes."""

    numbers = 1

    def forward(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """The shifted entries, and zero."""
        return x + raw[0], torch.zeros_like(x)

    def inverse(self, z: Tensor, raw: Tensor) -> Tensor:
        """Shifted back."""
        return z - raw[0]


class Affine(Element):
    r"""z = (x - mu) exp(-alpha), with alpha bounded softly, :math:`\alpha = B \tanh(\tilde\alpha / B)`.

    Args:
        outward: Whether it is the inverse, z = mu + exp(alpha) x, that is called the map.
    """

    numbers = 2

    def __init__(self, *, outward: bool = False) -> None:
        super().__init__()
        self.outward = outward

    def forward(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """The image, and -alpha, or alpha."""
        alpha = bounded(raw[1])
        return (_out(x, raw[0], alpha), alpha) if self.outward else (_in(x, raw[0], alpha), -alpha)

    def inverse(self, z: Tensor, raw: Tensor) -> Tensor:
        """The other of the two."""
        alpha = bounded(raw[1])
        return _in(z, raw[0], alpha) if self.outward else _out(z, raw[0], alpha)


def _in(x: Tensor, mu: Tensor, alpha: Tensor) -> Tensor:
    return (x - mu) * (-alpha).exp()


def _out(z: Tensor, mu: Tensor, alpha: Tensor) -> Tensor:
    return mu + alpha.exp() * z


class Spline(Element):
    """A rational-quadratic spline in a box that is a little wider than the data, and the identity outside.

    Args:
        bins: Of the spline.
    """

    box: Tensor

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.numbers = splines.count(bins)
        self.register_buffer("box", torch.tensor(NARROWEST))

    def forward(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """The spline, and the logarithm of its slope."""
        return splines.forward(x, raw, self.box)

    def inverse(self, z: Tensor, raw: Tensor) -> Tensor:
        """The root in the bin of z."""
        return splines.inverse(z, raw, self.box)

    def prepare(self, x: Tensor) -> None:
        """Make the box as wide as the data."""
        if x.numel():
            self.box.copy_((MARGIN * x.abs().max()).clamp(NARROWEST, WIDEST))


def bounded(raw: Tensor) -> Tensor:
    r"""The logarithm of a scale from any number, :math:`B \tanh(\tilde\alpha / B)`."""
    return BOUND * (raw / BOUND).tanh()
