"""The weights of a long short-term memory that runs over a picture (``recurrence.py``): what its gates are told."""

from __future__ import annotations

from typing import cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .network import as_matrix
from .recurrence import Line, recur

__all__ = ["Memory"]


@final
class Memory(nn.Module):
    """The weights of a long short-term memory.

    Args:
        inputs: Channels of the stream.
        size: H of the states.
        window: Pixels of the stream that the gates of a pixel are told: itself, and those to its left.
        taps: States of the line before that they are told.
    """

    def __init__(self, inputs: int, size: int, window: int, taps: int) -> None:
        super().__init__()
        self.size, self.window = size, window
        self.input = nn.Conv2d(inputs, 4 * size, (1, window))
        self.state = nn.Conv2d(size, 4 * size, (1, taps), bias=False)
        with torch.no_grad():
            self.bias[size : 2 * size] = 1  # it begins by remembering

    def forward(self, s: Tensor, over: tuple[Line, ...]) -> Tensor:
        """The states ``(K, N, H)`` of entries in the lines' order from windows of the stream ``(K, N, window · inputs)``."""
        return recur(F.linear(s, self.matrix.T, self.bias), self.transition, over)

    @property
    def bias(self) -> Tensor:
        """What the gates are told whatever the picture, ``(4 · H,)``."""
        return cast(Tensor, self.input.bias)

    @property
    def matrix(self) -> Tensor:
        """From a window of the stream to the gates, ``(window · inputs, 4 · H)``."""
        return as_matrix(self.input.weight)

    @property
    def transition(self) -> Tensor:
        """From the states before to the gates, ``(taps · H, 4 · H)``."""
        return as_matrix(self.state.weight)

    def taps(self) -> tuple[Tensor, ...]:
        """The same for each tap, ``(H, 4 · H)``."""
        return torch.split(self.transition, self.size)
