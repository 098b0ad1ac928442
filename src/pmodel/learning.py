"""How a model learns, orthogonal to what it is: by gradients in phases, or in closed form from sufficient statistics.

A model says *what* is minimised or maximised; the loop that does it is in ``train``. Six lines over ``phases()`` train any
gradient model without the engine::

    for phase in model.phases():
        loss = phase.loss(batch, generator)
        optimiser[phase.name].zero_grad()
        loss.total.backward(inputs=phase.parameters)
        optimiser[phase.name].step()
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, final

from torch import Generator, Tensor, nn

__all__ = ["Batch", "ClosedForm", "GradientTrained", "Loss", "MaximumLikelihood", "Phase", "Recipe"]


@final
@dataclass(frozen=True, eq=False)
class Batch:
    """Data to learn from.

    Args:
        x: ``(N, *shape)`` of the domain's type.
        given: Conditions ``(N,)``, or None.
        observed: Mask of observed entries ``(N, *shape)``, or None if all are.
    """

    x: Tensor
    given: Tensor | None = None
    observed: Tensor | None = None


@final
@dataclass(frozen=True, eq=False)
class Loss:
    """A scalar to minimise, and its named parts for the log (never summed by hand)."""

    total: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)


@final
@dataclass(frozen=True, eq=False)
class Phase:
    """One part of a training step: whose parameters move, and down which loss.

    Args:
        name: For the log and the randomness. What follows a space names a stage: curves of losses go on through the stages.
        parameters: The parameters that this phase, and no other at the same time, moves.
        loss: From a batch and a generator to the loss, a mean over the batch. It may move no buffer of another phase. Buffers
            that it moves are averaged over the shards of a batch.
        repeat: How many times in each step; each draws a fresh batch.
        span: The part of training, from 0 to 1, in which the phase is on. Its learning rate runs through the whole schedule
            there; parameters that no phase moves any more take the values of their moving average.
        rate: Its learning rate, as a multiple of the recipe's.
        begin: What is done before its first step, where that is in the middle of training, with a random part of the data: it
            sets what must be known from the data and could not be known when the model was prepared.
    """

    name: str
    parameters: tuple[nn.Parameter, ...]
    loss: Callable[[Batch, Generator], Loss]
    repeat: int = 1
    span: tuple[float, float] = (0.0, 1.0)
    rate: float = 1.0
    begin: Callable[[Batch, Generator], None] | None = None

    def progress(self, progress: float) -> float:
        """How far the phase is, from 0 to 1, at a point of training."""
        start, end = self.span
        return min(max((progress - start) / (end - start), 0.0), 1.0)

    def starts(self, before: float, progress: float) -> bool:
        """Whether its first step is the one at this point of training, and not the one before."""
        return self.on(progress) and not self.on(before)

    def on(self, progress: float) -> bool:
        """Whether the phase is on at this point of training."""
        return self.span[0] <= progress < self.span[1]


@final
@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A model's own training settings; ``--set train.batch=64`` changes one.

    Args:
        batch: Data in a batch.
        optimiser: ``adamw``, or ``muon``: AdamW, but matrices between layers take orthogonal steps of the same size.
        rate: Peak learning rate.
        betas: Adam's moment decays.
        decay: Decoupled weight decay.
        schedule: ``cosine`` (to zero at the end) or ``constant``, after a linear warm-up.
        warmup: The part of training spent on the warm-up.
        clip: Largest gradient norm of a phase, or 0 for none.
        ema: Decay of the moving average of the weights, which is what is sampled and scored; 0 for none.
        steps: Steps of a run that was given neither steps nor a budget.
        iterations: Most iterations of expectation maximisation.
        tolerance: It stops when an iteration gains less than this many nats per datum.
        select: The weights that are kept after gradient steps: those that were ``best`` on validation data, where there are
            such data and the model has a likelihood or samples (``train.validation`` says what is best), or the ``last``.
        patience: Gradient steps end after this many validations in a row that were not the best so far; 0 never.
        retry: How many times a run that diverges goes back to its last good state and on with half the rate, and in float32.
        augment: Changes of pictures that leave them plausible: ``shift`` and ``flip``.
        binarise: Whether binary data are drawn anew from their grey intensities for every batch of a gradient step, where these
            are known.
    """

    batch: int = 128
    optimiser: Literal["adamw", "muon"] = "adamw"
    rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    decay: float = 0.0
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: float = 0.02
    clip: float = 0.0
    ema: float = 0.999
    steps: int = 2000
    iterations: int = 100
    tolerance: float = 1e-4
    select: Literal["best", "last"] = "best"
    patience: int = 0
    retry: int = 0
    augment: tuple[str, ...] = ()
    binarise: bool = True

    def to_json(self) -> dict[str, Any]:
        """The recipe as JSON."""
        return {**self.__dict__, "betas": list(self.betas), "augment": list(self.augment)}


class GradientTrained(ABC):
    """A model that learns by gradient descent."""

    @abstractmethod
    def phases(self) -> tuple[Phase, ...]:
        """The phases of a step, in order: one for most models, two for an adversarial pair."""

    def advance(self, progress: float) -> None:  # noqa: B027
        """Move temperatures and warm-ups to a point of training between 0 and 1. The default has none.

        What it sets is a function of ``progress`` alone: a resumed run calls it with the progress of its next step.
        """

    def training_state(self) -> Mapping[str, Tensor]:
        """What training carries from step to step and sampling does not need: chains, a replay buffer, a pool of images.

        Tensors that the constructor makes (buffers with ``persistent=False``), that keep their shapes, and that are changed
        in place: a checkpoint copies from them and back into them. They are no part of the saved model. The default has none.
        """
        return {}

    def recipe(self) -> Recipe:
        """The training settings that this model is known to train with."""
        return Recipe()


class MaximumLikelihood(GradientTrained):
    r"""A density that learns by gradient descent on :math:`-\mathbb{E} \log p(x \mid y)`, in one phase.

    It is listed after the density among the bases of a model.
    """

    @abstractmethod
    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """Those of the module."""

    @abstractmethod
    def _log_prob(self, x: Tensor, given: Tensor | None) -> Tensor:
        """The density's, ``(N,)``."""

    def phases(self) -> tuple[Phase, ...]:
        """One phase: the likelihood itself, of all parameters that are not idle."""
        learned = tuple(p for p in self.parameters() if p.requires_grad)
        return (Phase("likelihood", learned, self._loss),)

    def _loss(self, batch: Batch, generator: Generator) -> Loss:
        log_prob = self._log_prob(batch.x, batch.given).mean()
        return Loss(-log_prob, {"log_prob": log_prob})


class ClosedForm(ABC):
    """A model that learns from sufficient statistics: directly, or by expectation maximisation.

    The statistics are sums over data, so they add up over batches and processes with the same answer, and the data never
    have to be in memory at once.
    """

    iterative: bool = False
    """Whether one pass over the data is not enough."""

    @property
    def freedom(self) -> int | None:
        """Free parameters, which information criteria count; None where a model does not count its own."""
        return None

    @abstractmethod
    def initialise(self, subset: Batch, generator: Generator) -> None:
        """Set the starting point from a random part of the training data."""

    @abstractmethod
    def statistics(self, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """Float64 sums over the batch under the current parameters, among them ``log_prob`` and ``n``.

        ``log_prob`` is the sum of the batch's log-likelihoods under the parameters *before* the update; a model that needs
        one pass only may leave it out.
        """

    @abstractmethod
    def maximise(self, statistics: Mapping[str, Tensor]) -> None:
        """Set the parameters that maximise the expected log-likelihood under the summed statistics."""

    def recipe(self) -> Recipe:
        """The settings of expectation maximisation."""
        return Recipe()
