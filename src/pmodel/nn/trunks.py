r"""The networks of the autoencoders: convolutions on the side of the picture, perceptrons on the side of the code.

A trunk maps a datum to features, and features back to the datum; sides that do not halve evenly are rounded up on the way in
and cut on the way out, so that pictures of any size keep it. Outputs have ``heads`` numbers for each entry, on the last axis.

``broadcast`` is another way from features to a picture (Watters et al. 2019, https://arxiv.org/abs/1901.07017): every pixel is
told all features and where it lies, and one perceptron of rectified units paints them all,

.. math:: x_{uv} = V \max(0, b + W \max(0, A z + B (u, v))).

A rectified unit bends along a plane in z, u and v together. Edges that move in proportion to z are such planes, so that places
and sizes that stand *linearly* in a code cost few units, and a bent code costs many: convolutions have no such reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..domain import Domain
from ..errors import BadInput
from .transposed import TransposedConvolution

__all__ = ["DEPTH", "Architecture", "ResidualBlock", "Trunk", "architecture_for", "deep", "perceptron", "trunk"]

Architecture = Literal["dense", "conv", "residual", "broadcast"]

DEPTH = {"dense": 2, "conv": 0, "residual": 1, "broadcast": 0}
"""Hidden layers of each architecture's perceptrons."""

PICTURE = 7
"""Pictures are halved until neither side is longer than this."""
STEEPNESS = 3.0
"""How steeply the broadcast features vary with the place at the start: their bends lie all over the picture."""


class Trunk(NamedTuple):
    """The picture's side of encoder and decoder.

    Args:
        inward: From a batch ``(N, *shape)`` to features that can be reshaped to ``(N, *seen)``.
        seen: The shape of the encoder's features.
        state: The shape of the features that ``outward`` takes.
        outward: From ``(N, *state)`` to ``(N, *shape, heads)``.
    """

    inward: nn.Module
    seen: tuple[int, ...]
    state: tuple[int, ...]
    outward: nn.Module


def architecture_for(name: str, domain: Domain) -> Architecture:
    """The architecture of that name; ``auto`` is residual for pictures and dense for all else.

    Raises:
        BadInput: if there is none, or it is one for pictures and the data are none.
    """
    if name not in ("auto", *DEPTH):
        raise BadInput("architecture is auto, dense, conv, residual or broadcast.", got=name)
    if name == "auto":
        return "residual" if domain.image else "dense"
    if name != "dense" and len(domain.shape) != 3:
        raise BadInput(f"{name!r} needs pictures of shape (C, H, W).", got=domain.shape, hint="architecture=dense")
    return cast(Architecture, name)


def perceptron(
    inputs: int, hidden: Sequence[int], outputs: int, activation: type[nn.Module] = nn.GELU
) -> nn.Sequential:
    """Linear layers with activations between them; one linear map if there are no hidden layers."""
    sides = [inputs, *hidden]
    parts = [layer for a, b in zip(sides, hidden, strict=False) for layer in (nn.Linear(a, b), activation())]
    return nn.Sequential(*parts, nn.Linear(sides[-1], outputs))


class ResidualBlock(nn.Module):
    """x + conv(gelu(conv(gelu(x)))), the identity at the start."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(cast(Tensor, self.second.bias))

    def forward(self, x: Tensor) -> Tensor:
        """From and to ``(N, channels, H, W)``."""
        return x + cast(Tensor, self.second(F.gelu(self.first(F.gelu(x)))))


def trunk(architecture: Architecture, domain: Domain, channels: int, heads: int) -> Trunk:
    """The trunk of an architecture for data of a domain; all but ``dense`` need pictures."""
    if architecture == "dense":
        return Trunk(nn.Identity(), (domain.entries,), (domain.entries * heads,), _Heads(domain.shape, heads))
    build = _conv if architecture == "conv" else _residual
    colours, *size = domain.shape
    inward, corner, outward = build(colours, (size[0], size[1]), channels, heads)
    state: tuple[int, ...] = corner
    if architecture == "broadcast":
        state, outward = (2 * channels,), _Broadcast((size[0], size[1]), 2 * channels, colours * heads)
    return Trunk(inward, corner, state, nn.Sequential(outward, _Heads(domain.shape, heads)))


def deep(domain: Domain, hidden: Sequence[int], width: int, heads: int) -> Trunk:
    """A dense trunk with hidden layers and ``width`` features of its own on either side, for several layers of latents."""
    inward = nn.Sequential(_Flat(domain.entries), perceptron(domain.entries, hidden, width), nn.GELU())
    outward = nn.Sequential(nn.GELU(), perceptron(width, hidden, domain.entries * heads), _Heads(domain.shape, heads))
    return Trunk(inward, (width,), (width,), outward)


Built = tuple[nn.Module, tuple[int, int, int], nn.Module]
"""The encoder's convolutions, the shape of their answer, and the decoder's."""


def _conv(colours: int, size: tuple[int, int], channels: int, heads: int) -> Built:
    """Four 3×3 convolutions of strides 1, 2, 2, 1, and four transposed ones."""
    c, wide, half = channels, 2 * channels, _halved(size)
    halving = [nn.Conv2d(colours, c, 3, 1, 1), nn.Conv2d(c, wide, 3, 2, 1), nn.Conv2d(wide, wide, 3, 2, 1)]
    inward = nn.Sequential(*_rectified(*halving, nn.Conv2d(wide, wide, 3, 1, 1)))
    doubling = [TransposedConvolution(wide, wide, 3, 1, 1), _Doubled(wide, wide, 3, half), _Doubled(wide, c, 3, size)]
    outward = nn.Sequential(*_rectified(*doubling), TransposedConvolution(c, colours * heads, 3, 1, 1))
    return inward, (wide, *_halved(half)), outward


def _rectified(*layers: nn.Module) -> list[nn.Module]:
    """Each layer with a ReLU after it, in place: no convolution needs its own answer on the way back."""
    return [part for layer in layers for part in (layer, nn.ReLU(inplace=True))]


def _residual(colours: int, size: tuple[int, int], channels: int, heads: int) -> Built:
    """Strided convolutions until no side is above ``PICTURE``, and a residual block there."""
    sizes, widths = [size], [colours]
    while max(sizes[-1]) > PICTURE or len(sizes) == 1:
        sizes.append(_halved(sizes[-1]))
        widths.append(channels if len(widths) == 1 else 2 * channels)
    wide = widths[-1]
    inward, outward = nn.Sequential(), nn.Sequential(ResidualBlock(wide), nn.GELU())
    for inputs, outputs in pairwise(widths):
        inward.extend([nn.Conv2d(inputs, outputs, 3, 2, 1), nn.GELU()])
    for step in reversed(range(1, len(sizes) - 1)):
        outward.extend([_Doubled(widths[step + 1], widths[step], 4, sizes[step]), nn.GELU()])
    outward.append(_Doubled(widths[1], colours * heads, 4, size))
    inward.extend([ResidualBlock(wide), nn.GELU()])
    return inward, (wide, *sizes[-1]), outward


def _halved(size: tuple[int, int]) -> tuple[int, int]:
    return (size[0] + 1) // 2, (size[1] + 1) // 2


class _Flat(nn.Module):
    """From ``(N, *shape)`` to ``(N, entries)``, for a shape without axes too."""

    def __init__(self, entries: int) -> None:
        super().__init__()
        self.entries = entries

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(len(x), self.entries)


class _Doubled(nn.Module):
    """A transposed convolution that doubles each side, cut to the size that was halved."""

    def __init__(self, inputs: int, outputs: int, kernel: int, size: tuple[int, int]) -> None:
        super().__init__()
        padding = (kernel - 1) // 2
        self.convolution = TransposedConvolution(inputs, outputs, kernel, 2, padding, extra=kernel % 2)
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.convolution(x)
        return y if y.shape[2:] == self.size else y[..., : self.size[0], : self.size[1]]


class _Broadcast(nn.Module):
    """From features ``(N, C)`` to a picture: each pixel is told all of them, and where it lies on [-1, 1]²."""

    def __init__(self, size: tuple[int, int], features: int, outputs: int) -> None:
        super().__init__()
        sides = [(2 * torch.arange(side) + 1) / side - 1 for side in size]
        self.register_buffer("places", torch.stack(torch.meshgrid(*sides, indexing="ij"), -1))
        self.placed = nn.Linear(2, features, bias=False)
        nn.init.normal_(self.placed.weight, std=STEEPNESS)
        self.painter = nn.Sequential(nn.ReLU(), nn.Linear(features, features), nn.ReLU(), nn.Linear(features, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Pictures ``(N, outputs, H, W)``."""
        told = x[:, None, None] + self.placed(self.places)
        return cast(Tensor, self.painter(told)).movedim(-1, 1)


class _Heads(nn.Module):
    """From ``(N, C · heads, *sides)`` or flat features to ``(N, C, *sides, heads)``."""

    def __init__(self, shape: tuple[int, ...], heads: int) -> None:
        super().__init__()
        self.shape, self.heads = shape, heads

    def forward(self, x: Tensor) -> Tensor:
        if not self.shape:
            return x.reshape(len(x), self.heads)
        channels, *sides = self.shape
        return x.reshape(len(x), channels, self.heads, *sides).movedim(2, -1)
