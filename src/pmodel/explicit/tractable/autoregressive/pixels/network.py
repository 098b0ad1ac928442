"""What a network of a picture model offers: features of every pixel at once, and pixel by pixel with nothing computed twice.

Every network here opens alike: one convolution of the picture that sees the rows above and the pixels to the left and not the
pixel itself (mask A of van den Oord et al. 2016, https://arxiv.org/abs/1601.06759), and a bias for each place. Whatever comes
after it may look at its own pixel.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Protocol, cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["OPENING", "OUTSIDE", "Cache", "Network", "Opening", "Part", "PartsCache", "as_matrix"]

OPENING = 3
"""How far an opening sees whose windows are 7×7."""

OUTSIDE = -2.0
"""What stands beyond the border of a picture on the scale [-1, 1]: no level, so that the border is seen as one."""


class Cache(Protocol):
    """The state of a network while pictures are written in raster order.

    For each row ``start_row``; then for each of its pixels ``features``, and ``put`` its values.
    """

    def start_row(self, i: int) -> None:
        """Compute what the rows above say to row i."""

    def features(self, j: int) -> Tensor:
        """The features ``(N, channels)`` of pixel j of the row, from the pixels before it."""

    def put(self, j: int, x: Tensor) -> None:
        """Write the values ``(N, C)`` of pixel j, on the scale [-1, 1]."""

    def select(self, rows: Tensor) -> None:
        """Go on with these pictures: row n becomes what row ``rows[n]`` was. Labels must be the same."""


class Network(nn.Module, ABC):
    """Features of each pixel that are functions of the pixels before it, in raster order, of the place, and of a label.

    Args:
        shape: Of a picture, ``(C, H, W)``.
        channels: Of the opening.
        reach: How many rows above and pixels to the left the opening sees.
        labels: Values of the label; 0 for none.
    """

    def __init__(self, shape: tuple[int, ...], channels: int, reach: int, labels: int) -> None:
        super().__init__()
        colours, *self.sides = shape
        self.labels, self.reach = labels, reach
        self.above = nn.Conv2d(colours, channels, (reach, 2 * reach + 1))
        self.left = nn.Conv2d(colours, channels, (1, reach))
        self.place = nn.Parameter(torch.zeros(channels, *self.sides))

    @abstractmethod
    def forward(self, x: Tensor, given: Tensor | None) -> Tensor:
        """From pictures ``(N, C, H, W)`` on the scale [-1, 1] to features ``(N, H, W, F)``."""

    @abstractmethod
    def cache(self, n: int, given: Tensor | None) -> Cache:
        """What evaluates the same features for n pictures with these labels, pixel by pixel."""

    def opened(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What the opening makes of the rows above, and of the pixels to the left: ``(N, channels, H, W)`` each."""
        r = self.reach
        v: Tensor = self.above(F.pad(x, (r, r, r, -1), value=OUTSIDE))
        h: Tensor = self.left(F.pad(x, (r, -1), value=OUTSIDE))
        return v + self.place.to(v.dtype), h

    def one_hot(self, given: Tensor | None) -> Tensor | None:
        """The label as the linear layers take it."""
        return None if given is None else F.one_hot(given, self.labels).to(self.place.dtype)


@final
class Opening:
    """The opening, evaluated pixel by pixel: the rows above once for each row."""

    def __init__(self, network: Network, n: int) -> None:
        self.network, self.colours = network, network.above.in_channels
        r, width = network.reach, network.sides[1]
        # the rows that end with the current one, with margins; and the current row, pixel after pixel behind a margin
        self.rows = network.place.new_full((n, self.colours, r + 1, width + 2 * r), OUTSIDE)
        self.line = network.place.new_full((n, (r + width) * self.colours), OUTSIDE)
        self.matrix, self.bias = as_matrix(network.left.weight), cast(Tensor, network.left.bias)

    def row(self, i: int) -> Tensor:
        """What the rows above and the places say to row i, ``(N, channels, 1, W)``."""
        r, network = self.network.reach, self.network
        self.rows[:, :, :r] = self.rows[:, :, 1:].clone()
        v = F.conv2d(self.rows[:, :, :r], network.above.weight, network.above.bias)
        return v + network.place[:, i : i + 1]

    def left(self, j: int) -> Tensor:
        """What the pixels to the left say to pixel j, ``(N, channels)``."""
        window = self.line[:, j * self.colours : (j + self.network.reach) * self.colours]
        return torch.addmm(self.bias, window, self.matrix)

    def put(self, j: int, x: Tensor) -> None:
        """Write the values of pixel j."""
        at = self.network.reach + j
        self.rows[:, :, -1, at] = x
        self.line[:, at * self.colours : (at + 1) * self.colours] = x

    def select(self, rows: Tensor) -> None:
        """Go on with these pictures."""
        self.rows, self.line = self.rows[rows], self.line[rows]


class Part(Protocol):
    """A layer of a network that is one stream, evaluated pixel by pixel."""

    def start_row(self) -> None:
        """Compute what the rows above say to the next row."""

    def step(self, j: int, s: Tensor) -> Tensor:
        """From the stream ``(N, channels)`` at pixel j before the layer to the stream behind it."""

    def put(self, j: int, x: Tensor) -> None:
        """Take note of the values ``(N, C)`` of pixel j."""

    def select(self, rows: Tensor) -> None:
        """Go on with these pictures."""


@final
class PartsCache:
    """The cache of a network that is one stream: the opening, then layer after layer.

    Args:
        network: The network.
        n: How many pictures are written.
        parts: Its layers.
        shift: What a label adds to the stream where it begins, ``(N, channels)``, or None.
    """

    def __init__(self, network: Network, n: int, parts: Iterable[Part], shift: Tensor | None = None) -> None:
        self.opening, self.parts = Opening(network, n), list(parts)
        self.shift = shift
        self.above: Tensor = network.place

    def start_row(self, i: int) -> None:
        """The rows above, in every layer."""
        self.above = self.opening.row(i)[:, :, 0].permute(2, 0, 1).contiguous()
        if self.shift is not None:
            self.above += self.shift
        for part in self.parts:
            part.start_row()

    def features(self, j: int) -> Tensor:
        """The stream at pixel j, behind all layers."""
        s = self.opening.left(j).add_(self.above[j])
        for part in self.parts:
            s = part.step(j, s)
        return s

    def put(self, j: int, x: Tensor) -> None:
        """Write pixel j."""
        self.opening.put(j, x)
        for part in self.parts:
            part.put(j, x)

    def select(self, rows: Tensor) -> None:
        """Go on with these pictures, in every layer."""
        self.opening.select(rows)
        self.above = self.above[:, rows]
        for part in self.parts:
            part.select(rows)


def as_matrix(weight: Tensor) -> Tensor:
    """The weight ``(out, in, 1, taps)`` of a convolution along a line as a matrix ``(taps · in, out)``."""
    return weight.squeeze(2).permute(2, 1, 0).reshape(-1, len(weight)).contiguous()
