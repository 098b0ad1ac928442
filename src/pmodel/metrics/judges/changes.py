"""Random changes of pictures that the training of judges needs: those that leave a picture what it is, and those that do not.

Each takes pictures ``(N, C, H, W)`` as float, and a generator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from ...domain import Discrete, Domain

__all__ = ["TREATMENTS", "Range", "moved", "outliers", "treatments_for"]

FEW_LEVELS = 4
"""With at most so many levels there are no shades to change, nor to mix."""


@final
@dataclass(frozen=True)
class Range:
    """What values a pixel can have.

    Args:
        low: The least.
        high: The largest.
        std: Their standard deviation in the data.
        whole: Whether they are whole numbers.
    """

    low: float
    high: float
    std: float
    whole: bool

    @classmethod
    def of(cls, x: Tensor, domain: Domain) -> Range:
        """Of training data: all levels of a discrete domain, else what occurs."""
        std = max(float(x.double().std()), 1e-6)
        if isinstance(domain, Discrete):
            return cls(0.0, domain.levels - 1.0, std, True)
        return cls(float(x.min()), float(x.max()), std, False)

    def snap(self, x: Tensor) -> Tensor:
        """Values that a pixel can have: no change may be told by values that no sample has."""
        x = x.clamp(self.low, self.high)
        return x.round() if self.whole else x


def moved(x: Tensor, noise: Generator, shift: int = 1, turn: float = 0.0, flip: bool = False) -> Tensor:
    """Each picture by itself moved by whole pixels, turned about its centre, and mirrored; its border is repeated.

    Args:
        x: Pictures.
        noise: What is drawn from.
        shift: Pixels each way at most.
        turn: Degrees each way at most.
        flip: Whether every other picture is mirrored, left to right.
    """
    n, _, height, width = x.shape
    angle = torch.deg2rad(turn * (2 * torch.rand(n, generator=noise) - 1))
    steps = torch.randint(-shift, shift + 1, (n, 2), generator=noise)
    mirror = 1.0 - 2.0 * (flip * torch.rand(n, generator=noise) > 0.5)
    cos, sin = angle.cos(), angle.sin()
    rows = torch.stack([cos * mirror, -sin * height / width, 2 * steps[:, 1] / width], 1)
    columns = torch.stack([sin * mirror * width / height, cos, 2 * steps[:, 0] / height], 1)
    grid = F.affine_grid(torch.stack([rows, columns], 1), list(x.shape), align_corners=False)
    mode = "bilinear" if turn else "nearest"
    return F.grid_sample(x, grid, mode=mode, padding_mode="border", align_corners=False)


def outliers(x: Tensor, kind: int, span: Range, noise: Generator) -> Tensor:
    """Pictures of no class, by turns: noise, clouds or one level, all over the range of the values; and shuffled pixels.

    Args:
        x: Pictures.
        kind: A number, of which the remainder by three says which.
        span: The range.
        noise: What is drawn from.
    """
    if kind % 3 == 0:
        return x.flatten(1)[:, torch.randperm(x[0].numel(), generator=noise)].view_as(x)
    side = int(torch.randint(1, 6, (), generator=noise)) if kind % 3 == 2 else 0
    coarse = torch.rand(len(x), x.shape[1], *((side, side) if side else x.shape[2:]), generator=noise)
    values = F.interpolate(coarse, x.shape[2:], mode="bilinear") if side else coarse
    drawn = span.low + (span.high - span.low + span.whole) * values
    return drawn.floor().clamp(max=span.high) if span.whole else drawn


def blurred(x: Tensor, span: Range, noise: Generator) -> Tensor:
    """Under a Gaussian of 0.5 to 1.5 pixels."""
    return gaussian_blur(x, 0.5 + float(torch.rand((), generator=noise)))


def gaussian_blur(x: Tensor, std: float) -> Tensor:
    """Convolved with a Gaussian of ``std`` pixels, cut off at three of them; the border is repeated."""
    reach = max(1, math.ceil(3 * std))
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=x.dtype) / std).square())
    kernel = (kernel / kernel.sum()).repeat(x.shape[1], 1, 1, 1)
    padded = F.pad(x, (reach,) * 4, mode="replicate")
    down = F.conv2d(padded, kernel.transpose(2, 3), groups=x.shape[1])
    return F.conv2d(down, kernel, groups=x.shape[1])


def noisy(x: Tensor, span: Range, noise: Generator) -> Tensor:
    """With normal noise of 0.1 to 0.5 of the data's standard deviation, another for each picture."""
    strength = span.std * (0.1 + 0.4 * torch.rand(len(x), 1, 1, 1, generator=noise))
    return x + strength * torch.randn(x.shape, generator=noise)


def speckled(x: Tensor, span: Range, noise: Generator) -> Tensor:
    """With 2 to 10 % of the pixels replaced by those of other places."""
    share = 0.02 + 0.08 * torch.rand(len(x), 1, 1, 1, generator=noise)
    elsewhere = x.flatten(2)[:, :, torch.randperm(x[0, 0].numel(), generator=noise)].view_as(x)
    return torch.where(torch.rand(x[:, :1].shape, generator=noise) < share, elsewhere, x)


def recoloured(x: Tensor, span: Range, noise: Generator) -> Tensor:
    """Each channel's values shrunk towards a random one: other contrast, brightness and colour."""
    gain = 0.5 + 0.4 * torch.rand(len(x), x.shape[1], 1, 1, generator=noise)
    towards = span.low + (span.high - span.low) * torch.rand(len(x), x.shape[1], 1, 1, generator=noise)
    return gain * x + (1 - gain) * towards


def turned(x: Tensor, span: Range, noise: Generator) -> Tensor:
    """By a quarter, a half or three quarters where the picture is square, else by a half."""
    if x.shape[2] != x.shape[3]:
        return x.rot90(2, (2, 3))
    return x.rot90(int(torch.randint(1, 4, (), generator=noise)), (2, 3))


def shuffled(x: Tensor, span: Range, noise: Generator) -> Tensor:
    """Its parts exchanged: rolled around by a quarter to three quarters of each side."""
    sides = [int(side * (0.25 + 0.5 * float(torch.rand((), generator=noise)))) for side in x.shape[2:]]
    return x.roll(sides, (2, 3))


def mixed(x: Tensor, span: Range, noise: Generator) -> Tensor:
    """The mean of two."""
    return (x + x.roll(1, 0)) / 2


TREATMENTS: Mapping[str, Callable[[Tensor, Range, Generator], Tensor]] = {
    "blurred": blurred,
    "noisy": noisy,
    "speckled": speckled,
    "recoloured": recoloured,
    "turned": turned,
    "shuffled": shuffled,
    "mixed": mixed,
}
"""Changes that make of a picture what the data do not hold."""


def treatments_for(domain: Domain) -> tuple[str, ...]:
    """The treatments that change pictures of this domain."""
    few = isinstance(domain, Discrete) and domain.levels <= FEW_LEVELS
    return tuple(name for name in TREATMENTS if not (few and name in ("noisy", "recoloured", "mixed")))
