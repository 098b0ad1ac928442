r"""A generator and a discriminator as a model: the phases, and how data reach the networks.

Each step has two phases, on fresh data and fresh noise; each moves its own player and nothing else. While one learns the other
rests: it is in evaluation mode, so that layers with a memory, such as spectral or batch normalisation, keep theirs.

Two slips that silently ruin such models:

- Freezing D before its first step (``D.trainable = False``, as old Keras programs do after compiling D; Keras 3 reads the
  flag when the step is first traced) means D never trains: its weights stay what they were. Here each phase names its own
  parameters, and gradients go to them alone.
- Reading running means as losses: "D(real) = D(fake)" in such logs is one average printed twice.
"""

from __future__ import annotations

import copy
import dataclasses
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor, nn

from ...capability import Completes, Latent, Samples
from ...distribution import Point, wide
from ...domain import Discrete, Domain
from ...errors import BadInput, require_whole
from ...learning import Batch, GradientTrained, Loss, Phase, Recipe
from ...randomness import generator as derived
from .game import Game
from .inversion import SIGMA, STARTS, Inversion, Target
from .scale import seen, shown

__all__ = ["AdversarialPair", "PicturePair", "no_pictures"]


class AdversarialPair(Samples, Latent, Completes, GradientTrained):
    """A generator of z ~ N(0, I) and a discriminator of its samples.

    A model makes the two networks after this constructor: ``generator`` takes z ``(N, latent)`` and labels ``(N,)`` or None,
    and returns data as the networks see them, ``(N, *shape)``: discrete levels on [-1, 1], real entries as they are.
    ``discriminator`` takes such data, ``game.packing`` of them as channels of one, and labels, and returns logits ``(N,)``.

    Args:
        domain: Of the data.
        given: A class label or None.
        latent: Entries of z.
        game: What the players minimise, and how they take turns. The game of the class is its default: its fields are options.
        bounded: Whether the discriminator's weights bound its slopes.

    Raises:
        BadInput: if the game does not fit the data, or a Wasserstein critic would have no bound.
        RangeError: if a number is out of range.
    """

    deterministic = True
    searched = True
    adjustable = ("iterations",)
    iterations: int = 20
    """Steps of the search for a code, at most (``inversion.py``)."""
    spherical: ClassVar[bool] = False
    """Whether the generator sees only the direction of z."""
    batchwise: ClassVar[bool] = False
    """Whether the discriminator judges a datum by the others of its batch."""
    conditional: ClassVar[bool] = True
    game: Game = Game()
    generator: nn.Module
    discriminator: nn.Module

    @abstractmethod
    def __init__(self, domain: Domain, given: Domain | None, *, latent: int, game: Game, bounded: bool = False) -> None:
        super().__init__(domain, given)
        reason = self.refuses(domain)
        if reason is not None:
            raise BadInput(f"{type(self).__name__} cannot take these data: {reason}.", got=domain)
        if given is not None and game.packing > 1:
            words = "A pack holds data of any label: packing is for models without."
            raise BadInput(words, got=f"packing={game.packing}", hint="packing=1, or leave out conditional=true")
        if self.batchwise and game.penalised_part < 1:
            raise BadInput(
                "This discriminator judges a datum by its batch: slopes in a part of it are those of another game.",
                got=f"penalised_part={game.penalised_part}",
                hint="penalised_part=1",
            )
        if game.changes and no_pictures(domain):
            words = f"changes are those of pictures with levels; {type(self).__name__} sees none here."
            raise BadInput(words, got=domain, hint="leave changes out, or take dcgan")
        if game.loss == "wasserstein" and not (game.penalty or bounded):
            words = "A Wasserstein critic has no bound without a penalty on its slopes."
            raise BadInput(words, got="penalty=0", hint="penalised=between penalty=10")
        self.latent, self.game = require_whole("latent", latent, 1), game

    def recipe(self) -> Recipe:
        """Adam without momentum, and a moving average of the generator."""
        return Recipe(batch=64, rate=2e-3, betas=(0.0, 0.99), ema=0.995, select="last")

    def phases(self) -> tuple[Phase, ...]:
        """The discriminator, on fresh data as often as ``repeats`` says, then the generator."""
        return self._turns(self.discriminator.parameters(), self.generator.parameters())

    def _turns(
        self,
        critic: Iterable[nn.Parameter],
        maker: Iterable[nn.Parameter],
        stage: str = "",
        span: tuple[float, float] = (0.0, 1.0),
    ) -> tuple[Phase, Phase]:
        """The phases of a stage of training, in which these parameters of the discriminator and of the generator learn."""
        repeats, lead = self.game.repeats, self.game.lead
        first = Phase(f"discriminator{stage}", tuple(critic), self._discriminator_loss, repeats, span, lead)
        return first, Phase(f"generator{stage}", tuple(maker), self._generator_loss, span=span)

    def _discriminator_loss(self, batch: Batch, generator: Generator) -> Loss:
        with torch.no_grad(), resting(self.generator):
            fake = self._generated(len(batch.x), batch.given, generator)
        real, apart = self._seen(batch.x), self.batchwise
        return self.game.discriminator(self._judged, real, fake, batch.given, generator, apart=apart)

    def _generator_loss(self, batch: Batch, generator: Generator) -> Loss:
        fake = self._generated(len(batch.x), batch.given, generator)
        with resting(self.discriminator):
            return self.game.generator(self._judged, self._seen(batch.x), fake, batch.given, generator)

    def _generated(self, n: int, given: Tensor | None, generator: Generator) -> Tensor:
        """Samples as the networks see them, ``(n, *shape)``."""
        return self._made(torch.randn(n, self.latent, generator=generator, device=self.device), given)

    def _made(self, z: Tensor, given: Tensor | None) -> Tensor:
        """G(z) as the networks see it."""
        return wide(self.generator(z, given))

    def _judged(self, x: Tensor, given: Tensor | None) -> Tensor:
        """The logits of data as the networks see them, ``(N,)``."""
        logits: Tensor = self.discriminator(x, given)
        return logits

    def _sample(self, n: int, given: Tensor | None, generator: Generator) -> Tensor:
        return self._shown(self._generated(n, given, generator))

    def _encode(self, x: Tensor, given: Tensor | None) -> Point:
        starts = torch.randn(self._starts, self.latent, generator=derived(0, "codes"), device="cpu").to(self.device)
        centre = torch.zeros(len(x), self.latent, device=self.device)
        return Point(self._found(seen(x, self.domain), x.isfinite(), given, centre, starts))

    def _decode(self, z: Tensor, given: Tensor | None) -> Point:
        return Point(self._shown(self._made(z.float(), given)))

    def _complete(self, x: Tensor, observed: Tensor, given: Tensor | None, generator: Generator) -> Tensor:
        drawn = partial(torch.randn, generator=generator, device=self.device)
        near = seen(x, self.domain) + SIGMA * drawn(x.shape)
        centre, starts = drawn(len(x), self.latent), drawn(self._starts, self.latent)
        return self._shown(self._made(self._found(near, observed, given, centre, starts), given))

    def _exactly(self, x: Tensor, observed: Tensor) -> Tensor:
        return torch.zeros(len(x), dtype=torch.bool, device=x.device)

    def _check_sampling(self) -> None:
        require_whole("iterations", self.iterations, 0, 10**6)

    @property
    def _starts(self) -> int:
        """How many draws of z a search may start from: fewer of large data."""
        return max(1, min(STARTS, self.chunk // self.domain.entries))

    def _found(self, x: Tensor, observed: Tensor, given: Tensor | None, centre: Tensor, starts: Tensor) -> Tensor:
        """Codes of data as the networks see them, by a generator of double precision, for as many at a time as fit."""
        pair: Any = copy.deepcopy(self).double().requires_grad_(False)
        pair.to(memory_format=torch.contiguous_format)  # slopes of a normalisation are taken of no other layout
        search = Inversion(
            lambda z, given: pair._whole(pair._made(z, given)).flatten(1), self.iterations, spherical=self.spherical
        )
        target = Target(x.flatten(1).double(), observed.flatten(1), given, centre.double())
        size = max(1, self.chunk // (self.domain.entries * self.latent))
        rows = torch.split(torch.arange(len(x), device=x.device), size)
        return torch.cat([search(target.take(part), starts.double()) for part in rows]).float()

    def _seen(self, x: Tensor) -> Tensor:
        """Data as the networks see them."""
        return seen(x, self.domain)

    def _whole(self, y: Tensor) -> Tensor:
        """What the networks see, in the full size of data."""
        return y

    def _shown(self, y: Tensor) -> Tensor:
        """Data from what the networks see: the nearest levels."""
        return shown(self._whole(y), self.domain)


class PicturePair(AdversarialPair):
    """A pair for pictures of any size, colours and levels."""

    natives: ClassVar[tuple[type[Domain], ...]] = (Discrete,)
    game = Game(penalised_part=0.25)

    @classmethod
    def refuses(cls, domain: Domain) -> str | None:
        """It takes pictures."""
        return no_pictures(domain)

    def recipe(self) -> Recipe:
        """Small batches: in minutes of training, more steps are worth more than better ones."""
        return dataclasses.replace(super().recipe(), batch=16)


def no_pictures(domain: Domain) -> str | None:
    """Why data are not pictures with levels, or None."""
    if isinstance(domain, Discrete) and len(domain.shape) == 3:
        return None
    return "it takes pictures of shape (C, H, W) with discrete levels"


@contextmanager
def resting(player: nn.Module) -> Iterator[None]:
    """A network in evaluation mode, for a while."""
    mode = player.training
    player.eval()
    try:
        yield
    finally:
        player.train(mode)
