r"""What pictures need (Dinh et al. 2017, sections 3.4 to 3.6): squeezing, masks, and leaving half of the entries at each scale.

A squeeze makes every 2×2 square of positions one position with four times the channels, so that a convolution sees twice as
far for a quarter of the work. After each scale half of the channels go to z as they are, and only the rest goes on:

.. math:: h^{(0)} = x, \quad (z^{(i+1)}, h^{(i+1)}) = f^{(i+1)}(h^{(i)}), \quad z^{(L)} = f^{(L)}(h^{(L-1)}), \quad
    z = (z^{(1)}, \dots, z^{(L)}).

The paper couples at full resolution by a checkerboard before it squeezes. The corners of a square are ordered here so that this
checkerboard is the first half of the channels after the squeeze, and the mask of the first two couplings, which so cost a
quarter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .conditioner import Convolutional
from .coupling import Coupling, alternating, bit_masks, checkerboard
from .transform import Composition, Transform

__all__ = ["MultiScale", "Shape", "Squeeze", "masks_of", "multiscale", "squeezable"]

CORNERS = ((0, 0), (1, 1), (0, 1), (1, 0))
"""Row and column in a square, in the order of the channels: the first half is one colour of a checkerboard."""

Shape = tuple[int, int, int]


class Squeeze(Transform):
    """``(N, C, 2H, 2W)`` to ``(N, 4C, H, W)``: a permutation of the entries."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The corners of every square as channels; no volume changes."""
        return torch.cat([x[:, :, row::2, column::2] for row, column in CORNERS], 1), x.new_zeros(len(x))

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """The channels back to the corners."""
        n, channels, height, width = z.shape
        x = z.new_empty(n, channels // 4, 2 * height, 2 * width)
        for (row, column), corner in zip(CORNERS, z.chunk(4, 1), strict=True):
            x[:, :, row::2, column::2] = corner
        return x


class MultiScale(Transform):
    """Maps of pictures, one for each scale; after each but the last, half of the channels are left out of the next.

    Args:
        scales: The maps, each with the shape ``(C, H, W)`` of its image. All but the last have an even C.
    """

    def __init__(self, scales: Sequence[tuple[Transform, Shape]]) -> None:
        super().__init__()
        self.scales: Any = nn.ModuleList(scale for scale, _ in scales)
        halves = [(channels // 2, height, width) for _, (channels, height, width) in scales[:-1]]
        self.left_out: tuple[Shape, ...] = (*halves, scales[-1][1])

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Z of all scales, flat ``(N, D)``, the finest first; and the sum of the log-determinants."""
        total, left_out = x.new_zeros(len(x)), []
        for scale, (channels, _, _) in zip(self.scales, self.left_out, strict=True):
            x, ladj = scale(x, context)
            total = total + ladj
            left_out.append(x[:, :channels].flatten(1))
            x = x[:, channels:]
        return torch.cat(left_out, 1), total

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """From the coarsest scale to the finest."""
        parts = torch.split(z, [math.prod(shape) for shape in self.left_out], 1)
        x = z.new_empty(len(z), 0, *self.left_out[-1][1:])
        for scale, part, shape in zip(reversed(self.scales), reversed(parts), reversed(self.left_out), strict=True):
            x = scale.inverse(torch.cat([part.reshape(-1, *shape), x], 1), context)
        return x

    def prepare(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Prepare each scale on what reaches it."""
        left_out = []
        for scale, (channels, _, _) in zip(self.scales, self.left_out, strict=True):
            x = scale.prepare(x, context)
            left_out.append(x[:, :channels].flatten(1))
            x = x[:, channels:]
        return torch.cat(left_out, 1)


def masks_of(shape: Shape, *, squeezed: bool) -> list[Tensor]:
    """Masks of the shape of a picture; none for a single entry.

    First the corners of a square are split, by the checkerboard of the picture before the squeeze and then by rows; next the
    channels that each corner has, by the binary digits of their index. The checkerboard of the positions comes fourth at
    the latest, so that eight layers reach it however many channels there are.

    Args:
        shape: ``(C, H, W)``.
        squeezed: Whether it is the shape of an image of ``Squeeze``: four corners with C/4 channels each.
    """
    channels, height, width = shape
    each = channels // len(CORNERS) if squeezed else channels
    index = torch.arange(channels)
    corners = [mask[index // each] for mask in bit_masks(channels // each)][::-1]
    within = [mask[index % each] for mask in bit_masks(each)]
    masks = [mask[:, None, None].repeat(1, height, width) for mask in (*corners, *within)]
    if height * width > 1:
        masks.insert(3, checkerboard(height, width).repeat(channels, 1, 1))
    return masks


def multiscale(
    picture: tuple[int, ...], contexts: int, *, layers: int, channels: int, blocks: int, scales: int | None = None
) -> MultiScale:
    """The map of a multi-scale RealNVP.

    Args:
        picture: The shape ``(C, H, W)`` of a picture.
        contexts: Size of a one-hot context, or 0.
        layers: Couplings at each scale.
        channels: Hidden channels of the conditioners.
        blocks: Residual blocks of the conditioners.
        scales: The most scales; None goes on until a side is odd or 2. A picture with an odd side has one, not squeezed.
    """
    channels_in, height, width = picture
    shape: Shape = (channels_in, height, width)
    found: list[tuple[Transform, Shape]] = []
    while not found or (squeezable(shape, first=False) and len(found) != scales):
        parts: list[Transform] = []
        if found:
            shape = (shape[0] // 2, *shape[1:])
        squeezed = squeezable(shape, first=not found)
        if squeezed:
            parts.append(Squeeze())
            shape = (4 * shape[0], shape[1] // 2, shape[2] // 2)
        for mask in alternating(masks_of(shape, squeezed=squeezed), layers):
            net = Convolutional(shape[0], 2 * shape[0], shape[1:], contexts, channels=channels, blocks=blocks)
            parts.append(Coupling(mask, net))
        found.append((Composition(parts), shape))
    return MultiScale(found)


def squeezable(shape: tuple[int, ...], *, first: bool) -> bool:
    """Whether both sides of a picture are even; after the first scale, also whether squares of 2×2 positions remain."""
    _, height, width = shape
    return height % 2 == 0 and width % 2 == 0 and (first or min(height, width) >= 4)
