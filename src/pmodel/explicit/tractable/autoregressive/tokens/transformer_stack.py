r"""A causal transformer over vectors: what reads a sequence of tokens, whatever they stand for.

With the residual stream :math:`h \in \mathbb{R}^{T \times W}` each of the L blocks adds what the position looks up in earlier
ones, and then what it makes of it (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762),

.. math::

    h &\leftarrow h + O \, \mathrm{softmax}\!\left(\frac{Q K^T}{\sqrt{d}} + M\right) V,
        \qquad (Q, K, V) = (R A_q, R A_k, A_v) \, \mathrm{norm}(h) \\
    h &\leftarrow h + D \left[ \mathrm{silu}(G \, \mathrm{norm}(h)) \odot U \, \mathrm{norm}(h) \right]

where the mask M is 0 at the position and before it and minus infinity after it; norm brings the entries of a
position to mean 0 and variance 1, times a learned weight; the rotation R turns pairs of entries of queries and keys by angles
that grow with the position, so that their product knows the distance (Su et al. 2021, https://arxiv.org/abs/2104.09864); and
the gated layer is SwiGLU (Shazeer 2020, https://arxiv.org/abs/2002.05202).

Keys and values of a position never change once it has been read. A ``Cache`` keeps them, so that a sequence can be read in
pieces: first a prefix of any length at once, then one position after another. The pieces give what the whole would give.
"""

from __future__ import annotations

from typing import cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Cache", "Stack"]

LONGEST_WAVE = 10_000.0
"""The slowest rotation turns once in about 2 pi times so many positions."""


@final
class Cache:
    """Keys and values of what a stack has read, of every layer.

    Args:
        stack: Which reads.
        n: Sequences.
        length: The most positions.
    """

    def __init__(self, stack: Stack, n: int, length: int) -> None:
        like = stack.norm.weight
        shape = (len(stack.blocks), n, stack.heads, length, stack.width // stack.heads)
        self.keys, self.values = like.new_zeros(shape), like.new_zeros(shape)
        self.read = 0

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Keep the keys and values ``(N, heads, T, d)`` of the next T positions; answers with those of all so far."""
        end = self.read + k.shape[2]
        self.keys[layer, :, :, self.read : end] = k
        self.values[layer, :, :, self.read : end] = v
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def select(self, rows: Tensor) -> None:
        """Go on with these sequences: row n becomes what row ``rows[n]`` was."""
        self.keys, self.values = self.keys[:, rows], self.values[:, rows]


class Block(nn.Module):
    """Attention to earlier positions, and a gated layer.

    Args:
        width: W of the residual stream.
        heads: Into which W is split.
        dropout: Probability with which an entry of what a part adds is set to zero in training.
        depth: How many parts add to the stream in all: their first weights are smaller by its root.
    """

    def __init__(self, width: int, heads: int, dropout: float, depth: int) -> None:
        super().__init__()
        self.heads = heads
        hidden = -(-8 * width // 24) * 8
        self.before, self.between = nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)
        self.look = nn.Linear(width, 3 * width, bias=False)
        self.told = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)
        self.dropout = nn.Dropout(dropout)
        for linear in (self.look, self.up, self.told, self.down):
            scale = depth**-0.5 if linear in (self.told, self.down) else 1.0
            nn.init.normal_(linear.weight, std=scale * linear.in_features**-0.5)

    def forward(self, h: Tensor, turn: tuple[Tensor, Tensor] | None, layer: int, cache: Cache | None) -> Tensor:
        """The stream ``(N, T, W)`` after this block."""
        h = h + cast(Tensor, self.dropout(self.told(self._looked_up(self.before(h), turn, layer, cache))))
        gate, value = self.up(self.between(h)).chunk(2, -1)
        return h + cast(Tensor, self.dropout(self.down(F.silu(gate) * value)))

    def _looked_up(self, h: Tensor, turn: tuple[Tensor, Tensor] | None, layer: int, cache: Cache | None) -> Tensor:
        n, length, width = h.shape
        q, k, v = self.look(h).reshape(n, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        if turn is not None:
            q, k = _rotated(q, turn), _rotated(k, turn)
        mask, before = None, 0
        if cache is not None:
            before = cache.read
            k, v = cache.extend(layer, k, v)
        if before and length > 1:  # a piece behind others: each position sees those, and its own piece up to itself
            mask = torch.ones(length, before + length, dtype=torch.bool, device=h.device).tril(before)
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=not before and length > 1)
        return found.transpose(1, 2).reshape(n, length, width)


class Stack(nn.Module):
    """Blocks one after the other, and a last norm: features of each position, from it and the earlier ones.

    What a position holds is the caller's: embedded tokens, a label, or the codes of a text or picture that stand before the
    rest as a prefix.

    Args:
        layers: Blocks L.
        width: W of the stream, a multiple of ``2 * heads``.
        heads: Of the attention.
        dropout: Probability with which an entry of what a part adds is set to zero in training.
        rotary: Whether queries and keys are turned by their positions; else the caller tells places.
    """

    def __init__(self, layers: int, width: int, heads: int, dropout: float = 0.0, *, rotary: bool = True) -> None:
        super().__init__()
        self.width, self.heads, self.rotary = width, heads, rotary
        self.blocks = nn.ModuleList(Block(width, heads, dropout, 2 * layers) for _ in range(layers))
        self.norm = nn.LayerNorm(width, bias=False)

    def forward(self, h: Tensor, cache: Cache | None = None) -> Tensor:
        """Features ``(N, T, W)`` of the positions ``(N, T, W)``: of a whole sequence, or of what follows a cache's."""
        first = 0 if cache is None else cache.read
        turn = self._turn(first, h.shape[1]) if self.rotary else None
        for layer, block in enumerate(self.blocks):
            h = block(h, turn, layer, cache)
        if cache is not None:
            cache.read += h.shape[1]
        return cast(Tensor, self.norm(h))

    def _turn(self, first: int, length: int) -> tuple[Tensor, Tensor]:
        """Cosine and sine of the angles ``(T, d / 2)`` of these positions."""
        like, half = self.norm.weight, self.width // self.heads // 2
        rates = LONGEST_WAVE ** (torch.arange(half, device=like.device, dtype=torch.float64) / -half)
        angles = torch.arange(first, first + length, device=like.device, dtype=torch.float64).unsqueeze(1) * rates
        return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


def _rotated(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Vectors ``(N, heads, T, d)`` with the pairs of their two halves turned."""
    a, b = x.chunk(2, -1)
    cos, sin = (part.to(x.dtype) for part in turn)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)
