r"""Differentiable augmentation: the discriminator sees only changed pictures (Zhao et al. 2020, https://arxiv.org/abs/2006.10738).

.. math:: D(T(x)) \text{ against } D(T(G(z))), \text{ with gradients through } T \text{ to } G.

Data and samples are changed in the same ways, each with noise of its own, in both players' phases: a discriminator of few
data can no longer know them by heart. Where T p tells p, as with a random translation that now and then is none, the game
keeps its equilibrium (Karras et al. 2020, https://arxiv.org/abs/2006.06676); a hole, which always hides some pixels, leaves
those p alike that differ only in what no picture with a hole shows. (Changing data alone, ``train.augment``, would teach the
generator the changes.) Differs: what a translation brings in is black, where the authors' program has grey.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

__all__ = ["CHANGES", "changed"]

REACH = 8
"""A translation is at most a side divided by this, as in the paper."""
HOLE = 2
"""A hole has a side of the picture's divided by this, as in the paper."""


def _colour(x: Tensor, generator: Generator) -> Tensor:
    """Each picture brighter or darker by up to a quarter of the range; its colours and its contrast stronger or weaker."""
    u = torch.rand(3, len(x), 1, 1, 1, generator=generator, device=x.device, dtype=x.dtype)
    x = x + (u[0] - 0.5)
    grey = x.mean(1, keepdim=True)
    x = grey + 2 * u[1] * (x - grey)
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (0.5 + u[2]) * (x - mean)


def _translation(x: Tensor, generator: Generator) -> Tensor:
    """Each picture moved by its own whole number of pixels each way; what comes in is black."""
    n, _, height, width = x.shape
    reach = [max(1, round(side / REACH)) for side in (height, width)]
    padded = F.pad(x, (reach[1], reach[1], reach[0], reach[0]), value=-1.0)
    rows, columns = (
        torch.arange(side, device=x.device)
        + torch.randint(0, 2 * most + 1, (n, 1), generator=generator, device=x.device)
        for side, most in zip((height, width), reach, strict=True)
    )
    datum = torch.arange(n, device=x.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[datum, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _hole(x: Tensor, generator: Generator) -> Tensor:
    """A square of each picture, anywhere and so also partly outside, made grey."""
    n, _, height, width = x.shape
    inside = [
        _within(torch.arange(side, device=x.device) - _centres(n, side, generator, x.device), side)
        for side in (height, width)
    ]
    hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return x.masked_fill(hole, 0.0)


def _within(difference: Tensor, side: int) -> Tensor:
    """Places of a hole by their difference from its centre: an even number of them has one more before it than behind."""
    return (-side <= 2 * HOLE * difference) & (2 * HOLE * difference < side)


def _centres(n: int, side: int, generator: Generator, device: torch.device) -> Tensor:
    return torch.randint(0, side, (n, 1), generator=generator, device=device)


CHANGES: Mapping[str, Callable[[Tensor, Generator], Tensor]] = {
    "colour": _colour,
    "translation": _translation,
    "hole": _hole,
}
"""By the name that the option ``changes`` takes."""


def changed(x: Tensor, names: Sequence[str], generator: Generator) -> Tensor:
    """The pictures ``(N, C, H, W)`` on [-1, 1] with these changes, in order."""
    for name in names:
        x = CHANGES[name](x, generator)
    return x
