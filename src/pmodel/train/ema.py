"""The exponential moving average of the weights: what is sampled and scored, while the raw weights go on learning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import final

import torch
from torch import Tensor, nn

__all__ = ["EVERY", "MovingAverage"]

EVERY = 4
"""Steps between two updates."""


@final
class MovingAverage:
    r"""A float32 average of a module's parameters with a warm-up.

    .. math:: a \leftarrow d_t^k\, a + (1 - d_t^k)\,\theta, \qquad d_t = \min\left(d, \frac{1 + t}{10 + t}\right)

    with the number t of the step, counted from 0, in every k-th step (k = 4), and after the last, where k is what is left.
    Weights a few steps apart are all but the same, and taking them all in costs a third of the optimiser's time. Buffers are
    not averaged. Without the warm-up a short run would be scored near its random start; for the same reason t is counted from
    the step at which a parameter begins to learn.

    Args:
        module: The module to follow.
        decay: The final decay d.
        spans: From when to when, in the progress of training, a parameter learns; those that are left out do all the time.
    """

    def __init__(
        self, module: nn.Module, decay: float, spans: Mapping[nn.Parameter, tuple[float, float]] | None = None
    ) -> None:
        self.names = [name for name, _ in module.named_parameters()]
        self.parameters = [p.detach() for p in module.parameters()]
        self.decay = decay
        self.average: list[Tensor] = [p.clone() for p in self.parameters]
        self.groups: dict[tuple[float, float], list[int]] = {}
        for index, parameter in enumerate(module.parameters()):
            self.groups.setdefault((spans or {}).get(parameter, (0.0, 1.0)), []).append(index)

    def begin(self) -> None:
        """Start from the weights as they are now."""
        torch._foreach_copy_(self.average, self.parameters)

    def update(self, number: int, progress: float = 0.0) -> None:
        """Take the weights in as they are after step ``number``, counted from 0, if it is one of those that count."""
        if (number + 1) % EVERY == 0:
            self._take(number, progress, EVERY)

    def settle(self, number: int, progress: float = 0.0) -> None:
        """Take the weights in after the last step, whichever it is."""
        if (number + 1) % EVERY:
            self._take(number, progress, (number + 1) % EVERY)

    def _take(self, number: int, progress: float, steps: int) -> None:
        for (start, _), group in self.groups.items():
            if start <= progress:
                t = number - start * number / progress if start else number
                decay = min(self.decay, (1 + t) / (10 + t)) ** steps
                torch._foreach_lerp_(self._of(self.average, group), self._of(self.parameters, group), 1 - decay)

    def end(self, number: int, before: float, progress: float) -> None:
        """Put the average in place of the parameters that stop learning between two points of training."""
        ending = [group for (_, stop), group in self.groups.items() if before < stop <= progress]
        if ending:
            self.settle(number - 1, before)
        for group in ending:
            torch._foreach_copy_(self._of(self.parameters, group), self._of(self.average, group))

    def start(self, before: float, progress: float) -> None:
        """Begin anew with the parameters that start to learn between two points of training."""
        for (start, _), group in self.groups.items():
            if before < start <= progress:
                torch._foreach_copy_(self._of(self.average, group), self._of(self.parameters, group))

    @staticmethod
    def _of(tensors: list[Tensor], group: list[int]) -> list[Tensor]:
        return tensors if len(group) == len(tensors) else [tensors[index] for index in group]

    def swap(self) -> None:
        """Exchange the average and the weights."""
        for parameter, average in zip(self.parameters, self.average, strict=True):
            raw = parameter.clone()
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
