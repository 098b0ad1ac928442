r"""Self-attention generative adversarial network (Zhang et al. 2019, https://arxiv.org/abs/1805.08318).

Residual convolutions, and at one scale in both players a layer in which every place looks at the whole picture,

.. math::

    \beta_{ji} = \operatorname{softmax}_i\big(f_i^\top g(x_j)\big), \qquad
    y_j = x_j + \gamma\, v\Big(\sum_i \beta_{ji} h_i\Big),

with g and v linear, :math:`f_i` and :math:`h_i` the largest of what linear maps f and h make of the four places of square i,
as in the authors' program (each place then looks at a quarter as many), and :math:`\gamma` a number that starts at 0: first
what is near, then what is far. A label is told to the generator by the scales and shifts of its normalisation and to the
discriminator by projection (Miyato & Koyama 2018),

.. math:: D(x, y) = (w + e_y)^\top \phi(x) + b.

What differs from the paper:

- The relativistic loss with zero-centred penalties (Huang et al. 2024) for the hinge loss and for weights divided by their
  largest singular value (Miyato et al. 2018), which bounds the slope of a linear map by one and that of a 3×3 convolution by
  three. ``spectral=true loss=hinge penalty=0 lead=4`` is the paper's game, which in minutes of training gave one digit for all
  z, or nearly. With ``spectral=true`` beside the default penalty the discriminator could hardly tell samples from data for half
  of the training.
- Group instead of batch normalisation: the generator is then the same function of z while it learns and while it rests.
- Fewer channels and scales: its networks were made for 128×128, and attended at 32×32; these attend at half the sides. They too
  go down to 4×4, so that the last features see the whole picture. The discriminator has leaky rectifiers, and after its last
  halving no further block.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar, cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from ..domain import Domain
from ..errors import require_whole
from .game.game import Game
from .game.halvings import doubled, groups, halved, halvings, widths
from .game.pair import PicturePair

__all__ = ["SAGAN", "SelfAttention"]

SLOPE = 0.2
"""Of the discriminator's leaky rectifiers: no unit of it is dead."""
CORNER = 4
"""Pictures are halved until neither side is longer than this."""
NARROW = 8
"""Queries and keys have so many times fewer channels than what they look at."""


@final
class SAGAN(PicturePair):
    """Residual convolutions with self-attention, for pictures of any size, colours and levels.

    Args:
        domain: Pictures, ``Discrete((C, H, W), levels)``.
        given: A class label, told to both players; or None.
        latent: Entries of z.
        channels: Channels next to the picture; they double with each halving of its sides.
        spectral: Whether the weights of both players, and the discriminator's vectors of labels, are divided by their largest
            singular value.
        game: Options of the game, fields of ``game.game.Game``.

    Raises:
        BadInput: if the data are not pictures, or do not fit the game, or a name is not known.
        RangeError: if a number is out of range.
    """

    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"latent": 8, "channels": 8, "lead": 2.0, "repeats": 3},
        "small": {"latent": 32, "channels": 8},
    }

    def __init__(
        self,
        domain: Domain,
        given: Domain | None = None,
        *,
        latent: int = 64,
        channels: int = 16,
        spectral: bool = False,
        **game: Any,
    ) -> None:
        super().__init__(domain, given, latent=latent, game=Game(**game))
        require_whole("channels", channels, 1)
        labels = len(self.given_frequencies)
        judged = (self.game.packing * domain.shape[0], *domain.shape[1:])
        self.generator = _Generator(domain.shape, labels, latent, channels)
        self.discriminator = _Discriminator(judged, labels, channels, biased=self.game.biased)
        if spectral:
            _divide(self.generator)
            _divide(self.discriminator, nn.Embedding)

    @classmethod
    def tiny(cls, domain: Domain, given: Domain | None = None) -> SAGAN:
        """Eight latents and eight channels; so small a discriminator needs more steps than its generator."""
        return cls(domain, given, **cls.sizes["tiny"])


class SelfAttention(nn.Module):
    """Every place looks at all squares of two by two: from and to ``(N, channels, H, W)``; the identity at the start."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow, half = max(1, channels // NARROW), max(1, channels // 2)
        self.query, self.key = (nn.Conv2d(channels, narrow, 1, bias=False) for _ in range(2))
        self.value, self.outward = (nn.Conv2d(a, b, 1, bias=False) for a, b in ((channels, half), (half, channels)))
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """What each place sees, added to what it is."""
        side = 2 if max(x.shape[2:]) > 2 else 1  # of one square alone there would be nothing to choose
        key, value = (F.max_pool2d(layer(x), side, ceil_mode=True).flatten(2) for layer in (self.key, self.value))
        weights = (self.query(x).flatten(2).mT @ key).softmax(-1)  # (N, places, squares)
        seen = (weights @ value.mT).mT.unflatten(2, x.shape[2:])
        return cast(Tensor, x + self.gain * self.outward(seen))


class _Norm(nn.Module):
    """Group normalisation whose scales and shifts are the label's."""

    def __init__(self, channels: int, labels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups(channels), channels, affine=not labels)
        self.affine = nn.Embedding(labels, 2 * channels) if labels else None
        if self.affine is not None:
            nn.init.normal_(self.affine.weight, std=0.1)

    def forward(self, x: Tensor, given: Tensor | None) -> Tensor:
        normal: Tensor = self.norm(x)
        if self.affine is None:
            return normal
        scale, shift = self.affine(given)[:, :, None, None].chunk(2, 1)
        return cast(Tensor, normal * (1 + scale) + shift)


class _Up(nn.Module):
    """A residual block that doubles the sides and cuts them to ``size``."""

    def __init__(self, inputs: int, outputs: int, size: tuple[int, int], labels: int) -> None:
        super().__init__()
        self.size = size
        self.before, self.between = _Norm(inputs, labels), _Norm(outputs, labels)
        self.first, self.second = (nn.Conv2d(a, outputs, 3, padding=1) for a in (inputs, outputs))
        self.skip = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, given: Tensor | None) -> Tensor:
        h = self.first(doubled(F.relu(self.before(x, given)), self.size))
        h = self.second(F.relu(self.between(h, given)))
        return cast(Tensor, h + doubled(self.skip(x), self.size))


class _Down(nn.Module):
    """A residual block that halves the sides; an odd one is rounded up. The picture itself is not rectified."""

    def __init__(self, inputs: int, outputs: int, *, first: bool) -> None:
        super().__init__()
        self.picture = first
        self.first, self.second = (nn.Conv2d(a, outputs, 3, padding=1) for a in (inputs, outputs))
        self.skip = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x if self.picture else F.leaky_relu(x, SLOPE))
        return cast(Tensor, halved(self.second(F.leaky_relu(h, SLOPE))) + self.skip(halved(x)))


class _Generator(nn.Module):
    """From z and label to a picture."""

    def __init__(self, shape: tuple[int, ...], labels: int, latent: int, channels: int) -> None:
        super().__init__()
        sizes = halvings(shape, CORNER)
        sides = [*reversed(widths(sizes, channels)), channels]
        self.corner = (sides[0], *sizes[-1])
        self.start = nn.Linear(latent, sides[0] * sizes[-1][0] * sizes[-1][1])
        scales = zip(pairwise(sides), reversed(sizes[:-1]), strict=True)
        self.blocks = nn.ModuleList(_Up(a, b, size, labels) for (a, b), size in scales)
        self.looking = max(0, len(self.blocks) - 2)  # at half the picture's sides, where there is such a scale
        self.attention = SelfAttention(sides[self.looking + 1])
        self.norm = _Norm(channels, 0)
        self.colours = nn.Conv2d(channels, shape[0], 3, padding=1)

    def forward(self, z: Tensor, given: Tensor | None) -> Tensor:
        h = self.start(z).unflatten(1, self.corner)
        for number, block in enumerate(self.blocks):
            h = block(h, given)
            if number == self.looking:
                h = self.attention(h)
        return torch.tanh(self.colours(F.relu(self.norm(h, None))))


class _Discriminator(nn.Module):
    """From a picture and label to a logit: features summed over places."""

    def __init__(self, shape: tuple[int, ...], labels: int, channels: int, *, biased: bool) -> None:
        super().__init__()
        sizes = halvings(shape, CORNER)
        sides = [shape[0], *widths(sizes, channels)]
        self.blocks = nn.ModuleList(_Down(a, b, first=k == 0) for k, (a, b) in enumerate(pairwise(sides)))
        self.attention = SelfAttention(sides[1]) if max(sizes[1]) > 1 else nn.Identity()
        self.head = nn.Linear(sides[-1], 1, bias=biased)
        self.embedding = nn.Embedding(labels, sides[-1]) if labels else None

    def forward(self, x: Tensor, given: Tensor | None) -> Tensor:
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number == 0:
                x = self.attention(x)
        features = F.leaky_relu(x, SLOPE).sum((2, 3))
        logits: Tensor = self.head(features).squeeze(1)
        if self.embedding is not None:
            logits = logits + (self.embedding(given) * features).sum(1)
        return logits.float()


def _divide(player: nn.Module, *others: type[nn.Module]) -> None:
    """Let linear maps and ``others`` use their weights over their largest singular value.

    It is found by a power iteration at each call that learns.
    """
    for part in list(player.modules()):
        if isinstance(part, (nn.Conv2d, nn.Linear, *others)):
            spectral_norm(part)
