r"""The affine coupling (Dinh et al. 2017, equations 7 to 9), and the masks that say which entries it moves.

.. math::

    z = b \odot x + (1 - b) \odot \left(x \odot e^{s(b \odot x)} + t(b \odot x)\right), \qquad
    \log\left|\det \frac{\partial z}{\partial x}\right| = \sum_i (1 - b_i)\, s_i.

What b keeps is in z as it was, so s and t can be computed from z too, and the inverse costs as much as the map. The Jacobian
is triangular, so its determinant asks nothing of the networks behind s and t.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from typing import Any

import torch
from torch import Tensor, nn

from .element import bounded
from .transform import Transform

__all__ = ["Coupling", "Halves", "alternating", "bit_masks", "checkerboard"]


class _Coupling(Transform):
    """What is told how to move by a conditioner, and is the identity before training."""

    def __init__(self, conditioner: nn.Module) -> None:
        super().__init__()
        self.conditioner: Any = conditioner

    def _scale_and_shift(self, kept: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        raw, t = self.conditioner(kept, context).to(kept.dtype).chunk(2, 1)
        return bounded(raw), t

    def prepare(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The untrained coupling is the identity: spare the work."""
        return x


class Coupling(_Coupling):
    r"""An affine coupling with s bounded softly, :math:`s = B \tanh(\tilde s / B)`.

    Args:
        mask: The b of the paper, of the shape of a datum: 1 where an entry is kept, 0 where it is moved.
        conditioner: From kept entries and context to the raw s and t, one after the other along the first axis of a datum.
    """

    mask: Tensor

    def __init__(self, mask: Tensor, conditioner: nn.Module) -> None:
        super().__init__(conditioner)
        self.register_buffer("mask", mask)

    def _scale_and_shift(self, kept: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """S and t, zero where b is one."""
        s, t = super()._scale_and_shift(kept, context)
        return (1 - self.mask) * s, (1 - self.mask) * t

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """z, and the sum of s."""
        s, t = self._scale_and_shift(self.mask * x, context)
        return x * s.exp() + t, s.flatten(1).sum(1)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """(z - t) exp(-s)."""
        s, t = self._scale_and_shift(self.mask * z, context)
        return (z - t) * (-s).exp()


class Halves(_Coupling):
    """The coupling of pictures with an even C whose b is one on the second half of the channels: s and t of the first only.

    Args:
        conditioner: From the second half and the context to the raw s and t of the first, one after the other.
    """

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """z, and the sum of s."""
        moved, kept = x.chunk(2, 1)
        s, t = self._scale_and_shift(kept, context)
        return torch.cat([moved * s.exp() + t, kept], 1), s.flatten(1).sum(1)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """(z - t) exp(-s) of the first half."""
        moved, kept = z.chunk(2, 1)
        s, t = self._scale_and_shift(kept, context)
        return torch.cat([(moved - t) * (-s).exp(), kept], 1)


def bit_masks(entries: int) -> Iterator[Tensor]:
    """A mask for each binary digit of an entry's index, ``(entries,)``: any two entries are apart in one of them."""
    index = torch.arange(entries)
    for digit in range((entries - 1).bit_length()):
        yield ((index >> digit) & 1).float()


def checkerboard(height: int, width: int) -> Tensor:
    """1 where row plus column is odd, ``(height, width)``."""
    return ((torch.arange(height).unsqueeze(1) + torch.arange(width)) % 2).float()


def alternating(masks: list[Tensor], layers: int) -> list[Tensor]:
    """So many masks, each followed by its complement: two layers in a row move every entry. Empty if there are none."""
    both = [side for mask in masks for side in (mask, 1 - mask)]
    return [mask for mask, _ in zip(cycle(both), range(layers), strict=False)]
