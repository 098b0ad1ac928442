r"""A long short-term memory that runs over a picture line by line, all entries of a line at once.

A *line* is a row of the picture, or a diagonal: entries whose states do not depend on each other. With :math:`a_k` what the
input says to entry k, the states of a line follow from those of the line before (van den Oord et al. 2016, eq. 3):

.. math::

    (o, f, i, g)_k &= a_k + \sum_\tau W_\tau\, h_{k + \tau}^{\text{before}}, \qquad
    (\mathbf{o}, \mathbf{f}, \mathbf{i}, \mathbf{g}) = (\sigma(o), \sigma(f), \sigma(i), \tanh(g))

    c_k &= \mathbf{f}_k \odot c_k^{\text{before}} + \mathbf{i}_k \odot \mathbf{g}_k, \qquad
    h_k = \mathbf{o}_k \odot \tanh(c_k)

where states beyond the ends of a line, and before the first line, are zero. A Row LSTM takes :math:`\tau = -1, 0, 1` with k the
column; a Diagonal LSTM :math:`\tau = 0, -1` with k the row, since the pixels to the left of a diagonal and above it are the
diagonal before. A diagonal has only the entries that are in the picture: skewing a picture into a rectangle, as the paper does,
computes about twice as many.

*The gradient* is written out. With :math:`\bar{x}` the gradient by x, going backwards,

.. math::

    \bar{c}_k \mathrel{+}= \bar{h}_k \odot \mathbf{o}_k \odot (1 - \tanh^2 c_k), \qquad
    \bar{a}_k = (\bar{h}_k \odot \tanh c_k,\ \bar{c}_k \odot c_k^{\text{before}},\ \bar{c}_k \odot \mathbf{g}_k,
    \ \bar{c}_k \odot \mathbf{i}_k) \odot (\mathbf{o}', \mathbf{f}', \mathbf{i}', \mathbf{g}')_k

    \bar{c}_k^{\text{before}} \mathrel{+}= \bar{c}_k \odot \mathbf{f}_k, \qquad
    \bar{h}_{k + \tau}^{\text{before}} \mathrel{+}= W_\tau^T \bar{a}_k .

All factors that need no state from later lines are computed at once for the whole picture, and so is the gradient by W: only
six operations are left for each line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast, final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["Line", "cell", "diagonal_order", "diagonals", "lines", "recur", "rows"]


@final
@dataclass(frozen=True)
class Line:
    """Entries start … stop - 1, and from where in the line before they take states.

    Args:
        start: The first entry.
        stop: Behind the last.
        taps: For each tap three numbers: how many entries have a state there, the first of them, and that state's entry.
        carried: The same for c.
    """

    start: int
    stop: int
    taps: tuple[tuple[int, int, int], ...]
    carried: tuple[int, int, int]


def lines(spans: Sequence[tuple[int, int]], taps: Sequence[int]) -> tuple[Line, ...]:
    """The lines of entries that are numbered line after line.

    Args:
        spans: For each line, the first coordinate k and that behind the last.
        taps: The offsets of the coordinate in the line before.
    """
    found, start, before = list[Line](), 0, (0, 0, 0)  # the first number, first and last coordinate of the line before
    for low, high in spans:
        read = [_overlap((start, low, high), before, offset) for offset in (*taps, 0)]
        found.append(Line(start, start + high - low, tuple(read[:-1]), read[-1]))
        start, before = start + high - low, (start, low, high)
    return tuple(found)


def _overlap(line: tuple[int, int, int], before: tuple[int, int, int], offset: int) -> tuple[int, int, int]:
    """How many coordinates k of a line have k + offset in the line before; the entries of the first k, and of k + offset."""
    low, high = max(line[1], before[1] - offset), min(line[2], before[2] - offset)
    return max(0, high - low), line[0] + low - line[1], before[0] + low + offset - before[1]


def rows(height: int, width: int, reach: int) -> tuple[Line, ...]:
    """The rows of a picture, each reading that above up to so far to both sides."""
    return lines([(0, width)] * height, range(-reach, reach + 1))


def diagonals(height: int, width: int) -> tuple[Line, ...]:
    """The diagonals i + j = 0, 1, … of a picture, each from its top; the taps are the pixel to the left, and that above."""
    return lines(_diagonal_spans(height, width), (0, -1))


def diagonal_order(height: int, width: int) -> list[int]:
    """The raster numbers of the pixels, diagonal after diagonal."""
    spans = enumerate(_diagonal_spans(height, width))
    return [i * width + d - i for d, (low, high) in spans for i in range(low, high)]


def _diagonal_spans(height: int, width: int) -> list[tuple[int, int]]:
    return [(max(0, d - width + 1), min(height, d + 1)) for d in range(height + width - 1)]


def cell(a: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
    """The states h and c ``(…, H)`` from what is said to the gates ``(…, 4 · H)``, and the state c before, if any."""
    o, f, i = a[..., : 3 * (a.shape[-1] // 4)].sigmoid().chunk(3, -1)
    new = i * a[..., 3 * (a.shape[-1] // 4) :].tanh()
    if c is not None:
        new = torch.addcmul(new, f, c)
    return o * new.tanh(), new


def recur(a: Tensor, weight: Tensor, over: Sequence[Line]) -> Tensor:
    """The states h ``(K, N, H)`` of all entries, with its gradient written out.

    Args:
        a: What the input says to the gates o, f, i and g of each entry, ``(K, N, 4 · H)``.
        weight: ``(taps · H, 4 · H)``.
        over: The lines.
    """
    return cast(Tensor, _Recurrence.apply(a, weight, over))  # type: ignore[no-untyped-call]


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, weight: Tensor, over: Sequence[Line]) -> Tensor:
        with torch.autocast(a.device.type, enabled=False):
            weight = weight.to(a.dtype)
            size = a.shape[2] // 4
            gates = a.detach().clone()
            h, c, t = (gates.new_empty(*a.shape[:2], size) for _ in range(3))
            told = gates.new_zeros(*a.shape[:2], len(weight))  # the states that each entry reads
            for line in over:
                _forward(line, gates, told, weight, h, c, t)
            ctx.save_for_backward(gates, told, weight, c, t)
            ctx.over = over
            return h

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        gates, told, weight, c, t = ctx.saved_tensors
        size, h_bar, c_bar = t.shape[2], grad.clone(), torch.zeros_like(t)
        carried, a_bar = _slopes(gates, c, t, ctx.over)
        for line in reversed(ctx.over):
            _backward(line, carried, gates[..., size : 2 * size], a_bar, weight, h_bar, c_bar)
        return a_bar, told.flatten(0, 1).T @ a_bar.flatten(0, 1), None


def _forward(line: Line, gates: Tensor, told: Tensor, weight: Tensor, h: Tensor, c: Tensor, t: Tensor) -> None:
    """The states of a line."""
    size, here = h.shape[2], slice(line.start, line.stop)
    a, c_now, t_now = gates[here], c[here], t[here]
    for number, (count, at, source) in enumerate(line.taps):
        if count:
            told[at : at + count, :, number * size : (number + 1) * size] = h[source : source + count]
    a.view(-1, 4 * size).addmm_(told[here].view(-1, len(weight)), weight)
    a[..., : 3 * size].sigmoid_()
    a[..., 3 * size :].tanh_()
    o, f, i, g = a.chunk(4, 2)
    torch.mul(i, g, out=c_now)
    count, at, source = line.carried
    if count:
        c[at : at + count].addcmul_(f[at - line.start : at - line.start + count], c[source : source + count])
    torch.tanh(c_now, out=t_now)
    torch.mul(o, t_now, out=h[here])


def _slopes(gates: Tensor, c: Tensor, t: Tensor, over: Sequence[Line]) -> tuple[Tensor, Tensor]:
    """What h̄ is multiplied by on its way to c̄; and what h̄ (for o) and c̄ (for the others) are on their way to ā."""
    size = c.shape[2]
    slopes = torch.empty_like(gates)
    s, (o, _, i, g) = gates[..., : 3 * size], gates.chunk(4, 2)
    torch.addcmul(s, s, s, value=-1, out=slopes[..., : 3 * size])
    o_bar, f_bar, i_bar, g_bar = slopes.chunk(4, 2)
    o_bar.mul_(t)
    i_bar.mul_(g)
    torch.mul(g, g, out=g_bar).neg_().add_(1).mul_(i)
    for line in over:
        count, at, source = line.carried
        f_bar[line.start : at].zero_()
        f_bar[at : at + count].mul_(c[source : source + count])
        f_bar[at + count : line.stop].zero_()
    return torch.addcmul(o, o * t, t, value=-1), slopes


def _backward(
    line: Line, carried: Tensor, f: Tensor, a_bar: Tensor, weight: Tensor, h_bar: Tensor, c_bar: Tensor
) -> None:
    """The gradients by what is said to a line and by the states before it; those by its own states are whole."""
    size, here = h_bar.shape[2], slice(line.start, line.stop)
    h_now, c_now, a_now = h_bar[here], c_bar[here], a_bar[here]
    c_now.addcmul_(h_now, carried[here])
    a_now[..., :size].mul_(h_now)
    a_now[..., size:].view(*c_now.shape[:2], 3, size).mul_(c_now.unsqueeze(2))
    count, at, source = line.carried
    if count:
        c_bar[source : source + count].addcmul_(c_bar[at : at + count], f[at : at + count])
    if any(count for count, _, _ in line.taps):
        told_bar = (a_now.view(-1, 4 * size) @ weight.T).view(len(h_now), -1, len(weight))
        for number, (count, at, source) in enumerate(line.taps):
            if count:
                part = told_bar[at - line.start : at - line.start + count, :, number * size : (number + 1) * size]
                h_bar[source : source + count] += part
