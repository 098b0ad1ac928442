r"""The first map of a flow of data with spikes: every entry to a normal variable, by quantiles of the data.

.. math:: z = \Phi^{-1}(F(x)) \quad\text{for an entry with the distribution function } F

is standard normal. F is unknown; here the map goes through the points :math:`(F^{-1}(\Phi(\zeta_k)), \zeta_k)`, with
:math:`\zeta_k` equidistant from -3 to 3 and the quantiles those of the data, and is linear between them and beyond. It is
fixed before training starts, as the logit map is that published flows of pictures begin with, and knows no bounds of the data.

It matters where the noise of dequantised data lies in spikes. Of the grey levels of MNIST four in five are 0; a diagonal
Gaussian has 6.04 bits a pixel there, one with a full covariance 5.24, and the marginals alone 1.68. Affine couplings would
have to find that difference by gradient descent.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .transform import Transform

__all__ = ["Marginal", "quantiles"]

REACH = 3.0
"""The outermost quantiles, in standard deviations of the normal variable."""
NARROWEST = 1e-5
"""The least width of a bin in units of the data's spread: what float32 can tell apart."""
TOGETHER = 2**24
"""Entries of data that are sorted at once."""


class Marginal(Transform):
    """A monotone, piecewise linear map of each entry, through quantiles.

    Beyond the outermost quantiles the slope is one over the spread of the data, of a whole picture where they are pictures:
    a pixel that was black in all training data may be white in the next datum, and is then unlikely but not impossible.

    Args:
        shape: Of a datum.
        bins: The number of intervals between quantiles.
        shared: Whether all entries are in one unit, as pixels are, so that one spread is that of all.
    """

    knots: Tensor
    slopes: Tensor

    def __init__(self, shape: tuple[int, ...], bins: int, *, shared: bool) -> None:
        super().__init__()
        self.shape, self.bins, self.shared = shape, bins, shared
        self.step = 2 * REACH / bins
        entries = torch.Size(shape).numel()
        self.register_buffer("knots", torch.linspace(-REACH, REACH, bins + 1).repeat(entries, 1))
        self.register_buffer("slopes", torch.ones(entries, bins + 2))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """z, and the sum of the logarithms of the slopes."""
        flat = x.flatten(1).T.contiguous()
        interval = torch.searchsorted(self.knots, flat.detach())
        start = (interval - 1).clamp_min(0)
        slope = self.slopes.gather(1, interval)
        z = start * self.step - REACH + (flat - self.knots.gather(1, start)) * slope
        return z.T.reshape(x.shape), slope.log().sum(0)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """X on the same line."""
        flat = z.flatten(1).T
        # what is not a number is in no interval: whichever it takes, x is not a number either
        start = ((flat.detach() + REACH) / self.step).nan_to_num().floor().clamp(-1, self.bins)
        interval = start.long() + 1
        start = start.clamp_min(0)
        x = self.knots.gather(1, start.long()) + (flat - start * self.step + REACH) / self.slopes.gather(1, interval)
        return x.T.reshape(z.shape)

    @torch.no_grad()
    def prepare(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Take quantiles from the data, and from as many data more as there are bins, drawn to a normal distribution."""
        if len(x) > 1:
            flat = x.flatten(1)
            spread = flat.std(0, correction=0)
            unit = spread.square().mean().sqrt().expand_as(spread) if self.shared else spread
            unit = torch.where(unit > 0, unit, 1.0).unsqueeze(1)
            _, points = quantiles(flat, self.bins + 1, self.bins)
            ramp = torch.arange(self.bins + 1, device=x.device, dtype=x.dtype) * NARROWEST * unit
            self.knots.copy_((points - ramp).cummax(1).values + ramp)  # strictly increasing
            inner = self.step / self.knots.diff(dim=1)
            self.slopes.copy_(torch.cat([1 / unit, inner, 1 / unit], 1))
        return self(x, context)[0]  # type: ignore[no-any-return]


def quantiles(x: Tensor, points: int, more: int) -> tuple[Tensor, Tensor]:
    r"""Equidistant :math:`\zeta_k`, and the quantiles :math:`\Phi(\zeta_k)` of each column of data.

    Args:
        x: Data, ``(N, D)``.
        points: The number K of quantiles.
        more: How many data are added, which are drawn to the normal distribution of the column's mean and spread.

    Returns:
        zeta ``(K,)`` and the quantiles ``(D, K)``.
    """
    zeta = torch.linspace(-REACH, REACH, points, device=x.device, dtype=x.dtype)
    columns = torch.split(x, max(1, TOGETHER // len(x)), 1)
    return zeta, torch.cat([_quantiles(part, torch.special.ndtr(zeta), more) for part in columns])


def _quantiles(x: Tensor, shares: Tensor, more: int) -> Tensor:
    rest = (torch.arange(more, device=x.device, dtype=x.dtype) + 0.5) / more
    normal = x.mean(0) + x.std(0, correction=0) * torch.special.ndtri(rest).unsqueeze(1)
    ordered = torch.cat([x, normal]).sort(0).values.T
    position = (shares * ordered.shape[1] - 0.5).clamp(0, ordered.shape[1] - 1)
    below = position.floor().long()
    above = (below + 1).clamp_max(ordered.shape[1] - 1)
    return torch.lerp(ordered[:, below], ordered[:, above], position - below)
