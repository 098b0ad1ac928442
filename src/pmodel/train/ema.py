"""The exponential moving average of the weights: what is sampled and scored, while the raw weights go on learning."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

import torch
from torch import Tensor, nn

__all__ = ["MovingAverage"]


@final
class MovingAverage:
    r"""A float32 average of a module's parameters with a warm-up.

    .. math:: a \leftarrow d_t\, a + (1 - d_t)\,\theta, \qquad d_t = \min\left(d, \frac{1 + t}{10 + t}\right)

    Without the warm-up a short run would be scored near its random start.

    Args:
        module: The module to follow.
        decay: The final decay d.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.parameters = list(module.parameters())
        self.decay = decay
        self.updates = 0
        self.average: list[Tensor] = [p.detach().clone() for p in self.parameters]

    def update(self) -> None:
        """Take the current weights in."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.parameters], 1 - decay)
        self.updates += 1

    def swap(self) -> None:
        """Exchange the average and the weights."""
        with torch.no_grad():
            for parameter, average in zip(self.parameters, self.average, strict=True):
                raw = parameter.detach().clone()
                parameter.copy_(average)
                average.copy_(raw)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The module with the averaged weights."""
        self.swap()
        try:
            yield
        finally:
            self.swap()
