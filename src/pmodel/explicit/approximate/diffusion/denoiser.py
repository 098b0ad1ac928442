r"""Networks that look through noise: from a noisy datum :math:`x_t`, its time t and its label to a datum's worth of numbers.

``denoiser`` chooses: the U-Net or a transformer for pictures, a residual perceptron for all else. Each is called
``net(x_t, t, given)`` with ``(N, *shape)`` real numbers, ``(N,)`` times in (0, 1] and ``(N,)`` labels or None, and answers
numbers of the shape of the data, zero before training; as many for each entry as asked for, one after the other along the first
axis of a datum. What the answer means (the noise, the datum, the velocity) is the loss's affair.
"""

from __future__ import annotations

from typing import Literal, cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ....domain import Domain
from ....errors import BadInput, require_whole
from ....nn.conditioning import Conditioning
from .options import require_part
from .transformer import Transformer
from .unet import UNet

__all__ = ["NetworkName", "Perceptron", "denoiser"]

NetworkName = Literal["auto", "unet", "transformer", "perceptron"]
NETWORKS: tuple[NetworkName, ...] = ("auto", "unet", "transformer", "perceptron")


def denoiser(
    domain: Domain,
    labels: int,
    *,
    network: NetworkName = "auto",
    channels: int,
    layers: int,
    width: int,
    patch: int = 4,
    heads: int = 4,
    dropout: float = 0.0,
    answers: int = 1,
) -> UNet | Transformer | Perceptron:
    """The network for data of a domain.

    Args:
        domain: Of the data.
        labels: How many classes a label can name; 0 if there is none.
        network: ``unet`` and ``transformer`` are for pictures; ``auto`` is the U-Net there and else the perceptron.
        channels: Of the U-Net's first level; the transformer's tokens have twice as many.
        layers: Residual blocks of each level of the U-Net, on the way down and on the way up. The perceptron has four times as
            many, which is what a U-Net of two levels has, and the transformer six times.
        width: Features of time and label; and of the perceptron's hidden layers.
        patch: The side of the squares that are the transformer's tokens.
        heads: Of its attention.
        dropout: The part of the features within a residual block that training leaves out.
        answers: Numbers for each entry.

    Raises:
        BadInput: if there is no such network, or it is for pictures only.
        RangeError: if a number is out of range.
    """
    counts = {"channels": channels, "layers": layers, "width": width, "patch": patch, "heads": heads}
    for name, value in counts.items():
        require_whole(name, value, 1, 2**16)
    require_part("dropout", dropout)
    if network not in NETWORKS:
        raise BadInput(f"network is {' or '.join(NETWORKS)}.", got=network)
    if network in ("unet", "transformer") and not domain.image:
        raise BadInput(f"A {network} is a network for pictures.", got=domain, hint="network=perceptron")
    if network == "transformer":
        sizes = {"width": 2 * channels, "layers": 6 * layers, "patch": patch, "heads": heads}
        return Transformer(domain.shape, labels, **sizes, told=width, dropout=dropout, answers=answers)
    if network == "unet" or (network == "auto" and domain.image):
        sizes = {"channels": channels, "layers": layers, "width": width}
        return UNet(domain.shape, labels, **sizes, dropout=dropout, answers=answers)
    return Perceptron(domain.shape, labels, layers=4 * layers, width=width, dropout=dropout, answers=answers)


@final
class Perceptron(nn.Module):
    """Residual layers over all entries at once.

    Args:
        shape: Of one datum.
        labels: How many classes; 0 for no labels.
        layers: Residual blocks.
        width: Features.
        dropout: See ``denoiser``.
        answers: See ``denoiser``.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        labels: int,
        *,
        layers: int,
        width: int,
        dropout: float = 0.0,
        answers: int = 1,
    ) -> None:
        super().__init__()
        self.answers = answers
        entries = torch.Size(shape).numel()
        self.conditioning = Conditioning(labels, width)
        self.first = nn.Linear(entries, width)
        self.blocks = nn.ModuleList(_Block(width, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.last = nn.Linear(width, answers * entries)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor, t: Tensor, given: Tensor | None = None) -> Tensor:
        """``(N, answers · C, …)`` from noisy data ``(N, C, …)``, times and labels."""
        told = self.conditioning(t, given)
        h = self.first(x.reshape(len(x), self.first.in_features))
        for block in self.blocks:
            h = block(h, told)
        answer = cast(Tensor, self.last(F.silu(self.norm(h))))
        return answer.reshape(x.shape if self.answers == 1 else (len(x), self.answers * x.shape[1], *x.shape[2:]))


class _Block(nn.Module):
    r""":math:`h + W_2\,\mathrm{silu}(W_1\,\mathrm{silu}(\mathrm{norm}(h)) + V c)` with what it is told, c."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inward = nn.Linear(width, width)
        self.told = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.outward = nn.Linear(width, width)

    def forward(self, h: Tensor, told: Tensor) -> Tensor:
        inner = self.inward(F.silu(self.norm(h))) + self.told(told)
        return h + cast(Tensor, self.outward(self.dropout(F.silu(inner))))
