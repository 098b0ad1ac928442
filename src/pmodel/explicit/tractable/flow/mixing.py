r"""What Glow puts between couplings (Kingma & Dhariwal 2018, sections 3.1 and 3.2): actnorm and invertible 1×1 convolutions.

Both act on the channels of every position alike. With h a picture of C channels and H×W positions,

.. math::

    \text{actnorm} \quad & h'_{ij} = (h_{ij} - \mu) \odot e^{-\log\sigma}, & \log|\det| &= -HW \sum_c \log\sigma_c \\
    \text{1×1 convolution} \quad & h'_{ij} = W h_{ij}, & \log|\det| &= HW \log|\det W| .

Actnorm starts with the mean and the standard deviation of each channel over the first data: normalisation without the batch.
W is held as the product

.. math:: W = P L\,(U + \mathrm{diag}(s))

of a fixed permutation P, a lower triangular L with ones on its diagonal, and U above the diagonal, so that
:math:`\log|\det W| = \sum_c \log|s_c|` costs nothing and no step of training can make W singular: the signs of s stay. It
starts as a random rotation, a permutation of the channels for any coordinates.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .transform import SMALLEST, Transform

__all__ = ["Actnorm", "Convolution1x1"]


class Actnorm(Transform):
    """A shift and a scale for each channel.

    Args:
        channels: Of a picture ``(N, channels, H, W)``.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mu = nn.Parameter(torch.zeros(channels, 1, 1))
        self.log_sigma = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The normalised picture, and minus the sum of the log-scales over channels and positions."""
        positions = x.shape[2] * x.shape[3]
        return (x - self.mu) * (-self.log_sigma).exp(), (-positions * self.log_sigma.sum()).expand(len(x))

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Mu + sigma z."""
        return self.mu + self.log_sigma.exp() * z

    @torch.no_grad()
    def prepare(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Give every channel of these data mean 0 and variance 1."""
        if len(x) > 0:
            mu = x.mean((0, 2, 3)).reshape(-1, 1, 1)
            self.mu.copy_(mu)
            self.log_sigma.copy_((x - mu).square().mean((0, 2, 3), keepdim=True)[0].sqrt().clamp_min(SMALLEST).log())
        return cast(Tensor, self(x, context)[0])


class Convolution1x1(Transform):
    """An invertible matrix between the channels, in LU form.

    Args:
        channels: Of a picture ``(N, channels, H, W)``.
    """

    order: Tensor
    sign: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        rotation = nn.init.orthogonal_(torch.empty(channels, channels, dtype=torch.float64))
        permutation, lower, upper = torch.linalg.lu(rotation)
        diagonal = upper.diagonal()
        self.register_buffer("order", permutation.argmax(1))
        self.register_buffer("sign", diagonal.sign().float())
        self.lower = nn.Parameter(lower.tril(-1).float())
        self.upper = nn.Parameter(upper.triu(1).float())
        self.log_s = nn.Parameter(diagonal.abs().log().float())

    @property
    def weight(self) -> Tensor:
        """W, ``(channels, channels)``."""
        one = torch.eye(len(self.order), dtype=self.lower.dtype, device=self.lower.device)
        lower = self.lower.tril(-1) + one
        upper = self.upper.triu(1) + torch.diag(self.sign * self.log_s.exp())
        return (lower @ upper)[self.order]

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """W times the channels of every position, and the log-determinant, the same for all."""
        positions = x.shape[2] * x.shape[3]
        with torch.autocast(x.device.type, enabled=False):  # the map itself keeps its precision
            z = F.conv2d(x, self.weight[:, :, None, None])
        return z, (positions * self.log_s.sum()).expand(len(x))

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """The inverse of W, taken in float64, times the channels."""
        with torch.autocast(z.device.type, enabled=False):
            back = torch.linalg.inv(self.weight.double()).to(z.dtype)
            return F.conv2d(z, back[:, :, None, None])
