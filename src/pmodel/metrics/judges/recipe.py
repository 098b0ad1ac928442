"""How judges are trained: the settings, and the loop that both kinds of training share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, final

import torch
from torch import Generator, Tensor

from ...errors import RangeError

__all__ = ["VERSION", "Progress", "Recipe", "optimise"]

VERSION = 4
"""Changed whenever the network or its training changes, so that old files are not taken for new ones."""
WARM_UP = 0.1
DECAY = 1e-2

Progress = Callable[[float], None] | None
"""Called with the part of the training that is done."""


@final
@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings of a training. The number of steps is fixed, and no clock is asked: a judge is to be the same everywhere.

    Args:
        steps: Of the optimiser.
        batch: Pictures in each.
        rate: The largest learning rate.
        shift: Pixels each way that a picture is moved at most.
        turn: Degrees each way that it is turned at most.
        flip: Whether it may be mirrored.
        width: Channels after the first convolution.
        features: How many.
        seed: Of the weights and of every draw.

    Raises:
        RangeError: if a setting is out of range.
    """

    steps: int = 1000
    batch: int = 128
    rate: float = 3e-3
    shift: int = 1
    turn: float = 0.0
    flip: bool = False
    width: int = 16
    features: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low in (("steps", 1), ("batch", 1), ("shift", 0), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                raise RangeError(f"{name} of a judge's training must be a whole number from {low}.", got=value)

    def to_json(self) -> dict[str, Any]:
        """All settings by name."""
        return asdict(self)


def optimise(
    parameters: Sequence[Tensor],
    loss: Callable[[Tensor, int, Generator], Tensor],
    n: int,
    recipe: Recipe,
    noise: Generator,
    progress: Progress,
) -> None:
    """AdamW with one cycle of the learning rate, in float32 whatever surrounds it.

    Args:
        parameters: What is learned.
        loss: From the rows of a batch, the number of the step and a generator.
        n: How many rows there are.
        recipe: Settings.
        noise: Every draw comes from it.
        progress: Called every 50 steps.
    """
    optimiser = torch.optim.AdamW(parameters, lr=recipe.rate, weight_decay=DECAY)
    with torch.enable_grad(), torch.autocast("cpu", enabled=False):
        for step in range(recipe.steps):
            done = step / recipe.steps
            for group in optimiser.param_groups:
                group["lr"] = recipe.rate * min(done / WARM_UP, (1 - done) / (1 - WARM_UP))
            rows = torch.randint(n, (min(recipe.batch, n),), generator=noise)
            found = loss(rows, step, noise)
            optimiser.zero_grad()
            found.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            if progress is not None and step % 50 == 49:
                progress((step + 1) / recipe.steps)
