"""The network of a judge: a few convolutions, a layer of features and, if it knows classes, a layer of logits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from ...errors import BadInput, require_whole

__all__ = ["Layout", "Network"]

FINEST = 64
"""Pictures with more pixels a side are seen through a first convolution with a stride."""
SMALLEST = 8
"""Layers halve the sides until they are at most so many pixels."""
MOST_ENTRIES = 2**26
MOST_CLASSES = 100_000
MOST_FEATURES = 128
MOST_WIDTH = 128


@final
@dataclass(frozen=True)
class Layout:
    """The whole numbers that a network is built from.

    Args:
        shape: Of a picture, ``(C, H, W)``.
        classes: How many it tells apart; 0 if it has features only.
        width: Channels after the first convolution; they double from one to the next, up to four times as many.
        features: How many features.

    Raises:
        BadInput: if one of them is out of range.
    """

    shape: tuple[int, int, int]
    classes: int
    width: int = 16
    features: int = 64

    def __post_init__(self) -> None:
        if not isinstance(self.shape, tuple | list) or len(self.shape) != 3:
            raise BadInput("The shape of a picture is (C, H, W).", got=self.shape)
        object.__setattr__(self, "shape", tuple(self.shape))
        limits = [("a side", side, 1, MOST_ENTRIES) for side in self.shape]
        limits += [("classes", self.classes, 0, MOST_CLASSES), ("width", self.width, 1, MOST_WIDTH)]
        for name, value, low, high in [*limits, ("features", self.features, 1, MOST_FEATURES)]:
            require_whole(f"{name} of a judge", value, low, high)
        if math.prod(self.shape) > MOST_ENTRIES:
            raise BadInput(f"A picture may have at most {MOST_ENTRIES} entries.", got=self.shape)

    @property
    def strides(self) -> tuple[int, int]:
        """Of the first convolution, down and across: 1 unless a side is longer than ``FINEST``."""
        return math.ceil(self.shape[1] / FINEST), math.ceil(self.shape[2] / FINEST)

    def to_json(self) -> dict[str, Any]:
        """The numbers by name."""
        return asdict(self) | {"shape": list(self.shape)}

    @classmethod
    def from_json(cls, value: object) -> Layout:
        """What ``to_json`` wrote.

        Raises:
            BadInput: if it is not that.
        """
        names = {"shape", "classes", "width", "features"}
        if not isinstance(value, Mapping) or set(value) != names:
            raise BadInput(f"The layout of a judge has {', '.join(sorted(names))}.", got=value)
        return cls(**value)


@final
class Network(nn.Module):
    """Convolutions down to at most ``SMALLEST`` pixels a side, a layer of features, and a linear layer of logits.

    Args:
        layout: Its sizes.
    """

    loc: Tensor
    scale: Tensor
    temperature: Tensor

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        channels, *sides = layout.shape
        down, across = layout.strides
        sides, width = [sides[0] // down, sides[1] // across], layout.width
        kernel, stride = (down + 2, across + 2), (down, across)
        layers: list[nn.Module] = [nn.Conv2d(channels, width, kernel, stride=stride, padding=1)]
        while len(layers) < 2 or max(sides) > SMALLEST:
            wider = min(2 * width, 4 * layout.width)
            pool = nn.MaxPool2d(2, ceil_mode=True)  # before the ReLU, with which it commutes: a quarter of the work
            layers += [pool, nn.ReLU(), nn.Conv2d(width, wider, 3, padding=1)]
            width, sides = wider, [(side + 1) // 2 for side in sides]
        self.body = nn.Sequential(*layers, nn.ReLU(), nn.Flatten())
        self.head = nn.Linear(width * math.prod(sides), layout.features)
        self.top = nn.Linear(layout.features, layout.classes) if layout.classes else None
        for name in ("loc", "scale", "temperature"):
            self.register_buffer(name, self.head.bias.new_ones(()))
        self.laid_out()

    def laid_out(self) -> Network:
        """With channels last in memory: on a processor, twice as fast."""
        return self.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def features(self, x: Tensor) -> Tensor:
        """The activations before the last layer, ``(N, features)``."""
        x = ((x.float() - self.loc) / self.scale).contiguous(memory_format=torch.channels_last)
        hidden: Tensor = self.head(self.body(x))
        return hidden.relu()

    def logits(self, features: Tensor) -> Tensor:
        """Logits of pictures whose features are known, ``(N, classes)``.

        Raises:
            BadInput: if it has features only.
        """
        if self.top is None:
            raise BadInput("This network has features and no classes.", got="classes=0")
        logits: Tensor = self.top(features)
        return logits

    def forward(self, x: Tensor) -> Tensor:
        """Logits, ``(N, classes)``."""
        return self.logits(self.features(x))
