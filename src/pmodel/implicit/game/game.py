r"""The game of a generator and its discriminator, as functions of data, samples and a critic.

.. math::

    D: \quad \min_D \; L_D\big(D(T x), D(T G(z))\big) + \text{penalty}, \qquad
    G: \quad \min_G \; L_G\big(D(T x), D(T G(z))\big)

with the losses of ``losses``, the penalties of ``penalties`` and the changes T of ``augmentation``. With a packing of m the
discriminator judges m data of one source at once (Lin et al. 2018, https://arxiv.org/abs/1712.04086): m samples of a generator
that lacks modes look less like m data than one does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Generator, Tensor

from ...errors import BadInput, RangeError, require_whole
from ...learning import Loss
from .augmentation import CHANGES, changed
from .losses import LOSSES, Losses, LossName
from .penalties import PENALISED, Penalised, between, slope_penalty, squared_slopes

__all__ = ["Critic", "Game"]

Critic = Callable[[Tensor, Tensor | None], Tensor]
"""From data ``(N, *shape)`` and labels ``(N,)`` or None to logits ``(N,)``."""


@final
@dataclass(frozen=True)
class Game:
    """What both players minimise, and how often and fast they move: options of every adversarial pair.

    Args:
        loss: ``relativistic``, ``nonsaturating``, ``minimax`` (the original game), ``hinge``, ``wasserstein`` or ``squares``.
        penalty: Weight of the penalty on the discriminator's slopes, 0 for none.
        penalised: Where slopes are penalised: at ``data``, at ``samples``, at ``both``, or ``between`` them.
        penalised_part: The part of a batch at which slopes are penalised: a mean over fewer data costs less, and is the same on
            average. Models that judge a datum by its batch take the whole.
        packing: Data that the discriminator judges at once.
        changes: Differentiable augmentation of pictures with levels: some of ``colour``, ``translation`` and ``hole``. Models
            of real numbers take none.
        drift: Weight of the penalty on the discriminator's squared logits at data, 0 for none: a Wasserstein critic is known up
            to a constant, which else wanders.
        repeats: Discriminator updates for each generator update.
        lead: The discriminator's learning rate, as a multiple of the generator's.

    Raises:
        BadInput: if there is no such loss, penalty or change.
        RangeError: if a number is out of range.
    """

    loss: LossName = "relativistic"
    penalty: float = 1.0
    penalised: Penalised = "both"
    penalised_part: float = 1.0
    packing: int = 1
    changes: Sequence[str] = ()
    drift: float = 0.0
    repeats: int = 1
    lead: float = 1.0

    def __post_init__(self) -> None:
        _require_known("loss", self.loss, LOSSES)
        _require_known("penalised", self.penalised, PENALISED)
        if isinstance(self.changes, str):
            raise BadInput("changes is a list of words.", got=repr(self.changes), hint=f"changes=[{self.changes!r}]")
        for name in self.changes:
            _require_known("changes", name, CHANGES)
        object.__setattr__(self, "changes", tuple(self.changes))
        require_whole("packing", self.packing, 1)
        require_whole("repeats", self.repeats, 1)
        for name, weight in (("penalty", self.penalty), ("drift", self.drift)):
            if not 0 <= weight < math.inf:
                raise RangeError(f"{name} must be 0 or more and finite.", got=weight)
        if not 0 < self.penalised_part <= 1:
            raise RangeError("penalised_part is more than 0 and at most 1.", got=self.penalised_part)
        if not 0 < self.lead <= 100:
            raise RangeError("lead is a positive number of at most 100.", got=self.lead)

    @property
    def losses(self) -> Losses:
        """The functions of the loss."""
        return LOSSES[self.loss]

    @property
    def biased(self) -> bool:
        """Whether a bias of D has anything to learn."""
        return self.drift > 0 or not self.losses.shiftless

    def discriminator(
        self,
        critic: Critic,
        real: Tensor,
        fake: Tensor,
        given: Tensor | None,
        generator: Generator,
        *,
        apart: bool = False,
    ) -> Loss:
        """What the discriminator minimises; slopes are differentiated twice, so with a penalty all is float32.

        Args:
            critic: The discriminator.
            real: Data ``(N, *shape)``, as the networks see them.
            fake: As many samples.
            given: The labels of both, or None.
            generator: Of the changes and of the points between.
            apart: Whether data and samples are two batches, because the critic judges a datum by the others of its batch. As
                one they take less time.
        """
        with torch.autocast(real.device.type, enabled=torch.is_autocast_enabled(real.device.type) and not self.penalty):
            sides = [self._input(x, generator) for x in (real, fake)]
            on_real, on_fake = logits = verdicts(critic, sides, given, apart)
            game = self.losses.discriminator(on_real, on_fake)
            parts = {"loss": game, "real": on_real.mean(), "fake": on_fake.mean()}
            if self.drift:
                parts["drift"] = on_real.square().mean()
                game = game + self.drift * parts["drift"]
            if not self.penalty:
                return Loss(game, parts)
            if self.penalised == "between":
                parts["slope"] = self._slope_between(critic, sides, given, generator)
                return Loss(game + self.penalty * parts["slope"], parts)
            slopes = self._squared_slopes(critic, sides, logits, given, apart)
            return Loss(game + self.penalty / 2 * sum(slopes.values()), {**parts, **slopes})

    def _slope_between(
        self, critic: Critic, sides: Sequence[Tensor], given: Tensor | None, generator: Generator
    ) -> Tensor:
        """The penalty on slopes other than one."""
        (real, fake), labels = self._penalised(sides, given)
        x = between(real, fake, generator).requires_grad_()
        return slope_penalty(critic(x, labels), x)

    def _squared_slopes(
        self, critic: Critic, sides: Sequence[Tensor], logits: Sequence[Tensor], given: Tensor | None, apart: bool
    ) -> dict[str, Tensor]:
        """R1 and R2, those that the game has."""
        chosen = [k for k, name in enumerate(("data", "samples")) if self.penalised in (name, "both")]
        x, on_x = [sides[k] for k in chosen], [logits[k] for k in chosen]
        if self.penalised_part < 1:
            x, labels = self._penalised(x, given)
            on_x = verdicts(critic, [side.requires_grad_() for side in x], labels, apart)
        slopes = squared_slopes(torch.cat(on_x), *x)
        return {f"r{k + 1}": squared.mean() for k, squared in zip(chosen, slopes, strict=True)}

    def _penalised(self, sides: Sequence[Tensor], given: Tensor | None) -> tuple[list[Tensor], Tensor | None]:
        """The part of equal batches at which slopes are penalised, and its labels."""
        n = math.ceil(self.penalised_part * len(sides[0]))
        return [x[:n].detach() for x in sides], None if given is None else given[:n]

    def generator(self, critic: Critic, real: Tensor, fake: Tensor, given: Tensor | None, generator: Generator) -> Loss:
        """What the generator minimises; ``real`` is looked at where the loss compares samples with data."""
        on_fake = critic(self._judged(fake, generator), given)
        on_real = on_fake.detach()
        if self.losses.paired:
            with torch.no_grad():
                on_real = critic(self._judged(real, generator), given)
        return Loss(self.losses.generator(on_real, on_fake))

    def _input(self, x: Tensor, generator: Generator) -> Tensor:
        """What the discriminator learns from, of which slopes can be taken."""
        return self._judged(x.detach().float(), generator).requires_grad_(self.penalty > 0)

    def _judged(self, x: Tensor, generator: Generator) -> Tensor:
        """Data as the discriminator sees them: changed, and ``packing`` of them as one."""
        return packed(changed(x, self.changes, generator), self.packing)


def verdicts(critic: Critic, sides: Sequence[Tensor], given: Tensor | None, apart: bool) -> list[Tensor]:
    """The logits of equal batches that are given the same labels: of one after the other, or of all at once."""
    if apart:
        return [critic(x, given) for x in sides]
    labels = None if given is None else torch.cat([given] * len(sides))
    return list(critic(torch.cat(list(sides)), labels).chunk(len(sides)))


def packed(x: Tensor, m: int) -> Tensor:
    """``(N, C, *sides)`` to ``(N // m, m · C, *sides)``: m data side by side as channels; a rest is left out."""
    if len(x) < m:
        raise BadInput(f"A pack of {m} needs as many data in a batch.", got=len(x), hint="a larger train.batch")
    return x if m == 1 else x[: len(x) // m * m].reshape(len(x) // m, -1, *x.shape[2:])


def _require_known(what: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        raise BadInput(f"{what} is one of {', '.join(known)}.", got=name)
