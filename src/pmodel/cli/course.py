"""The course of a run so far, gathered from its events: what the terminal shows of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from torch import Tensor

    from ..train import Event, Iterated, Stepped

__all__ = ["Course"]

RELATION = {"exact": "", "lower_bound": "≥ ", "estimate": "≈ ", "distance": ""}


@final
@dataclass
class Course:
    """What has been told of a run.

    Args:
        unit: What is counted, ``step`` or ``pass``; empty before training begins.
        done: Steps or passes done.
        total: Of so many, or of at most so many.
        images: Data seen.
        seconds: Of training, when the last event was told.
        curves: Losses and likelihoods by name, from the first told to the last.
        validation: Scores on validation data.
        score: What such a score is: ``validation`` (a log-likelihood) or ``distance``.
        relation: Of it to the likelihood.
        best: The step of the one whose weights are to be kept.
        saved: The step or pass of the last checkpoint, or 0.
        warnings: What is wrong by its name: in words, and whether the model is of no use.
        samples: The last ones.
    """

    unit: str = ""
    done: int = 0
    total: int = 0
    images: int = 0
    seconds: float = 0.0
    curves: dict[str, list[float]] = field(default_factory=dict)
    validation: list[float] = field(default_factory=list)
    score: str = "validation"
    relation: str = ""
    best: int | None = None
    saved: int = 0
    warnings: dict[str, tuple[str, bool]] = field(default_factory=dict)
    samples: Tensor | None = None
    _told: float = 0.0
    _origin: tuple[int, int, float] | None = None

    def tell(self, event: Event) -> None:
        """Take the next event."""
        from ..train import events

        match event:
            case events.Started():
                self.unit, self.total = ("step", event.steps) if event.steps else ("pass", event.iterations)
                if self._told == 0:  # a run that goes on has said before where it is
                    self._begin(0, 0, 0.0)
            case events.Resumed():
                self._go_on(event.iteration or event.step, event.seconds)
            case events.Stepped():
                self._lose(event)
                self._count("step", event.step, event.steps, event)
            case events.Iterated():
                if event.log_prob is not None:
                    self.curves.setdefault("log p", []).append(event.log_prob)
                self._count("pass", event.iteration, event.iterations, event)
            case events.Validated():
                self.validation.append(event.value)
                self.score = "distance" if event.kind == "distance" else "validation"
                self.relation = RELATION[event.kind]
                self.best = event.step if event.best else self.best
            case events.Sampled():
                self.samples = event.x
            case events.Saved():
                self.saved = event.iteration or event.step
            case events.Diagnosed():
                verdict = event.diagnosis
                self.warnings[verdict.name] = (f"{verdict.name}: {verdict.words}", verdict.fatal)
            case events.Rescued():
                words = f"back at step {event.step:,}: learning rate × {event.rate:g}, {event.precision}"
                self.warnings["rescue"] = (words, False)
                self._go_on(event.step, event.seconds)

    def _begin(self, done: int, images: int, seconds: float) -> None:
        """Measure the speed from here on."""
        self.done, self.images, self.seconds, self._told = done, images, seconds, time.monotonic()
        self._origin = (done, images, seconds)

    def _go_on(self, done: int, seconds: float) -> None:
        """Stand at an earlier point; the speed is measured once the data seen by then are known."""
        self._begin(done, self.images, seconds)
        self._origin = None

    def _lose(self, event: Stepped) -> None:
        """Add to the curves: of one phase, under the names of its parts."""
        phases = {name.partition(".")[0] for name in event.curves}
        for name, value in event.curves.items():
            phase, _, part = name.partition(".")
            short = part or phase if len(phases) == 1 else name.removesuffix(".loss")
            self.curves.setdefault(short, []).append(value)

    def _count(self, unit: str, done: int, total: int, event: Stepped | Iterated) -> None:
        if self._origin is None:
            self._origin = (done, event.images, event.seconds)
        if unit != self.unit:  # from gradient steps to passes
            self._origin = (0, self.images, self.seconds)
        self.unit, self.done, self.total = unit, done, total
        self.images, self.seconds, self._told = event.images, event.seconds, time.monotonic()

    @property
    def share(self) -> float:
        """The part that is done, from 0 to 1."""
        return min(1.0, self.done / self.total) if self.total else 0.0

    @property
    def speed(self) -> float | None:
        """Data a second."""
        if self._origin is None or self.seconds <= self._origin[2]:
            return None
        return (self.images - self._origin[1]) / (self.seconds - self._origin[2])

    @property
    def elapsed(self) -> float:
        """Seconds of training until now."""
        return self.seconds + (time.monotonic() - self._told if self._told else 0.0)

    @property
    def left(self) -> float | None:
        """Seconds to the end at the speed so far; None before there is one."""
        if self._origin is None or self.done <= self._origin[0]:
            return None
        each = (self.seconds - self._origin[2]) / (self.done - self._origin[0])
        return max(0.0, each * (self.total - self.done) - (self.elapsed - self.seconds))
