"""Plain arrays: whole numbers, and real ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from ..errors import RangeError, require_whole
from .base import Domain, checked_shape, require_finite

__all__ = ["Discrete", "Real"]


@final
@dataclass(frozen=True)
class Discrete(Domain):
    """Whole numbers from 0 to ``levels - 1``: a die, bits, pixels.

    Args:
        shape: The shape of one datum; ``(C, H, W)`` is an image and ``()`` a label.
        levels: How many values an entry can take.
    """

    shape: tuple[int, ...]
    levels: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", checked_shape(self.shape))
        object.__setattr__(self, "levels", require_whole("levels", self.levels, 1, 2**31))

    @property
    def label(self) -> bool:
        """Whether it has no shape."""
        return self.shape == ()

    @property
    def measure(self) -> Literal["mass"]:
        """Probability mass."""
        return "mass"

    @property
    def steps(self) -> Tensor:
        """One everywhere."""
        return torch.ones(self.shape, dtype=torch.float64)

    @property
    def storage(self) -> torch.dtype:
        """Bytes up to 256 levels."""
        return torch.uint8 if self.levels <= 256 else torch.int64

    def unpacked(self, x: Tensor) -> Tensor:
        """As int64."""
        return x.to(torch.int64)

    def _check_values(self, x: Tensor, name: str) -> Tensor:
        if x.is_floating_point() and bool((x != x.round()).any()):  # NaN differs from itself
            bad = x[x != x.round()][0].item()
            raise RangeError(
                f"{name} must hold whole numbers from 0 to {self.levels - 1}.",
                got=bad,
                hint="pass the raw levels, such as uint8 pixels, not values scaled to [0, 1]",
            )
        if x.numel() and (float(x.min()) < 0 or float(x.max()) >= self.levels):
            bad = x[(x < 0) | (x >= self.levels)][0].item()
            raise RangeError(f"{name} must hold whole numbers from 0 to {self.levels - 1}.", got=bad)
        return x.to(torch.int64)


@final
@dataclass(frozen=True)
class Real(Domain):
    """Real numbers.

    Args:
        shape: The shape of one datum.
    """

    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", checked_shape(self.shape))

    @property
    def measure(self) -> Literal["density"]:
        """Probability density in the units of the data."""
        return "density"

    @property
    def steps(self) -> Tensor:
        """Zero everywhere: a real entry has no spacing."""
        return torch.zeros(self.shape, dtype=torch.float64)

    @property
    def storage(self) -> torch.dtype:
        """Single precision."""
        return torch.float32

    def _check_values(self, x: Tensor, name: str) -> Tensor:
        require_finite(x, name)
        return x if x.dtype == torch.float64 else x.to(torch.float32)
