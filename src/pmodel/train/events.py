"""What training yields. The progress bar, the log, the report and the tests all consume the same events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, final

from torch import Tensor

__all__ = ["Event", "Finished", "Iterated", "Sampled", "Started", "Stepped", "to_json"]


@final
@dataclass(frozen=True)
class Started:
    """Training begins.

    Args:
        steps: Gradient steps to come.
        iterations: Most passes of expectation maximisation to come.
    """

    steps: int
    iterations: int


@final
@dataclass(frozen=True)
class Stepped:
    """Some gradient steps are done.

    Args:
        step: Steps done so far, of ``steps``.
        steps: Steps in all.
        losses: Means since the last event, named ``phase.part``.
        images: Data seen so far.
        seconds: Since training began.
    """

    step: int
    steps: int
    losses: Mapping[str, float]
    images: int
    seconds: float


@final
@dataclass(frozen=True)
class Iterated:
    """A pass over all data is done.

    Args:
        iteration: Passes done so far, of at most ``iterations``.
        iterations: The most there can be.
        log_prob: Mean log-likelihood of the training data in nats, before this pass's update; None if it was not computed.
        images: Data seen so far.
        seconds: Since training began.
    """

    iteration: int
    iterations: int
    log_prob: float | None
    images: int
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
class Finished:
    """Training is over.

    Args:
        reason: ``finished`` as planned, ``converged`` before that, or ``cut by the clock``.
        steps: Gradient steps done.
        iterations: Passes done.
        images: Data seen.
        seconds: Of training.
    """

    reason: Literal["finished", "converged", "cut by the clock"]
    steps: int
    iterations: int
    images: int
    seconds: float


Event = Started | Stepped | Iterated | Sampled | Finished


def to_json(event: Event) -> dict[str, Any]:
    """The event as a line of the log; samples themselves are files."""
    fields = {"progress": event.progress} if isinstance(event, Sampled) else asdict(event)
    return {"event": type(event).__name__.lower(), **fields}
