r"""The diffusion transformer (Peebles & Xie 2023, https://arxiv.org/abs/2212.09748): squares of a picture are its tokens.

A block adds to its tokens h, told c of the time and the label,

.. math::

    h &\leftarrow h + g_1(c) \odot \mathrm{attention}\bigl((1 + \gamma_1(c)) \odot \mathrm{norm}(h) + \beta_1(c)\bigr)

    h &\leftarrow h + g_2(c) \odot \mathrm{perceptron}\bigl((1 + \gamma_2(c)) \odot \mathrm{norm}(h) + \beta_2(c)\bigr),

where all of g, gamma and beta are one linear map of c that starts at zero (adaLN-zero): so every block starts as the identity.
Where a token is, waves say that are added at the start.
"""

from __future__ import annotations

import math
from typing import cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ....errors import BadInput
from ....nn.conditioning import Conditioning

__all__ = ["Transformer", "places"]

SLOWEST = 10_000.0
"""Between the fastest wave of a place and the slowest (Vaswani et al. 2017)."""


def places(rows: int, columns: int, width: int) -> Tensor:
    """Waves of the row and of the column of each place, ``(rows · columns, width)``; the width is a multiple of four."""
    rates = torch.exp(-math.log(SLOWEST) * torch.arange(width // 4) / (width // 4))
    axes = torch.meshgrid(torch.arange(float(rows)), torch.arange(float(columns)), indexing="ij")
    angles = [axis.reshape(-1, 1) * rates for axis in axes]
    return torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], 1)


@final
class Transformer(nn.Module):
    """A transformer over squares of a picture of any size; what the last ones lack is filled up with zeros.

    Args:
        shape: Of a picture, ``(C, H, W)``.
        labels: How many classes; 0 for no labels.
        width: Features of a token, a multiple of four and of ``heads``.
        layers: Blocks.
        patch: The side of a square.
        heads: Of the attention.
        told: Features of time and label.
        dropout: The part of the features within a perceptron that training leaves out.
        answers: How many numbers it answers for each entry.

    Raises:
        BadInput: if the width is no such multiple.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        labels: int,
        *,
        width: int,
        layers: int,
        patch: int,
        heads: int,
        told: int,
        dropout: float = 0.0,
        answers: int = 1,
    ) -> None:
        super().__init__()
        if width % 4 or width % heads:
            raise BadInput(
                "The tokens' features, twice the channels, must be a multiple of four and of the heads.",
                got=f"{width} features, {heads} heads",
                hint="channels=64 heads=4",
            )
        colours, *sides = shape
        self.patch = patch
        rows, columns = (math.ceil(side / patch) for side in sides)
        self.conditioning = Conditioning(labels, told)
        self.first = nn.Linear(colours * patch**2, width)
        self.register_buffer("places", places(rows, columns, width))
        self.blocks = nn.ModuleList(_Block(width, heads, told, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.told = _zero(nn.Linear(told, 2 * width))
        self.last = _zero(nn.Linear(width, answers * colours * patch**2))

    def forward(self, x: Tensor, t: Tensor, given: Tensor | None = None) -> Tensor:
        """``(N, answers · C, H, W)`` from noisy pictures ``(N, C, H, W)``, times and labels."""
        height, width = x.shape[2:]
        told = self.conditioning(t, given)
        padded = F.pad(x, (0, -width % self.patch, 0, -height % self.patch))
        h = self.first(F.unfold(padded, self.patch, stride=self.patch).transpose(1, 2)) + self.places
        for block in self.blocks:
            h = block(h, told)
        scale, shift = self.told(told).unsqueeze(1).chunk(2, -1)
        squares = self.last((1 + scale) * self.norm(h) + shift).transpose(1, 2)
        whole: Tensor = F.fold(squares, padded.shape[2:], self.patch, stride=self.patch)
        return whole[..., :height, :width]


def _zero(linear: nn.Linear) -> nn.Linear:
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


class _Block(nn.Module):
    """The block of the module's docstring."""

    def __init__(self, width: int, heads: int, told: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.told = _zero(nn.Linear(told, 6 * width))
        self.inward, self.outward = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.perceptron = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Dropout(dropout), nn.Linear(4 * width, width)
        )

    def forward(self, h: Tensor, told: Tensor) -> Tensor:
        scale_1, shift_1, gate_1, scale_2, shift_2, gate_2 = self.told(told).unsqueeze(1).chunk(6, -1)
        h = h + gate_1 * self._attention((1 + scale_1) * self.norm(h) + shift_1)
        return cast(Tensor, h + gate_2 * self.perceptron((1 + scale_2) * self.norm(h) + shift_2))

    def _attention(self, h: Tensor) -> Tensor:
        shape = (len(h), h.shape[1], self.heads, h.shape[2] // self.heads)
        q, k, v = (part.reshape(shape).transpose(1, 2) for part in self.inward(h).chunk(3, -1))
        found = F.scaled_dot_product_attention(q, k, v)
        return cast(Tensor, self.outward(found.transpose(1, 2).reshape(h.shape)))
