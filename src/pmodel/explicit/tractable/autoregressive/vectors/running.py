r"""The activations of NADE for all entries at once, without computing anything that does not change.

.. math:: a_i = a_1 + \sum_{j < i} c_j W_j, \qquad y_i = V_i f(a_i)

differs from one entry to the next only where the code :math:`c_j` is not zero: in a picture of a digit, after one pixel in
eight. So f is evaluated for these *states* alone. Entries are taken in blocks of S. The states at the beginnings of blocks are
cumulative sums over blocks; those within block k come from one product of the block's codes, up to each, with its weights; and
one product of all its states with its output weights answers every entry, which takes the row of the last state before it. All
is products of matrices, D/S of each, and states fit into the cache of a processor. Where every code changes the state, such as
with reals, the same is done in smaller blocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["running"]

BLOCK = 28
"""Entries in a block, where an entry has one number."""


def running(
    codes: Tensor, a: Tensor, w: Tensor, v: Tensor, activation: Callable[[Tensor], Tensor], block: int | None = None
) -> Tensor:
    """The numbers y of all entries, ``(N, D, P)``.

    Args:
        codes: ``(N, D, Q)``.
        a: The activation before the first entry, ``(N, H)``.
        w: ``(D, Q, H)``.
        v: ``(D, P, H)``.
        activation: The function f, from any number of states ``(…, H)``.
        block: Entries S of a block; None takes more where entries have fewer numbers.
    """
    (n, entries, q), p = codes.shape, v.shape[1]
    size = min(entries, block or max(1, round(BLOCK / math.sqrt(p))))
    blocks = -(-entries // size)
    spare = blocks * size - entries
    codes = F.pad(codes, (0, 0, 0, spare)).reshape(n, blocks, size * q).transpose(0, 1)
    w = F.pad(w, (0, 0, 0, 0, 0, spare)).reshape(blocks, size * q, a.shape[1])
    v = F.pad(v, (0, 0, 0, 0, 0, spare)).reshape(blocks, size * p, a.shape[1])
    earlier = torch.ones(blocks, blocks, dtype=a.dtype, device=a.device).tril(-1)  # a product sums faster than cumsum
    starts = a + (earlier @ torch.bmm(codes, w).flatten(1)).reshape(blocks, *a.shape)
    parts = zip(*(t.unbind(0) for t in (codes, starts, w, v)), strict=True)
    y = [_of_block(code.reshape(n, size, q), start, w_k, v_k, activation) for code, start, w_k, v_k in parts]
    return torch.cat(y, 1)[:, :entries]


def _of_block(codes: Tensor, start: Tensor, w: Tensor, v: Tensor, activation: Callable[[Tensor], Tensor]) -> Tensor:
    """The numbers ``(N, S, P)`` of a block's entries from its codes ``(N, S, Q)`` and the states ``(N, H)`` at its start."""
    (n, size, q), p = codes.shape, v.shape[0] // codes.shape[1]
    every = torch.arange(n, device=codes.device)
    changes = codes[..., 0] != 0 if q == 1 else (codes != 0).any(2)
    changes[:, -1] = False  # that one changes the start of the next block
    count, (rows, at) = changes.sum(1), changes.nonzero().unbind(1)
    upto = torch.ones(size, size, dtype=codes.dtype, device=codes.device).tril().repeat_interleave(q, 1)
    inside = codes.flatten(1).index_select(0, rows) * upto.index_select(0, at)
    states = start.index_select(0, torch.cat([every, rows]))  # those at the start, then those after each change
    states = states.addmm(torch.cat([inside.new_zeros(n, size * q), inside]), w)
    answers = (activation(states) @ v.T).reshape(-1, p)
    # the state of an entry: after the last change of its datum before it, or at the start
    before = changes.cumsum(1) - changes.long()
    after = n - 1 + (count.cumsum(0) - count).unsqueeze(1) + before
    state = torch.where(before > 0, after, every.unsqueeze(1))
    wanted = state * size + torch.arange(size, device=codes.device)
    return answers.index_select(0, wanted.flatten()).reshape(n, size, p)
