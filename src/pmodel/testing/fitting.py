"""A small training loop, for models under test: the contract of ``learning.py`` followed to the letter, and nothing more.

It shares no line with the engine on purpose: a model that learns here and not there, or there and not here, tells which of
the two is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ..domain import Sequences
from ..learning import Batch, Phase
from ..model import Model
from ..randomness import forked, generator

__all__ = ["descend", "learn", "passes", "start"]

BATCH = 64
HASTE = 2e-3
"""The least rate of a model that is no game: tests have few steps."""


def learn(
    model: Model, data: Batch, *, steps: int = 100, iterations: int = 12, seed: int = 0, settle: bool = False
) -> Model:
    """Bring a model into a learned state, in place.

    Args:
        model: A fresh model.
        data: All its training data.
        steps: Gradient steps, for a model that has phases.
        iterations: Passes over the data, for a model that has statistics.
        seed: Of everything random.
        settle: Whether steps get shorter, down to none at the end: players of a game, and chains, go round at full length.
    """
    start(model, data, seed)
    if "phases" in model.learns:
        for _ in descend(model, data, steps=steps, seed=seed, settle=settle):
            pass
    if "statistics" in model.learns:
        for _ in passes(model, data, iterations=iterations, seed=seed):
            pass
    return model.eval()


def start(model: Model, data: Batch, seed: int) -> None:
    """Record the labels' frequencies and prepare the model."""
    if data.given is not None:
        model.record_frequencies(data.given)
    if isinstance(model.domain, Sequences) and not model.domain.ends:
        model.record_lengths(model.domain.lengths(data.x), data.given)
    with torch.no_grad():
        model.prepare(data.x, data.given, generator(seed, "prepare"))


def descend(model: Any, data: Batch, *, steps: int, seed: int, settle: bool = False) -> Iterator[Phase]:
    """Gradient steps, every phase in turn; yields each phase once it has moved."""
    model.train()
    phases: tuple[Phase, ...] = model.phases()
    recipe = model.recipe()
    rate = recipe.rate if len(phases) > 1 else max(recipe.rate, HASTE)  # those of players are part of their game
    adam = {p.name: torch.optim.Adam(p.parameters, lr=rate * p.rate, betas=recipe.betas) for p in phases}
    for step in range(steps):
        model.advance(step / steps)
        for phase in phases:
            adam[phase.name].param_groups[0]["lr"] = rate * phase.rate * (1 - step / steps if settle else 1)
            if step and phase.begin is not None and phase.starts((step - 1) / steps, step / steps):
                with torch.no_grad():
                    phase.begin(data, generator(seed, "begin", phase.name))
            for repeat in range(phase.repeat):
                if not phase.span[0] <= step / steps < phase.span[1]:
                    continue
                rows = torch.randint(
                    len(data.x), (BATCH,), generator=generator(seed, "order", step, phase.name, repeat)
                )
                with forked(seed, "layers", step, phase.name, repeat):
                    loss = phase.loss(rows_of(data, rows), generator(seed, "noise", step, phase.name, repeat))
                adam[phase.name].zero_grad()
                loss.total.backward(inputs=list(phase.parameters))  # type: ignore[no-untyped-call]
                adam[phase.name].step()
                yield phase


def passes(model: Any, data: Batch, *, iterations: int, seed: int) -> Iterator[Mapping[str, Tensor]]:
    """Expectation maximisation; yields the statistics of each pass before the update that they lead to."""
    model.eval()
    with torch.no_grad():
        model.initialise(data, generator(seed, "initialise"))
    for _ in range(iterations if model.iterative else 1):
        with torch.no_grad():
            statistics = model.statistics(data, generator(seed, "statistics"))
        yield statistics
        with torch.no_grad():
            model.maximise(statistics)


def rows_of(data: Batch, rows: Tensor) -> Batch:
    """Some of the data."""
    return Batch(
        data.x[rows],
        None if data.given is None else data.given[rows],
        None if data.observed is None else data.observed[rows],
    )
