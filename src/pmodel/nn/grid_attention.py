r"""Self-attention on a grid of tokens, within windows that do not overlap (Jiang et al. 2021, https://arxiv.org/abs/2102.07074).

Let a window hold T tokens, token i in row :math:`r_i` and column :math:`c_i`, with queries, keys and values of d numbers.
Each head answers

.. math:: \mathrm{softmax}\!\left(\frac{Q K^\top}{\sqrt d} + E\right) V, \qquad E_{ij} = b_{r_i - r_j,\; c_i - c_j},

with one learned b for each difference of places that a window allows (as Raffel et al. 2020 and, in two dimensions, Liu et
al. 2021; the vectors of Shaw et al. 2018 as numbers). Attention over all of a grid is that of one window as large as the
grid. On a grid of S tokens all windows together hold S T weights, where the whole has S².

A block adds attention, and then a perceptron of each token, to what it was given, both behind the norm
:math:`h / \sqrt{\mathrm{mean}(h^2)}` over a token's features (Karras et al. 2018), which has nothing to learn.

A penalty on slopes differentiates attention twice, which fused kernels cannot be. There the formula is computed step by step,
and without a GPU everywhere: given E, the kernel for processors is slower than the formula. Those for a GPU do not hold
the weights where one fits the sizes.
"""

from __future__ import annotations

from typing import cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import BadInput

__all__ = [
    "Block",
    "GridAttention",
    "Stage",
    "attention",
    "by_difference",
    "cut",
    "joined",
    "learned",
    "normed",
    "perceptron",
    "split",
]

EXPANSION = 4
"""Hidden units of a perceptron, for each feature of a token."""
EPSILON = 1e-8
"""Added to a token's mean square, as in the paper."""
SLOPE = 0.2
"""Of leaky rectifiers."""
FAINT = 0.02
"""Standard deviation of learned vectors at the start, as in the authors' program."""

Size = tuple[int, int]
"""Rows and columns."""


def normed(h: Tensor) -> Tensor:
    """Tokens ``(..., F)`` with a mean square of one over their features."""
    return h * torch.rsqrt(h.square().mean(-1, keepdim=True) + EPSILON)


def attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None, *, twice: bool = False) -> Tensor:
    """What queries ``(N, heads, T, d)`` find among keys and values ``(N, heads, S, d)``: ``(N, heads, T, d)``.

    Args:
        q: Queries.
        k: Keys.
        v: Values.
        bias: Added to the scaled products, ``(heads, T, S)``.
        twice: Whether gradients of gradients may be wanted.
    """
    if q.is_cuda and not (twice and torch.is_grad_enabled()):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    products = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    return cast(Tensor, (products if bias is None else products.add_(bias)).softmax(-1) @ v)


def cut(h: Tensor, window: Size) -> Tensor:
    """A grid of tokens ``(N, R, C, F)`` as windows ``(N · windows, T, F)``, row by row as are the tokens of each."""
    n, rows, columns, features = h.shape
    tiles = h.reshape(n, rows // window[0], window[0], columns // window[1], window[1], features)
    return tiles.transpose(2, 3).reshape(-1, window[0] * window[1], features)


def joined(tokens: Tensor, grid: Size, window: Size) -> Tensor:
    """The grid ``(N, R, C, F)`` from its windows: the inverse of ``cut``."""
    tiles = tokens.reshape(-1, grid[0] // window[0], grid[1] // window[1], *window, tokens.shape[-1])
    return tiles.transpose(2, 3).reshape(-1, *grid, tokens.shape[-1])


def by_difference(b: Tensor) -> Tensor:
    """A number for each pair of tokens of a window by the difference of their places, E of the module's docstring.

    Args:
        b: ``(heads, 2R - 1, 2C - 1)``, the differences of rows and of columns from 1 - R and 1 - C on.

    Returns:
        E, ``(heads, T, T)`` with T = R · C.
    """
    heads, rows, columns = b.shape[0], (b.shape[1] + 1) // 2, (b.shape[2] + 1) // 2
    pairs = b.unfold(1, rows, 1).unfold(2, columns, 1).flip(3, 4)  # b[r + (R - 1 - r'), c + (C - 1 - c')]
    return pairs.reshape(heads, rows * columns, rows * columns)


def split(h: Tensor, heads: int, parts: int) -> tuple[Tensor, ...]:
    """From ``(N, T, parts · F)`` to as many tensors ``(N, heads, T, F / heads)``."""
    beside = h.reshape(*h.shape[:2], parts, heads, h.shape[2] // (parts * heads))
    return beside.permute(2, 0, 3, 1, 4).unbind(0)


def learned(*shape: int) -> nn.Parameter:
    """Vectors that are added to tokens, or stand for one, at their start."""
    return nn.Parameter(nn.init.normal_(torch.empty(shape), std=FAINT))


@final
class GridAttention(nn.Module):
    """Self-attention of the tokens of a window, by their features and their places.

    Args:
        features: Of a token, a multiple of the heads.
        heads: Attentions beside each other.
        window: Its rows and columns.
        twice: Whether gradients of gradients may be wanted.

    Raises:
        BadInput: if the features are no multiple of the heads.
    """

    def __init__(self, features: int, heads: int, window: Size, *, twice: bool = False) -> None:
        super().__init__()
        _require_divided(features, heads)
        self.heads, self.twice = heads, twice
        self.inward, self.outward = nn.Linear(features, 3 * features, bias=False), nn.Linear(features, features)
        size = tuple(2 * side - 1 for side in window)
        self.bias = nn.Parameter(torch.zeros(heads, *size)) if max(window) > 1 else None  # a token alone sees itself

    def forward(self, h: Tensor) -> Tensor:
        """From and to windows ``(M, T, F)``."""
        q, k, v = split(self.inward(h), self.heads, 3)
        bias = None if self.bias is None else by_difference(self.bias).to(q.dtype)
        found = attention(q, k, v, bias, twice=self.twice)
        return cast(Tensor, self.outward(found.transpose(1, 2).flatten(2)))


def perceptron(features: int, *, twice: bool) -> nn.Sequential:
    """One hidden layer; of leaky rectifiers, which cost nothing where they are differentiated twice, or else of GELU."""
    bend: nn.Module = nn.LeakyReLU(SLOPE) if twice else nn.GELU()
    return nn.Sequential(nn.Linear(features, EXPANSION * features), bend, nn.Linear(EXPANSION * features, features))


@final
class Block(nn.Module):
    """Attention within a window, and a perceptron of each token; the arguments are those of ``GridAttention``."""

    def __init__(self, features: int, heads: int, window: Size, *, twice: bool = False) -> None:
        super().__init__()
        self.attention = GridAttention(features, heads, window, twice=twice)
        self.perceptron = perceptron(features, twice=twice)

    def forward(self, h: Tensor) -> Tensor:
        """From and to windows ``(M, T, F)``."""
        h = h + self.attention(normed(h))
        return cast(Tensor, h + self.perceptron(normed(h)))


@final
class Stage(nn.Module):
    """Blocks on a grid of tokens, each of which has a learned vector of its place added at first.

    Args:
        grid: Its rows and columns.
        window: Rows and columns of a window, which divide those of the grid.
        features: Of a token.
        heads: Of the attention.
        depth: Blocks.
        twice: Whether gradients of gradients may be wanted.

    Raises:
        BadInput: if the windows do not fill the grid, or the heads do not divide the features.
    """

    def __init__(self, grid: Size, window: Size, features: int, heads: int, depth: int, *, twice: bool = False) -> None:
        super().__init__()
        if grid[0] % window[0] or grid[1] % window[1]:
            raise BadInput("The sides of a window divide those of the grid.", got=f"window {window}, grid {grid}")
        _require_divided(features, heads)
        self.grid, self.window, self.features, self.heads = grid, window, features, heads
        self.places = learned(*grid, features)
        self.blocks = nn.Sequential(*(Block(features, heads, window, twice=twice) for _ in range(depth)))

    def forward(self, h: Tensor) -> Tensor:
        """From and to a grid ``(N, R, C, F)``."""
        return joined(self.blocks(cut(h + self.places, self.window)), self.grid, self.window)

    def entries(self, *, full: bool = False) -> int:
        """Attention weights of all blocks and heads for one picture; ``full`` for those of attention without windows."""
        tokens = self.grid[0] * self.grid[1]
        seen = tokens if full else self.window[0] * self.window[1]
        return len(self.blocks) * self.heads * tokens * seen


def _require_divided(features: int, heads: int) -> None:
    if features % heads:
        words = "Features of a token (width, discriminator_width) are a multiple of heads."
        raise BadInput(words, got=f"{features} features, {heads} heads")
