"""Mean losses between two reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

from .processes import Processes

__all__ = ["Means"]


@final
class Means:
    """Sums of named losses, kept on their device until they are asked for."""

    def __init__(self) -> None:
        self._new: dict[str, list[Tensor]] = {}
        self._old: dict[str, tuple[float, int]] = {}

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Take in the losses of a step."""
        for name, value in losses.items():
            self._new.setdefault(name, []).append(value)

    def clear(self) -> None:
        """Begin anew."""
        self._new.clear()
        self._old.clear()

    def over(self, processes: Processes) -> dict[str, float]:
        """The means so far, over the steps and over all processes."""
        sums = self.to_json()
        if not sums:
            return {}
        means = torch.tensor([total / count for total, count in sums.values()], dtype=torch.float64)
        processes.sum_([means])
        return dict(zip(sums, (means / processes.world).tolist(), strict=True))

    def to_json(self) -> dict[str, tuple[float, int]]:
        """Sums and counts: what a stopped run has gathered since its last report."""
        for name, values in self._new.items():
            total, count = self._old.get(name, (0.0, 0))
            self._old[name] = (total + float(torch.stack(values).double().sum()), count + len(values))
        self._new.clear()
        return dict(self._old)

    def restore(self, sums: Mapping[str, tuple[float, int]]) -> None:
        """Go on from what ``to_json`` gave."""
        self.clear()
        self._old = {name: (float(total), int(count)) for name, (total, count) in sums.items()}
