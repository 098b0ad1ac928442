"""Players of strided convolutions without pooling (Radford et al. 2016, https://arxiv.org/abs/1511.06434).

A dense hidden layer at the smallest scale lets each see the whole picture: without it the logit of a shallow discriminator is a
sum of local verdicts, and samples have right strokes in wrong places. One more layer can stand in both at the scale next to the
smallest, or at the smallest where there is no other; not where that is one place alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..nn.transposed import TransposedConvolution
from .game.halvings import groups, halvings, widths
from .game.labels import Verdict

__all__ = ["Discriminator", "Generator"]

KERNEL = 5
"""Side of the discriminator's kernels, odd so that an odd side is rounded up when it is halved."""
SLOPE = 0.2
"""Of the leaky rectifiers."""

Layer = Callable[[int], nn.Module]
"""Makes a layer from and to pictures of so many channels."""


class Generator(nn.Module):
    """From z to a picture: a perceptron to the smallest sides, then doublings, the last one to the colours.

    Args:
        shape: Of pictures, ``(C, H, W)``.
        inputs: Entries of z.
        channels: Next to the picture; twice as many with each halving of its sides.
        width: Units of the dense layer.
        labels: Whose own scales and shifts normalised channels have, or 0.
        between: The layer at the scale next to the smallest, or None.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        inputs: int,
        channels: int,
        width: int,
        *,
        labels: int = 0,
        between: Layer | None = None,
    ) -> None:
        super().__init__()
        self.sizes = halvings(shape)
        channels_at = widths(self.sizes, channels)[::-1]
        self.corner = (channels_at[0], *self.sizes[-1])
        self.start = nn.Sequential(
            nn.Linear(inputs, width), nn.LeakyReLU(SLOPE), nn.Linear(width, math.prod(self.corner))
        )
        self.norms = nn.ModuleList(_Norm(c, labels) for c in channels_at)
        self.doublings = nn.ModuleList(
            TransposedConvolution(a, b, 4, 2, 1) for a, b in pairwise([*channels_at, shape[0]])
        )
        self.scale = _scale_between(self.sizes)
        self.between = between(channels_at[-self.scale]) if between and self.scale else nn.Identity()

    def forward(self, z: Tensor, given: Tensor | None) -> Tensor:
        """From ``(N, inputs)`` and labels ``(N,)`` or None to ``(N, C, H, W)`` on [-1, 1]."""
        h = self.start(z).unflatten(1, self.corner)
        for scale, norm, doubling in zip(range(len(self.norms), 0, -1), self.norms, self.doublings, strict=True):
            if scale == self.scale:
                h = self.between(h)
            rows, columns = self.sizes[scale - 1]
            h = doubling(F.leaky_relu(norm(h, given), SLOPE))[..., :rows, :columns]
        return torch.tanh(h)


class _Norm(nn.GroupNorm):
    """Group normalisation whose scales and shifts are the label's, where there are labels."""

    def __init__(self, channels: int, labels: int) -> None:
        super().__init__(groups(channels), channels, affine=not labels)
        self.told = nn.Embedding(labels, 2 * channels) if labels else None
        if self.told is not None:
            nn.init.normal_(self.told.weight, std=0.1)

    def forward(self, x: Tensor, given: Tensor | None = None) -> Tensor:
        normal = super().forward(x)
        if self.told is None:
            return normal
        scale, shift = self.told(given)[:, :, None, None].chunk(2, 1)
        return cast(Tensor, normal * (1 + scale) + shift)


class Discriminator(nn.Module):
    """From a picture and label to a logit.

    Args:
        shape: Of what is judged, ``(C, H, W)``.
        labels: How many are told by projection, or 0.
        channels: As the generator's.
        width: As the generator's.
        biased: Whether the loss sees a bias of the logit.
        between: The layer at the scale next to the smallest, or None.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        labels: int,
        channels: int,
        width: int,
        *,
        biased: bool,
        between: Layer | None = None,
    ) -> None:
        super().__init__()
        sizes = halvings(shape)
        channels_at = widths(sizes, channels)
        layers: list[nn.Module] = []
        for scale, (a, b) in enumerate(pairwise([shape[0], *channels_at]), start=1):
            layers += [nn.Conv2d(a, b, KERNEL, 2, KERNEL // 2), nn.LeakyReLU(SLOPE)]
            if between and scale == _scale_between(sizes):
                layers.append(between(b))
        flat = channels_at[-1] * math.prod(sizes[-1])
        self.features = nn.Sequential(*layers, nn.Flatten(), nn.Linear(flat, width), nn.LeakyReLU(SLOPE))
        self.verdict = Verdict(nn.Linear(width, 1, bias=biased), labels)

    def forward(self, x: Tensor, given: Tensor | None) -> Tensor:
        """From ``(N, C, H, W)`` and labels ``(N,)`` or None to ``(N,)``."""
        logits: Tensor = self.verdict(self.features(x), given)
        return logits


def _scale_between(sizes: list[tuple[int, int]]) -> int:
    """Which of the scales below the picture's, counted from 1, the layer between stands at; 0 where that is one place alone."""
    scale = max(1, len(sizes) - 2)
    return scale if max(sizes[scale]) > 1 else 0
