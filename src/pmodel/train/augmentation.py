"""Changes of training pictures that leave them plausible, and binary pictures drawn anew from grey ones.

Each is a function of a batch and a generator, and the generator one of the run's seed and the batch's number: a resumed run
sees the changes that it would have seen. The model then learns the distribution of changed pictures; ask only for changes
that the data themselves could show.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Generator, Tensor

__all__ = ["AUGMENTATIONS", "augmented", "binarised"]

REACH = 8
"""A shift is at most a side divided by this, at least one pixel."""


def _shift(x: Tensor, generator: Generator) -> Tensor:
    """Move each picture by its own whole number of pixels each way; its border is repeated."""
    n, channels, *sides = x.shape
    rows, columns = (
        (torch.arange(side) - torch.randint(-reach, reach + 1, (n, 1), generator=generator)).clamp(0, side - 1)
        for side, reach in ((side, max(1, side // REACH)) for side in sides)
    )
    datum, channel = torch.arange(n)[:, None, None, None], torch.arange(channels)[None, :, None, None]
    return x[datum, channel, rows[:, None, :, None], columns[:, None, None, :]]


def _flip(x: Tensor, generator: Generator) -> Tensor:
    """Mirror every other picture, left to right."""
    mirrored = (torch.rand(len(x), generator=generator) < 0.5).to(x.device)
    return torch.where(mirrored[:, None, None, None], x.flip(3), x)


AUGMENTATIONS: Mapping[str, Callable[[Tensor, Generator], Tensor]] = {"shift": _shift, "flip": _flip}
"""By the name that ``train.augment`` takes."""


def augmented(x: Tensor, names: Sequence[str], generator: Generator) -> Tensor:
    """The pictures ``(N, C, H, W)`` with these changes, in order."""
    for name in names:
        x = AUGMENTATIONS[name](x, generator)
    return x


def binarised(intensities: Tensor, generator: Generator) -> Tensor:
    r"""Binary pictures :math:`x \sim \mathrm{Bernoulli}(v / 255)` of grey ones ``v``, uint8 of the same shape.

    Source: Salakhutdinov and Murray (2008), who drew them anew for every batch.
    """
    u = torch.rand(intensities.shape, generator=generator).to(intensities.device)
    return (u < intensities.float() / 255).to(torch.uint8)
