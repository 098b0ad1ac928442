r"""Deep convolutional generative adversarial network (Radford et al. 2016, https://arxiv.org/abs/1511.06434).

A generator of transposed convolutions, :math:`x = \tanh(\cdot)` from :math:`z \sim N(0, I)`, against a discriminator of
strided convolutions without pooling.

What differs from the paper, and why it then trains in minutes without tuning: the relativistic loss with zero-centred gradient
penalties on data and samples (Huang et al. 2024, https://arxiv.org/abs/2501.05441); no normalisation in the discriminator,
where a batch's would make a penalty at one datum meaningless, and that of groups in the generator, which is then the same
function of z while it learns and while it rests. A dense hidden layer at the smallest scale lets each network see the whole
picture: without it the logit of a shallow discriminator is a sum of local verdicts, and samples have right strokes in wrong
places. And small things: normal codes, Adam without momentum, leaky rectifiers in both players, kernels of 4 in the generator,
torch's start of the weights.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..domain import Domain
from ..errors import require_whole
from ..nn.transposed import TransposedConvolution
from .game.game import Game
from .game.halvings import groups, halvings, widths
from .game.labels import Verdict, told
from .game.pair import PicturePair

__all__ = ["DCGAN"]

KERNEL = 5
"""Side of the discriminator's kernels, odd so that an odd side is rounded up when it is halved."""
SLOPE = 0.2
"""Of the leaky rectifiers."""


@final
class DCGAN(PicturePair):
    """A convolutional generator and its discriminator, for pictures of any size, colours and levels.

    Args:
        domain: Pictures, ``Discrete((C, H, W), levels)``.
        given: A class label, told to the generator beside z and to the discriminator by projection (Miyato & Koyama 2018);
            or None.
        latent: Entries of z.
        channels: Channels next to the picture; they double with each halving of its sides.
        width: Units of the dense layer at the smallest scale of each network.
        game: Options of the game, fields of ``game.game.Game``.

    Raises:
        BadInput: if the data are not pictures, or do not fit the game, or a name is not known.
        RangeError: if a number is out of range.
    """

    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"latent": 8, "channels": 8, "width": 32},
        "small": {"latent": 32, "channels": 16, "width": 128},
    }

    def __init__(
        self,
        domain: Domain,
        given: Domain | None = None,
        *,
        latent: int = 64,
        channels: int = 32,
        width: int = 256,
        **game: Any,
    ) -> None:
        super().__init__(domain, given, latent=latent, game=Game(**game))
        for name, value in (("channels", channels), ("width", width)):
            require_whole(name, value, 1)
        labels = len(self.given_frequencies)
        judged = (self.game.packing * domain.shape[0], *domain.shape[1:])
        self.generator = _Generator(domain.shape, labels, latent, channels, width)
        self.discriminator = _Discriminator(judged, labels, channels, width, biased=self.game.biased)

    @classmethod
    def tiny(cls, domain: Domain, given: Domain | None = None) -> DCGAN:
        """Eight latents, eight channels, thirty-two units."""
        return cls(domain, given, **cls.sizes["tiny"])


class _Generator(nn.Module):
    """From z and label to a picture: a perceptron to the smallest side, then doublings, the last one to the colours."""

    def __init__(self, shape: tuple[int, ...], labels: int, latent: int, channels: int, width: int) -> None:
        super().__init__()
        self.labels = labels
        self.sizes = halvings(shape)
        channels_at = widths(self.sizes, channels)
        self.corner = (channels_at[-1], *self.sizes[-1])
        self.start = nn.Sequential(
            nn.Linear(latent + labels, width), nn.LeakyReLU(SLOPE), nn.Linear(width, math.prod(self.corner))
        )
        self.norms = nn.ModuleList(nn.GroupNorm(groups(c), c) for c in reversed(channels_at))
        sides = [*reversed(channels_at), shape[0]]
        self.doublings = nn.ModuleList(TransposedConvolution(a, b, 4, 2, 1) for a, b in pairwise(sides))

    def forward(self, z: Tensor, given: Tensor | None) -> Tensor:
        h = self.start(told(z, given, self.labels)).unflatten(1, self.corner)
        for size, norm, doubling in zip(reversed(self.sizes[:-1]), self.norms, self.doublings, strict=True):
            h = doubling(F.leaky_relu(norm(h), SLOPE))[..., : size[0], : size[1]]
        return torch.tanh(h)


class _Discriminator(nn.Module):
    """From a picture and label to a logit."""

    def __init__(self, shape: tuple[int, ...], labels: int, channels: int, width: int, *, biased: bool) -> None:
        super().__init__()
        sizes = halvings(shape)
        channels_at = widths(sizes, channels)
        strided = [
            (nn.Conv2d(a, b, KERNEL, 2, KERNEL // 2), nn.LeakyReLU(SLOPE))
            for a, b in pairwise([shape[0], *channels_at])
        ]
        flat = channels_at[-1] * math.prod(sizes[-1])
        joined = (nn.Flatten(), nn.Linear(flat, width), nn.LeakyReLU(SLOPE))
        self.features = nn.Sequential(*(layer for pair in strided for layer in pair), *joined)
        self.verdict = Verdict(nn.Linear(width, 1, bias=biased), labels)

    def forward(self, x: Tensor, given: Tensor | None) -> Tensor:
        logits: Tensor = self.verdict(self.features(x), given)
        return logits
