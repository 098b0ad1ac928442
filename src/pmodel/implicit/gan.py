r"""Generative adversarial network (Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661): two perceptrons.

.. math:: x = G(z), \quad z \sim N(0, I), \qquad \min_G \max_D \; E_x[\log \sigma(D(x))] + E_z[\log(1 - \sigma(D(G(z))))].

For points, rows of reals and small pictures. What differs from the paper by default is the game: the relativistic loss with
zero-centred penalties on data and samples (Huang et al. 2024, https://arxiv.org/abs/2501.05441). With ``loss=minimax`` and
``penalty=0`` it is the paper's, between networks that are today's (its discriminator had maxout units and dropout). Played
with the momentum that Adam has by default, that one moves from some modes of a ring to others, or loses all
(``docs/collapse.md``).

Units are rectified: a generator of separate modes is steep between them and flat on them, which a few sharp bends make. After
as many steps smooth units leave more samples between the modes of a grid.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, final

from torch import Tensor, nn

from ..domain import Domain, Real
from ..errors import require_whole
from ..learning import Recipe
from ..nn.trunks import perceptron
from .game.game import Game
from .game.labels import told
from .game.pair import AdversarialPair

__all__ = ["GAN"]


@final
class GAN(AdversarialPair):
    """A perceptron that generates and one that discriminates, for points, rows and pictures.

    Args:
        domain: Real data of any shape; ``make`` standardises them, and dequantises levels.
        given: A class label, told to both players; or None.
        latent: Entries of z. None takes as many as a datum has, but from 2 to 32.
        layers: Hidden layers of each player.
        width: Units of each.
        game: Options of the game, fields of ``game.game.Game``.

    Raises:
        BadInput: if the data do not fit the game, or a name is not known.
        RangeError: if a number is out of range.
    """

    natives: ClassVar[tuple[type[Domain], ...]] = (Real,)
    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"latent": 4, "layers": 2, "width": 16},
        "small": {"width": 64},
    }
    game = Game(penalty=0.02)

    def __init__(
        self,
        domain: Domain,
        given: Domain | None = None,
        *,
        latent: int | None = None,
        layers: int = 3,
        width: int = 128,
        **game: Any,
    ) -> None:
        latent = min(32, max(2, domain.entries)) if latent is None else latent
        super().__init__(domain, given, latent=latent, game=Game(**game))
        require_whole("layers", layers, 1)
        require_whole("width", width, 1)
        labels, hidden = len(self.given_frequencies), [width] * layers
        self.generator = _Generator(domain, labels, latent, hidden)
        self.discriminator = _Discriminator(self.game.packing * domain.entries, labels, hidden, biased=self.game.biased)

    def recipe(self) -> Recipe:
        """The shorter memory of Adam lets the discriminator follow where samples go."""
        return dataclasses.replace(super().recipe(), betas=(0.0, 0.9))


class _Generator(nn.Module):
    """From z and label to a datum."""

    def __init__(self, domain: Domain, labels: int, latent: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.labels, self.shape = labels, domain.shape
        self.layers = perceptron(latent + labels, hidden, domain.entries, nn.ReLU)

    def forward(self, z: Tensor, given: Tensor | None) -> Tensor:
        x: Tensor = self.layers(told(z, given, self.labels))
        return x.reshape(len(z), *self.shape)


class _Discriminator(nn.Module):
    """From a datum, or a pack of them, and label to a logit. A loss of differences D(x) - D(G(z)) has no use for a bias."""

    def __init__(self, entries: int, labels: int, hidden: Sequence[int], *, biased: bool) -> None:
        super().__init__()
        self.labels = labels
        self.features = nn.Sequential(perceptron(entries + labels, hidden[:-1], hidden[-1], nn.ReLU), nn.ReLU())
        self.head = nn.Linear(hidden[-1], 1, bias=biased)

    def forward(self, x: Tensor, given: Tensor | None) -> Tensor:
        logits: Tensor = self.head(self.features(told(x.flatten(1), given, self.labels)))
        return logits.squeeze(1).float()
