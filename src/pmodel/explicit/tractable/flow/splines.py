r"""Monotone rational-quadratic splines (Durkan et al. 2019, https://arxiv.org/abs/1906.04032, section 3.1).

Knots :math:`(x_k, y_k)` with slopes :math:`\delta_k` cut the box :math:`[-B, B]^2` into K bins of widths
:math:`w_k` and heights :math:`h_k`. In a bin, with :math:`\xi = (x - x_k) / w_k` and :math:`s = h_k / w_k`,

.. math::

    y = y_k + \frac{h_k \left(s \xi^2 + \delta_k \xi (1 - \xi)\right)}{s + (\delta_{k+1} + \delta_k - 2s)\,\xi(1 - \xi)},
    \qquad
    \frac{dy}{dx} = \frac{s^2 \left(\delta_{k+1} \xi^2 + 2 s \xi (1 - \xi) + \delta_k (1 - \xi)^2\right)}
    {\left(s + (\delta_{k+1} + \delta_k - 2s)\,\xi(1 - \xi)\right)^2},

and the inverse is the root of a quadratic equation. Outside the box the map is the identity, which it meets with slope one.

The 3K - 1 numbers that a network says of each entry are K logits of widths, K of heights, and the logarithms of the slopes at
the inner knots. All zero, they are the identity. Their axis comes *first*, so that every operation on bins runs along
contiguous memory, and only what belongs to the bin of x is computed further: that is where the speed comes from.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["MOST_BINS", "count", "forward", "inverse", "through"]

FLOOR = 1e-3
"""The least width and height of a bin as a part of the box, and the least slope at a knot (section A.2 of the paper)."""
STEEPEST = 5.0
"""The largest logarithm of a slope that a spline starts with: what comes near -log FLOOR no longer learns."""
MOST_BINS = 512
"""At most as many bins as leave half of the box above the floor."""


def count(bins: int) -> int:
    """How many numbers describe a spline."""
    return 3 * bins - 1


def forward(x: Tensor, raw: Tensor, box: Tensor) -> tuple[Tensor, Tensor]:
    """The spline and the logarithm of its slope.

    Args:
        x: Any shape.
        raw: ``(3K - 1, *shape of x)``, as described above.
        box: B, a scalar.
    """
    inside = x.clamp(-box, box)  # before the spline, not after: what is masked out later still spoils gradients
    within = inside == x
    y, ladj = cast(tuple[Tensor, Tensor], _Spline.apply(inside, raw, box))  # type: ignore[no-untyped-call]
    return torch.where(within, y, x), torch.where(within, ladj, 0.0)


def inverse(y: Tensor, raw: Tensor, box: Tensor) -> Tensor:
    """The x whose image is y, by the quadratic formula in the form that cancels nothing (equation 9 of the paper)."""
    inside = y.clamp(-box, box)
    bin_ = _Bin(inside, raw, box, by_height=True)
    s, up = bin_.h / bin_.w, inside - bin_.y_k
    flat = bin_.left + bin_.right - 2 * s
    a, b, c = bin_.h * (s - bin_.left) + up * flat, bin_.h * bin_.left - up * flat, -s * up
    xi = 2 * c / (-b - (b.square() - 4 * a * c).clamp_min(0).sqrt())
    return torch.where(inside == y, bin_.x_k + xi * bin_.w, y)


def through(x: Tensor, y: Tensor, box: Tensor) -> Tensor:
    """The numbers of a spline through given inner knots, whose slopes are the geometric means of their bins'.

    Args:
        x: The inner knots, ``(K - 1, D)``, rising along the first axis, within the box.
        y: Their images, in the same way.
        box: B, a scalar.

    Returns:
        ``(3K - 1, D)``. Bins that are narrower than the floor are widened.
    """
    ends = box.expand(1, x.shape[1])
    shares = torch.stack([torch.cat([-ends, knots, ends]).diff(dim=0) for knots in (x, y)]) / (2 * box)
    shares = shares.clamp_min(FLOOR)
    bins = shares.shape[1]
    free = 1 - bins * FLOOR
    logits = ((shares - FLOOR) / free).clamp_min(FLOOR / 10).log()
    steepness = (shares[1] / shares[0]).log().clamp(-STEEPEST, STEEPEST)
    log_slopes = (steepness[1:] + steepness[:-1]) / 2
    return torch.cat([logits[0], logits[1], log_slopes / (1 - log_slopes.abs() / -math.log(FLOOR))])


class _Bin:
    """The bin that x, or y, falls into: all that the formulas need of the spline.

    Shares of the box are ``FLOOR + (1 - K FLOOR) softmax(logits)``; a bin begins at the sum of the shares before it.

    Args:
        x: In the box.
        raw: Of the spline.
        box: B.
        by_height: Whether x is a y.
    """

    def __init__(self, x: Tensor, raw: Tensor, box: Tensor, *, by_height: bool = False) -> None:
        bins = (len(raw) + 1) // 3
        self.free = 1 - bins * FLOOR
        self.p = raw[: 2 * bins].reshape(2, bins, *x.shape).softmax(1)  # widths and heights at once
        self.before = _sums_before(self.p)
        floors = torch.arange(1, bins, device=x.device, dtype=x.dtype).mul_(FLOOR).reshape(-1, *[1] * x.ndim)
        u = (x + box) / (2 * box)
        self.reached = (self.before[int(by_height), 1:] * self.free + floors <= u).to(x.dtype)
        self.k = self.reached.sum(0).long()
        at = self.k.expand(2, 1, *x.shape)
        self.p_k, self.before_k = self.p.gather(1, at).squeeze(1), self.before.gather(1, at).squeeze(1)
        side = 2 * box
        self.x_k, self.y_k = side * (self.free * self.before_k + FLOOR * self.k.to(x.dtype)) - box
        self.w, self.h = side * (self.free * self.p_k + FLOOR)
        knots = torch.stack([self.k - 1, self.k])
        self.knots = knots.clamp(0, bins - 2)
        self.inner = (knots == self.knots).to(x.dtype)
        log_slopes = raw[2 * bins :].gather(0, self.knots) * self.inner
        self.soft = 1 / (1 + log_slopes.abs() / -math.log(FLOOR))
        self.left, self.right = self.slopes = (log_slopes * self.soft).exp()


def _sums_before(p: Tensor) -> Tensor:
    """The exclusive cumulative sum along axis 1, by a product with a triangular matrix: the axis is short."""
    ones = torch.ones(p.shape[1], p.shape[1], device=p.device, dtype=p.dtype).tril(-1)
    with torch.autocast(p.device.type, enabled=False):
        return (ones @ p.flatten(2)).reshape(p.shape)


class _Spline(torch.autograd.Function):
    """Autograd would go through some fifty small operations, and carry the derivatives of all bins where one matters."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, raw: Tensor, box: Tensor) -> tuple[Tensor, Tensor]:
        b = ctx.bin = _Bin(x, raw, box)
        s, xi = b.h / b.w, (x - b.x_k) / b.w
        rest = 1 - xi
        bent = xi * rest
        over = s * xi.square() + b.left * bent
        under = s + (b.left + b.right - 2 * s) * bent
        slope = b.right * xi.square() + 2 * s * bent + b.left * rest.square()
        ladj = (slope * (s / under).square()).log()
        ctx.save_for_backward(s, xi, over, under, slope, ladj, box)
        return b.y_k + b.h * over / under, ladj

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_y: Tensor, g_ladj: Tensor) -> tuple[Tensor, Tensor, None]:
        """The chain rule through xi, s, the slopes at both ends, and the edges and sides of the bin; then its logits."""
        b: _Bin = ctx.bin
        s, xi, over, under, slope, ladj, box = ctx.saved_tensors
        rest, tilt = 1 - xi, 1 - 2 * xi
        bent, part = xi * rest, over / under
        per, over_slope = 2 / under, 1 / slope
        of_xi = 2 * (b.right * xi + s * tilt - b.left * rest) * over_slope - per * (b.left + b.right - 2 * s) * tilt
        g_x = g_y * ladj.exp() + g_ladj * of_xi / b.w
        level = 1 - 2 * bent
        g_s = g_y * (xi.square() - part * level) * b.h / under
        g_s += g_ladj * (2 / s - per * level + 2 * bent * over_slope)
        g_bent = g_y * b.h / under
        common = g_ladj * per * bent
        g_left = g_bent * bent * (1 - part) + g_ladj * rest.square() * over_slope - common
        g_right = g_ladj * xi.square() * over_slope - common - g_bent * bent * part
        g_w = -(g_s * s / b.w + g_x * xi)
        g_h = g_y * part + g_s / b.w
        scale = 2 * box * b.free
        edges, sides = torch.stack([-g_x, g_y]) * scale, torch.stack([g_w, g_h]) * scale
        return g_x, _gradient_of_logits(b, edges, sides, torch.stack([g_left, g_right])), None


def _gradient_of_logits(b: _Bin, edges: Tensor, sides: Tensor, slopes: Tensor) -> Tensor:
    """From those of the bin: with p the softmax, dp_i / dlogit_j = p_i (1[i = j] - p_j), and an edge is a sum of p."""
    bins = b.p.shape[1]
    gradient: Tensor = b.p.new_zeros(3 * bins - 1, *b.k.shape)
    logits = gradient[: 2 * bins].view(2, bins, *b.k.shape)
    torch.mul(b.reached, edges.unsqueeze(1), out=logits[:, :-1])
    logits.scatter_(1, b.k.expand(2, 1, *b.k.shape), sides.unsqueeze(1))
    mean = edges * b.before_k + sides * b.p_k
    logits.sub_(mean.unsqueeze(1)).mul_(b.p)
    gradient[2 * bins :].scatter_add_(0, b.knots, slopes * b.slopes * b.soft.square() * b.inner)
    return gradient
