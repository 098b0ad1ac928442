r"""Translation between two unpaired sets: the cycle-consistent pair of pairs (Zhu et al. 2017, https://arxiv.org/abs/1703.10593).

Of pictures a of one kind and pictures b of another, where no a is paired with a b, two generators G: a → b and F: b → a learn

.. math::

    \min_{G, F} \max_{D_A, D_B}\; L(G, D_B) + L(F, D_A)
    + \lambda\, \big(E\|F(G(a)) - a\|_1 + E\|G(F(b)) - b\|_1\big)
    + \mu\, \big(E\|G(b) - b\|_1 + E\|F(a) - a\|_1\big)

with norms that are means over entries of [-1, 1]. The game L makes translations look like the other set; the cycle, which is
zero exactly where G and F invert each other on the data, keeps in them what they were made of; the identity keeps what need
not change, such as colours. Discriminators judge patches, squares are the loss, and half of the samples that they are shown
come from a pool of earlier ones (``game.pool``), which is the state that training carries.

What differs from the paper: pictures here have 28 to 32 pixels a side, so the generators halve them once and not twice, the
kernels next to pictures have a side of 5 for 7, and patches one of 21 for 70; squares are halved in the generators' losses
too, so that λ and μ weigh twice what they do there; the identity is on unless it is turned off, for all pictures; a
normalisation takes all channels together, for one of each channel by itself would wipe out its mean and contrast, and with
them the colours that a translation should keep; zeros instead of reflections are laid around pictures, by which a network can
tell where in the picture it is; and Adam takes larger steps on batches of several pictures, towards a moving average.

A translation is a function of the picture: it has neither a code nor noise. Whether the other set has more to say than the
first, such as a colour where that is grey, shows in what comes back: F(G(a)) is a, G(F(b)) is not b.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, final

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from ..capability import Samples
from ..domain import Discrete, Domain
from ..errors import BadInput, RangeError, require_whole
from ..learning import Batch, GradientTrained, Loss, Phase, Recipe
from ..nn.transposed import TransposedConvolution
from .game.game import Game
from .game.losses import LossName
from .game.pair import no_pictures
from .game.pool import Pool
from .game.scale import seen, shown

__all__ = ["CycleGAN"]

WINDOW = 5
"""Side of the kernels next to the pictures, and of the discriminators' strided ones."""
SLOPE = 0.2
"""Of the discriminators' leaky rectifiers."""


@final
class CycleGAN(Samples, GradientTrained):
    """Two generators and two discriminators of patches, for two sets of pictures of one size, colours and levels.

    ``sample(given=a)`` answers with the translations of a; ``sample(given=b, backwards=True)`` goes the other way.

    Args:
        domain: Pictures b, ``Discrete((C, H, W), levels)``.
        given: Pictures a of the same domain, which is what None stands for.
        channels: Of each generator next to the picture, twice as many at half its sides; and so of the discriminators.
        blocks: Residual blocks of each generator, at half the sides.
        cycle: Weight λ of the cycle.
        identity: Weight μ of the identity.
        pool: Earlier translations that are kept of each kind, to be shown to the discriminators again; 0 shows new ones only.
        loss: ``squares``, or another loss of the adversarial pairs. There is no penalty on slopes here: ``wasserstein``, which
            has no bound without one, is refused, and ``relativistic`` need not settle.

    Raises:
        BadInput: if the data are not pictures, the two kinds have other domains, or the loss is not one of those.
        RangeError: if a number is out of range.
    """

    natives: ClassVar[tuple[type[Domain], ...]] = (Discrete,)
    translates: ClassVar[bool] = True
    adjustable = ("backwards",)
    backwards: bool = False
    """Whether ``sample`` is given pictures b, and answers with pictures a."""
    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"channels": 4, "blocks": 1, "pool": 4},
        "small": {"channels": 8, "blocks": 2},
    }

    def __init__(
        self,
        domain: Domain,
        given: Domain | None = None,
        *,
        channels: int = 16,
        blocks: int = 4,
        cycle: float = 10.0,
        identity: float = 5.0,
        pool: int = 50,
        loss: LossName = "squares",
    ) -> None:
        super().__init__(domain, domain if given is None else given)
        if (reason := self.refuses(domain)) is not None:
            raise BadInput(f"{type(self).__name__} cannot take these data: {reason}.", got=domain)
        if self.given != domain:
            hint = "read both alike: --set data.size=32 --set data.channels=3"
            raise BadInput("Pictures of both kinds need one size, colours and levels.", got=(given, domain), hint=hint)
        if loss == "wasserstein":
            words = "This game has no penalty, without which a Wasserstein critic has no bound."
            raise BadInput(words, got=f"loss={loss}", hint="loss=squares, hinge or nonsaturating")
        for name, value, least in (("channels", channels, 1), ("blocks", blocks, 0), ("pool", pool, 0)):
            require_whole(name, value, least)
        for name, weight in (("cycle", cycle), ("identity", identity)):
            if not 0 <= weight < math.inf:
                raise RangeError(f"{name} must be 0 or more and finite.", got=weight)
        self.game, self.cycle, self.identity = Game(loss, penalty=0.0), cycle, identity
        colours = domain.shape[0]
        self.forth, self.back = (_Translator(colours, channels, blocks) for _ in range(2))
        self.judge_a, self.judge_b = (_Patches(colours, channels) for _ in range(2))
        self.pool_a, self.pool_b = (Pool(pool, domain.shape) for _ in range(2))

    @classmethod
    def refuses(cls, domain: Domain) -> str | None:
        """It takes pictures."""
        return no_pictures(domain)

    def recipe(self) -> Recipe:
        """Small batches, and a moving average of the generators."""
        return Recipe(batch=8, rate=1e-3, betas=(0.5, 0.99), ema=0.995, select="last")

    def training_state(self) -> Mapping[str, Tensor]:
        """The pools."""
        pools = {"a": self.pool_a, "b": self.pool_b}
        return {f"pool_{kind}.{name}": tensor for kind, pool in pools.items() for name, tensor in pool.state.items()}

    def phases(self) -> tuple[Phase, ...]:
        """The discriminator of each kind, then both generators."""
        return (
            Phase("discriminator_a", tuple(self.judge_a.parameters()), self._loss_a),
            Phase("discriminator_b", tuple(self.judge_b.parameters()), self._loss_b),
            Phase("generators", (*self.forth.parameters(), *self.back.parameters()), self._generators_loss),
        )

    def _loss_a(self, batch: Batch, generator: Generator) -> Loss:
        a, b = self._pictures(batch)
        return self._told_apart(self.judge_a, a, self.back, b, self.pool_a, generator)

    def _loss_b(self, batch: Batch, generator: Generator) -> Loss:
        a, b = self._pictures(batch)
        return self._told_apart(self.judge_b, b, self.forth, a, self.pool_b, generator)

    def _told_apart(
        self, judge: nn.Module, real: Tensor, translator: nn.Module, other: Tensor, pool: Pool, generator: Generator
    ) -> Loss:
        """What a discriminator minimises, on pictures of its kind and on translations, half of them older ones."""
        with torch.no_grad():
            fake = pool.exchanged(translator(other).float(), generator)
        return self.game.discriminator(lambda x, _: judge(x), real, fake, None, generator)

    def _generators_loss(self, batch: Batch, generator: Generator) -> Loss:
        """Both games, both cycles and both identities."""
        a, b = self._pictures(batch)
        (to_b, same_b), (to_a, same_a) = self._translated(self.forth, a, b), self._translated(self.back, b, a)
        game_b = self.game.generator(lambda x, _: self.judge_b(x), b, to_b, None, generator).total
        game_a = self.game.generator(lambda x, _: self.judge_a(x), a, to_a, None, generator).total
        cycle = F.l1_loss(self.back(to_b).float(), a) + F.l1_loss(self.forth(to_a).float(), b)
        identity = F.l1_loss(same_b, b) + F.l1_loss(same_a, a)
        parts = {"game_a": game_a, "game_b": game_b, "cycle": cycle, "identity": identity}
        return Loss(game_a + game_b + self.cycle * cycle + self.identity * identity, parts)

    def _translated(self, translator: nn.Module, other: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
        """Translations, and what the generator makes of pictures that are of its own kind already, in one call if at all."""
        if not self.identity:
            return translator(other).float(), own
        made: Tensor = translator(torch.cat([other, own])).float()
        there, same = made.chunk(2)
        return there, same

    def _pictures(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Pictures a and b as the networks see them."""
        if batch.given is None:
            raise BadInput(
                "CycleGAN learns from two sets.", got="one", hint="batch.given are pictures a, batch.x are b"
            )
        return seen(batch.given, self.domain), seen(batch.x, self.domain)

    def _sample(self, n: int, given: Tensor | None, generator: Generator) -> Tensor:
        assert given is not None  # noqa: S101 - what translates asks for it
        translator = self.back if self.backwards else self.forth
        return shown(translator(seen(given, self.domain)), self.domain)

    def _check_sampling(self) -> None:
        if not isinstance(self.backwards, bool):
            raise BadInput("backwards is true or false.", got=self.backwards)


class _Translator(nn.Module):
    """From pictures to pictures: halved once, changed by residual blocks, and doubled again."""

    def __init__(self, colours: int, channels: int, blocks: int) -> None:
        super().__init__()
        wide, pad = 2 * channels, WINDOW // 2
        self.down = nn.Sequential(
            *(nn.Conv2d(colours, channels, WINDOW, 1, pad), nn.GroupNorm(1, channels), nn.ReLU()),
            *(nn.Conv2d(channels, wide, 3, 2, 1), nn.GroupNorm(1, wide), nn.ReLU()),
        )
        self.blocks = nn.Sequential(*(_Residual(wide) for _ in range(blocks)))
        self.doubling = TransposedConvolution(wide, channels, 4, 2, 1)
        self.up = nn.Sequential(nn.GroupNorm(1, channels), nn.ReLU(), nn.Conv2d(channels, colours, WINDOW, 1, pad))

    def forward(self, x: Tensor) -> Tensor:
        h = self.doubling(self.blocks(self.down(x)))[..., : x.shape[2], : x.shape[3]]
        return torch.tanh(self.up(h))


class _Residual(nn.Module):
    """Two convolutions beside a straight way."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        first, second = ((nn.Conv2d(channels, channels, 3, 1, 1), nn.GroupNorm(1, channels)) for _ in range(2))
        self.change = nn.Sequential(*first, nn.ReLU(), *second)

    def forward(self, h: Tensor) -> Tensor:
        changed: Tensor = h + self.change(h)
        return changed


class _Patches(nn.Module):
    """From pictures to logits of overlapping patches, 21 pixels a side, all in one row."""

    def __init__(self, colours: int, channels: int) -> None:
        super().__init__()
        wide, pad = 2 * channels, WINDOW // 2
        self.layers = nn.Sequential(
            *(nn.Conv2d(colours, wide, WINDOW, 2, pad), nn.LeakyReLU(SLOPE)),
            *(nn.Conv2d(wide, 2 * wide, WINDOW, 2, pad), nn.GroupNorm(1, 2 * wide), nn.LeakyReLU(SLOPE)),
            *(nn.Conv2d(2 * wide, 1, 3, 1, 1), nn.Flatten(0)),
        )

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layers(x)
        return logits.float()
