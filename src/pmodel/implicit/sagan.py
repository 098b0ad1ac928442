r"""Self-attention generative adversarial network (Zhang et al. 2019, https://arxiv.org/abs/1805.08318).

Convolutions, and at one scale in both players a layer in which every place looks at the whole picture,

.. math::

    \beta_{ji} = \operatorname{softmax}_i\big(f_i^\top g(x_j)\big), \qquad
    y_j = x_j + \gamma\, v\Big(\sum_i \beta_{ji} h_i\Big),

with g and v linear, :math:`f_i` and :math:`h_i` the largest of what linear maps f and h make of the four places of square i,
as in the authors' program (each place then looks at a quarter as many), and :math:`\gamma` a number that starts at 0: first
what is near, then what is far. A label is told to the generator by the scales and shifts of its normalisation and to the
discriminator by projection (Miyato & Koyama 2018),

.. math:: D(x, y) = (w + e_y / \sqrt d)^\top \phi(x) + b, \qquad \phi(x) \in R^d.

What differs from the paper:

- Its game and its norms are an option: ``spectral=true loss=hinge penalty=0 lead=4`` divides weights by their largest singular
  value (Miyato et al. 2018), which bounds the slope of a linear map by one, and has the paper's loss and ratio of rates;
  ``train.rate=1e-4 train.betas=0,0.9`` are its rates too, which are for days of training. The default is the relativistic loss
  with zero-centred penalties (Huang et al. 2024).
- Strided convolutions (``strided``, as in ``dcgan``) for residual blocks, which took longer for each picture and in as many
  minutes learned less. The look at all places is what tells the two models apart.
- Group instead of batch normalisation: the generator is then the same function of z while it learns and while it rests.
- Pictures of 32×32 are attended to at 8×8, the same part of their sides as 32×32 is of the paper's 128×128; those of 28×28 at
  14×14.
"""

from __future__ import annotations

from typing import Any, ClassVar, cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from ..domain import Domain
from ..errors import require_whole
from .game.game import Game
from .game.pair import PicturePair
from .strided import Discriminator, Generator

__all__ = ["SAGAN", "SelfAttention"]

NARROW = 8
"""Queries and keys have so many times fewer channels than what they look at."""


@final
class SAGAN(PicturePair):
    """Strided convolutions with self-attention, for pictures of any size, colours and levels.

    Args:
        domain: Pictures, ``Discrete((C, H, W), levels)``.
        given: A class label, told to both players; or None.
        latent: Entries of z.
        channels: Channels next to the picture; they double with each halving of its sides.
        width: Units of the dense layer at the smallest scale of each network.
        spectral: Whether the weights of both players, and the discriminator's vectors of labels, are divided by their largest
            singular value.
        game: Options of the game, fields of ``game.game.Game``.

    Raises:
        BadInput: if the data are not pictures, or do not fit the game, or a name is not known.
        RangeError: if a number is out of range.
    """

    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"latent": 8, "channels": 8, "width": 32},
        "small": {"latent": 32, "channels": 12, "width": 64},
    }

    def __init__(
        self,
        domain: Domain,
        given: Domain | None = None,
        *,
        latent: int = 64,
        channels: int = 24,
        width: int = 128,
        spectral: bool = False,
        **game: Any,
    ) -> None:
        super().__init__(domain, given, latent=latent, game=Game(**game), bounded=spectral)
        for name, value in (("channels", channels), ("width", width)):
            require_whole(name, value, 1)
        labels = len(self.given_frequencies)
        judged = (self.game.packing * domain.shape[0], *domain.shape[1:])
        self.generator = Generator(domain.shape, latent, channels, width, labels=labels, between=SelfAttention)
        self.discriminator = Discriminator(
            judged, labels, channels, width, biased=self.game.biased, between=SelfAttention
        )
        if spectral:
            _divide(self.generator)
            _divide(self.discriminator, nn.Embedding)


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


def _divide(player: nn.Module, *others: type[nn.Module]) -> None:
    """Let linear maps and ``others`` use their weights over their largest singular value.

    It is found by a power iteration at each call that learns.
    """
    for part in list(player.modules()):
        if isinstance(part, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, *others)):
            spectral_norm(part)
