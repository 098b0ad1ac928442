r"""A datum as tokens: patches of p × p pixels in raster order, p entries of a vector, or one symbol of a sequence.

*The order of the entries.* Patches go row by row, and within a patch the pixels row by row, each with its channels in their
order. So entry :math:`x_{tj}` is the j-th of patch t, and the model's factors are

.. math:: p(x) = \prod_t \prod_j p(x_{tj} \mid x_{t, <j},\, x_{<t}) .

With p = 1 this is raster order; with a larger p it is not, but the chain rule holds in any order. Where p does not divide a
side, the picture is filled up with zeros to the right and below: these are no entries: they have no factors, and
being the same in every datum they tell nothing.

A token's place in the stack holds what is known *before* it: the sum of the embedded tokens that stand around it, the one
before it and in a picture those above left, above and above right, and of its own place. Attention could find the neighbours,
but so it need not learn where they are. The first place holds the start token, of which each label has one.
"""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..categories import scaled

__all__ = ["Embedding", "Patches"]


@final
class Patches:
    """How a datum is cut into T tokens of P entries, and put together again.

    Args:
        shape: Of a datum; pictures are ``(C, H, W)``.
        patch: Side p.
        image: Whether it is a picture; all else is a row of entries.
    """

    def __init__(self, shape: tuple[int, ...], patch: int, *, image: bool) -> None:
        self.shape = shape
        self.planes = shape if image else (1, 1, math.prod(shape))
        self.sides = (patch, patch) if image else (1, patch)
        self.grid = tuple(-(-length // side) for length, side in zip(self.planes[1:], self.sides, strict=True))
        self.tokens, self.entries = math.prod(self.grid), self.planes[0] * math.prod(self.sides)

    def split(self, x: Tensor) -> Tensor:
        """Data ``(N, *shape)`` as tokens ``(N, T, P)``; what fills up the last patches is 0, or False."""
        (channels, height, width), (p, q), (rows, columns) = self.planes, self.sides, self.grid
        planes = x.reshape(-1, channels, height, width)
        planes = F.pad(planes, (0, columns * q - width, 0, rows * p - height))
        cut = planes.reshape(-1, channels, rows, p, columns, q).permute(0, 2, 4, 3, 5, 1)
        return cut.reshape(-1, self.tokens, self.entries)

    def join(self, tokens: Tensor) -> Tensor:
        """The inverse of ``split``."""
        (channels, height, width), (p, q), (rows, columns) = self.planes, self.sides, self.grid
        cut = tokens.reshape(-1, rows, columns, p, q, channels).permute(0, 5, 1, 3, 2, 4)
        planes = cut.reshape(-1, channels, rows * p, columns * q)[:, :, :height, :width]
        return planes.reshape(-1, *self.shape)

    def real(self, device: torch.device) -> Tensor:
        """Which entries ``(T, P)`` of the tokens are entries of the datum."""
        return self.split(torch.ones(1, *self.shape, dtype=torch.bool, device=device))[0]

    @property
    def neighbours(self) -> tuple[tuple[int, int], ...]:
        """Where the neighbours of a token stand: so many rows and columns further.

        The first is the token before it, which for the first of a row is the last of the row above: were a token not read by
        the next one, some would never see it.
        """
        return ((0, -1),) if self.grid[0] == 1 else ((0, -1), (-1, -1), (-1, 0), (-1, 1))

    def neighbour(self, t: int, offset: tuple[int, int]) -> int | None:
        """The number of the token at an offset from token t, or None if there is none."""
        (row, column), (up, right) = divmod(t, self.grid[1]), offset
        if up == 0:
            return t + right if t + right >= 0 else None
        inside = row + up >= 0 and 0 <= column + right < self.grid[1]
        return t + up * self.grid[1] + right if inside else None


@final
class Embedding(nn.Module):
    """What the stack reads: for each token the embedded neighbours before it, and its place.

    Args:
        patches: How data are cut.
        levels: Values of an entry.
        width: W of the stack.
        labels: Values of the label; 0 for none.
        placed: Whether a token knows its place; else only distances are known.
    """

    def __init__(self, patches: Patches, levels: int, width: int, labels: int, *, placed: bool) -> None:
        super().__init__()
        self.patches, self.levels, self.width = patches, levels, width
        self.offsets = patches.neighbours if patches.tokens > 1 else ()
        inputs = patches.entries if levels == 2 else patches.entries * levels
        self.told = nn.Parameter(torch.empty(len(self.offsets), inputs, width)) if self.offsets else None
        self.start = nn.Parameter(torch.empty(max(labels, 1), width).normal_(std=0.5))
        self.place = nn.Parameter(torch.empty(patches.tokens, width).normal_(std=0.5)) if placed else None
        if self.told is not None:
            nn.init.normal_(self.told, std=(patches.entries * len(self.offsets)) ** -0.5)

    def forward(self, tokens: Tensor, given: Tensor | None) -> Tensor:
        """Inputs ``(N, T, W)`` of the stack from tokens ``(N, T, P)``; the last token is told to none."""
        n, (rows, columns) = len(tokens), self.patches.grid
        h = F.pad(self._started(given, n).unsqueeze(1), (0, 0, 0, self.patches.tokens - 1))
        for told, offset in self._neighbours():
            neighbour = self._embedded(tokens, told).reshape(n, rows, columns, self.width)
            h = h + _shifted(neighbour, *offset).flatten(1, 2)
        return h if self.place is None else h + self.place

    def at(self, t: int, tokens: Tensor, given: Tensor | None) -> Tensor:
        """The input ``(N, 1, W)`` of token t, from the tokens ``(N, T, P)`` before it."""
        h = self.start.new_zeros(len(tokens), self.width) if t else self._started(given, len(tokens))
        for told, offset in self._neighbours():
            if (neighbour := self.patches.neighbour(t, offset)) is not None:
                h = h + self._embedded(tokens[:, neighbour], told)
        return (h if self.place is None else h + self.place[t]).unsqueeze(1)

    def _neighbours(self) -> list[tuple[Tensor, tuple[int, int]]]:
        """For each neighbour what embeds it, and where it stands."""
        return [] if self.told is None else list(zip(self.told, self.offsets, strict=True))

    def _started(self, given: Tensor | None, n: int) -> Tensor:
        return self.start.expand(n, -1) if given is None else self.start[given]

    def _embedded(self, tokens: Tensor, told: Tensor) -> Tensor:
        """The sum over the entries of tokens ``(…, P)`` of what they tell, ``(…, W)``."""
        if self.levels == 2:
            return scaled(tokens, 2, told.dtype) @ told
        first = self.levels * torch.arange(self.patches.entries, device=tokens.device)
        bags = (tokens + first).flatten(0, -2)
        return F.embedding_bag(bags, told, mode="sum").reshape(*tokens.shape[:-1], self.width)


def _shifted(h: Tensor, up: int, right: int) -> Tensor:
    """What each token of ``(N, rows, columns, W)`` gets from its neighbour at an offset; 0 from beyond."""
    if up == 0:
        return F.pad(h.flatten(1, 2)[:, :right], (0, 0, -right, 0)).reshape(h.shape)
    columns = h.shape[2]
    moved = F.pad(h[:, :up], (0, 0, 0, 0, -up, 0))
    left, gone = max(0, -right), max(0, right)
    return F.pad(moved[:, :, gone : columns - left], (0, 0, left, gone)) if right else moved
