r"""Deep convolutional generative adversarial network (Radford et al. 2016, https://arxiv.org/abs/1511.06434).

A generator of transposed convolutions, :math:`x = \tanh(\cdot)` from :math:`z \sim N(0, I)`, against a discriminator of
strided convolutions without pooling.

What differs from the paper, and why it then trains in minutes without tuning: the relativistic loss with zero-centred gradient
penalties on data and samples (Huang et al. 2024, https://arxiv.org/abs/2501.05441); no normalisation in the discriminator,
where a batch's would make a penalty at one datum meaningless, and that of groups in the generator, which is then the same
function of z while it learns and while it rests; a dense hidden layer at the smallest scale (``strided``). And small things:
normal codes, Adam without momentum, leaky rectifiers in both players, kernels of 4 in the generator, torch's start of the
weights.
"""

from __future__ import annotations

from typing import Any, ClassVar, final

from torch import Tensor

from ..domain import Domain
from ..errors import require_whole
from .game.game import Game
from .game.labels import told
from .game.pair import PicturePair
from .strided import Discriminator, Generator

__all__ = ["DCGAN"]


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
        self.discriminator = Discriminator(judged, labels, channels, width, biased=self.game.biased)


class _Generator(Generator):
    """Told the label beside z."""

    def __init__(self, shape: tuple[int, ...], labels: int, latent: int, channels: int, width: int) -> None:
        super().__init__(shape, latent + labels, channels, width)
        self.labels = labels

    def forward(self, z: Tensor, given: Tensor | None) -> Tensor:
        return super().forward(told(z, given, self.labels), None)
