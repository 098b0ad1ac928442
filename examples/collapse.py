"""Modes that an adversarial pair loses on a ring of eight, where they can be counted, and what keeps them.

    python examples/collapse.py --out collapse.png

Five games on a ring of eight modes, by networks and rate of the default.

=================  ====================  ==============================================================================
game               loss, penalty         Adam
=================  ====================  ==============================================================================
minimax            minimax, none         as it comes: momentum 0.9, at a constant rate, without a moving average
non-saturating     non-saturating, none  the same
penalties alone    the default           the same
no momentum alone  minimax, none         the same without momentum
default            relativistic, R1, R2  no momentum, a rate that falls, a moving average
=================  ====================  ==============================================================================

Each is looked at after every report, about two hundred times, by 256 samples: how many modes have one within three standard
deviations, and which has most. A loss that swings, and a most frequent mode that changes, are the players turning around each
other (``two_players``). The doctor's verdicts are those that a user would have been told.
"""

from __future__ import annotations

import functools
import itertools
import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

import pmodel
from picture import run
from pmodel.construction import make
from pmodel.metrics.modes import found_modes, high_quality
from pmodel.train import Diagnosed, Stepped, plan, train

STEPS, SEEDS = 1500, (0, 1, 2, 3, 4)
LOOKED_AT, KEPT = 256, 2500
"""Samples that modes are counted in, after every report and at the end."""
SIDE = 3.0
"""The window that samples are shown in is twice as wide."""
SMOOTH = 10
"""Reports, of about 200, that a loss is averaged over before its swing is taken."""
COLOURS = {
    "minimax": "#d65a1e",
    "non-saturating": "#5a3c96",
    "penalties alone": "#8c8c8c",
    "no momentum alone": "#3c8c50",
    "default": "#206eb4",
}
PLAIN: Mapping[str, Any] = {"betas": (0.9, 0.999), "ema": 0.0, "schedule": "constant"}
"""Adam as it comes."""
GAMES: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "minimax": ({"loss": "minimax", "penalty": 0.0}, PLAIN),
    "non-saturating": ({"loss": "nonsaturating", "penalty": 0.0}, PLAIN),
    "penalties alone": ({}, PLAIN),
    "no momentum alone": ({"loss": "minimax", "penalty": 0.0}, {**PLAIN, "betas": (0.0, 0.999)}),
    "default": ({}, {}),
}
"""Options and training settings."""


@dataclass(frozen=True)
class Course:
    """A training on the ring.

    Args:
        steps: At which it reported.
        modes: With a sample of high quality, at each.
        top: The mode with most of them, -1 for none.
        loss: The discriminator's, relative to its value at the equilibrium.
        samples: Of the model that is kept, ``(KEPT, 2)``.
        found: Modes in them.
        quality: Their share at a mode.
        said: The names of what the doctor said, in the order in which it did.
    """

    steps: list[int]
    modes: list[int]
    top: list[int]
    loss: list[float]
    samples: Tensor
    found: int
    quality: float
    said: tuple[str, ...]

    @property
    def late_loss(self) -> float:
        """The loss, on average after a quarter of training."""
        late = self.loss[len(self.loss) // 4 :]
        return sum(late) / len(late)

    @property
    def swing(self) -> float:
        """The standard deviation of the smoothed loss, after a quarter of training."""
        late = torch.tensor(self.loss[len(self.loss) // 4 :])
        return float(late.unfold(0, SMOOTH, 1).mean(1).std())

    @property
    def moves(self) -> float:
        """How often the mode with most samples is another one than at the report before."""
        late = self.top[len(self.top) // 4 :]
        return sum(a != b for a, b in itertools.pairwise(late)) / (len(late) - 1)

    @property
    def late_modes(self) -> float:
        """Modes, on average after a quarter of training."""
        late = self.modes[len(self.modes) // 4 :]
        return sum(late) / len(late)


def trained(name: str, seed: int, steps: int = STEPS) -> Course:
    """Play a game on the ring, and look at it after every report."""
    data, (options, settings) = pmodel.load_data("ring"), GAMES[name]
    truth = data.truth
    assert truth is not None
    model = make("gan", data.domain, seed=seed, **options)
    settled = math.log(2) if options.get("loss", "relativistic") == "relativistic" else math.log(4)
    at, modes, top, loss, said = list[int](), list[int](), list[int](), list[float](), dict[str, None]()
    for event in train(model, data, plan(model, data, steps=steps, seed=seed, settings=settings, precision="float32")):
        if isinstance(event, Diagnosed):
            said[event.diagnosis.name] = None
        if isinstance(event, Stepped):
            counts = found_modes(truth.away(model.sample(LOOKED_AT, generator=0))).counts
            at.append(event.step)
            modes.append(sum(count > 0 for count in counts))
            top.append(counts.index(max(counts)) if max(counts) else -1)
            loss.append(event.losses["discriminator.loss"] / settled)
    samples = model.sample(KEPT, generator=seed)
    away = truth.away(samples)
    return Course(at, modes, top, loss, samples, found_modes(away).found, high_quality(away).value, tuple(said))


@dataclass(frozen=True)
class Found:
    """What is told and drawn: the courses of each game, by seed, and the machine that they were measured on."""

    courses: dict[str, list[Course]]
    machine: str


@functools.cache
def measured() -> Found:
    """All figures, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    courses = {name: [trained(name, seed) for seed in SEEDS] for name in GAMES}
    torch.set_num_threads(threads)
    return Found(courses, f"{platform.machine()}, one thread, torch {torch.__version__}")


def told(found: Found) -> str:
    """A row for each game and seed."""
    head = [
        f"the ring, {STEPS} steps; after a quarter of them: modes of eight on average, how often the most frequent one changes",
        "from report to report, the discriminator's loss over its value at the equilibrium, and the swing of that, smoothed;",
        "at the end: modes and the share of samples at one; what the doctor said on the way",
        "game               seed   modes   changes    loss   swing   at the end    the doctor",
    ]
    rows = [_row(name, seed, course) for name, each in found.courses.items() for seed, course in enumerate(each)]
    return "\n".join([*head, *rows, f"({found.machine})"])


def _row(name: str, seed: int, course: Course) -> str:
    late = f"{course.late_modes:5.1f}   {course.moves:7.0%}   {course.late_loss:5.2f}   {course.swing:5.2f}"
    said = ", ".join(course.said) or "nothing"
    return f"{name:<18} {seed:4d}   {late}   {course.found} of 8 {course.quality:4.0%}   {said}"


def drawn(found: Found) -> Figure:
    """The losses, the modes, and samples of the first and the last game."""
    figure = Figure(figsize=(11, 8.4), layout="constrained")
    panels = figure.subplots(2, 2)
    _losses(panels[0, 0], found.courses)
    _modes(panels[0, 1], found.courses)
    _samples(panels[1, 0], found.courses, "minimax")
    _samples(panels[1, 1], found.courses, "default")
    return figure


def _losses(panel: Axes, courses: Mapping[str, list[Course]]) -> None:
    for name in ("non-saturating", "minimax", "default"):
        course = courses[name][0]
        panel.plot(course.steps, course.loss, color=COLOURS[name], linewidth=1, label=name)
    panel.axhline(1, color="black", linestyle=":", linewidth=1)
    panel.set(
        title=f"the discriminator's loss, seed {SEEDS[0]}", xlabel="steps", ylabel="over its value at the equilibrium"
    )
    panel.set(yscale="log", ylim=(1e-5, 20))
    panel.legend(frameon=False, fontsize=9, loc="lower left")


def _modes(panel: Axes, courses: Mapping[str, list[Course]]) -> None:
    for name, each in courses.items():
        smooth = (
            torch.tensor([course.modes for course in each], dtype=torch.float64).mean(0).unfold(0, SMOOTH, 1).mean(1)
        )
        panel.plot(each[0].steps[SMOOTH - 1 :], smooth, color=COLOURS[name], label=name)
    panel.set(title=f"modes with samples, mean of {len(SEEDS)} seeds", xlabel="steps", ylabel="of eight", ylim=(0, 8.4))
    panel.legend(frameon=False, fontsize=9, loc="upper right", bbox_to_anchor=(1, 0.78), ncols=2)


def _samples(panel: Axes, courses: Mapping[str, list[Course]], name: str) -> None:
    real, course = pmodel.load_data("ring").test.x[:KEPT], courses[name][-1]
    outside = float((course.samples.abs().amax(1) > SIDE).double().mean())
    panel.plot(*real.T, ".", color="#c8c8c8", markersize=2, label="data")
    panel.plot(*course.samples.T, ".", color=COLOURS[name], markersize=2, label="samples at the end")
    title = f"{name}, seed {SEEDS[-1]}: {course.found} of 8 modes" + (
        f", {outside:.0%} of samples outside" if outside else ""
    )
    panel.set(title=title, xlim=(-SIDE, SIDE), ylim=(-SIDE, SIDE))
    panel.set_aspect("equal")
    panel.legend(frameon=False, fontsize=9, loc="lower center", ncols=2, markerscale=5)


if __name__ == "__main__":
    run(__file__, __doc__, measured, told, drawn)
