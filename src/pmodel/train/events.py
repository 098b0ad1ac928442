"""What training yields. The progress bar, the log, the report and the tests all consume the same events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, final

from torch import Tensor

from ..likelihood import Kind
from .diagnosis import Diagnosis

__all__ = [
    "Diagnosed",
    "Event",
    "Finished",
    "Iterated",
    "Reason",
    "Rescued",
    "Resumed",
    "Sampled",
    "Saved",
    "ScoreKind",
    "Started",
    "Stepped",
    "Validated",
    "curve_of",
    "to_json",
]

ScoreKind = Kind | Literal["distance"]
"""What a score on validation data is: a kind of likelihood, or the distance of samples."""
Reason = Literal["finished", "converged", "cut by the clock", "stopped early"]


@final
@dataclass(frozen=True)
class Started:
    """Training begins, or goes on.

    Args:
        steps: Gradient steps of the plan.
        iterations: Most passes of expectation maximisation.
    """

    steps: int
    iterations: int


@final
@dataclass(frozen=True)
class Resumed:
    """A stopped run goes on from its last checkpoint.

    Args:
        step: Gradient steps done.
        iteration: Passes done.
        seconds: Of training so far.
    """

    step: int
    iteration: int
    seconds: float


@final
@dataclass(frozen=True)
class Stepped:
    """Some gradient steps are done, and everything that was due at this step has been told.

    Args:
        step: Steps done so far, of ``steps``.
        steps: Steps in all.
        losses: Means since the last event, named ``phase.part``.
        images: Data seen so far.
        seconds: Of training so far.
    """

    step: int
    steps: int
    losses: Mapping[str, float]
    images: int
    seconds: float

    @property
    def curves(self) -> dict[str, float]:
        """The losses by the names of their curves."""
        return {curve_of(name): value for name, value in self.losses.items()}


def curve_of(loss: str) -> str:
    """The curve that a loss named ``phase.part`` is a point of: curves go on through the stages of a phase."""
    phase, dot, part = loss.partition(".")
    return phase.partition(" ")[0] + dot + part


@final
@dataclass(frozen=True)
class Iterated:
    """A pass over all data is done.

    Args:
        iteration: Passes done so far, of at most ``iterations``.
        iterations: The most there can be.
        log_prob: Mean log-likelihood of the training data in nats, before this pass's update; None if it was not computed.
        images: Data seen so far.
        seconds: Of training so far.
    """

    iteration: int
    iterations: int
    log_prob: float | None
    images: int
    seconds: float


@final
@dataclass(frozen=True)
class Validated:
    """The model as it is now has been scored on validation data, with the same noise each time.

    Args:
        step: Steps done so far, of ``steps``.
        steps: Steps in all.
        value: Mean log-likelihood in nats per datum, of which more is better; of a model without one, the energy distance of
            samples from the data, of which less is better.
        stderr: Its standard error.
        kind: Whether the likelihood is exact, a lower bound or an estimate; or ``distance``.
        n: Data scored, or compared with as many samples.
        best: Whether these are the weights to keep so far: of likelihoods the highest, of distances the latest that is not
            worse by more than noise.
        seconds: Of training so far.
    """

    step: int
    steps: int
    value: float
    stderr: float
    kind: ScoreKind
    n: int
    best: bool
    seconds: float


@final
@dataclass(frozen=True, eq=False)
class Sampled:
    """The model as it is now has been sampled, from the same noise each time.

    Args:
        progress: The part of training that is done.
        x: Samples, ``(n, *shape)``.
    """

    progress: float
    x: Tensor


@final
@dataclass(frozen=True)
class Diagnosed:
    """Something is wrong with the training or the model.

    Args:
        step: Steps done so far.
        diagnosis: What, and what to do.
        seconds: Of training so far.
    """

    step: int
    diagnosis: Diagnosis
    seconds: float


@final
@dataclass(frozen=True)
class Rescued:
    """A run that diverged has gone back to its last good state and goes on more carefully.

    Args:
        step: Where it is now.
        rate: What the learning rate is multiplied by from here on.
        precision: Of the arithmetic from here on.
        seconds: Of training so far.
    """

    step: int
    rate: float
    precision: str
    seconds: float


@final
@dataclass(frozen=True)
class Saved:
    """A checkpoint has been written.

    Args:
        step: Gradient steps done.
        iteration: Passes done.
        seconds: Of training so far.
    """

    step: int
    iteration: int
    seconds: float


@final
@dataclass(frozen=True)
class Finished:
    """Training is over.

    Args:
        reason: ``finished`` as planned, ``converged`` or ``stopped early`` before that, or ``cut by the clock``.
        steps: Gradient steps done.
        iterations: Passes done.
        images: Data seen.
        seconds: Of training.
    """

    reason: Reason
    steps: int
    iterations: int
    images: int
    seconds: float


Event = Started | Resumed | Stepped | Iterated | Validated | Sampled | Diagnosed | Rescued | Saved | Finished


def to_json(event: Event) -> dict[str, Any]:
    """The event as a line of the log; samples themselves are files."""
    fields = {"progress": event.progress} if isinstance(event, Sampled) else asdict(event)
    return {"event": type(event).__name__.lower(), **fields}
