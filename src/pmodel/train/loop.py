"""The one loop: a generator of events. To stop training is to stop iterating."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import Any, Literal

import torch
from torch import Tensor

from ..data import Dataset
from ..errors import BadInput, Diverged
from ..model import Model
from ..randomness import derive, generator
from .batches import Batches
from .events import Event, Finished, Iterated, Sampled, Started, Stepped
from .planning import Plan
from .stepper import Stepper

__all__ = ["train"]

REPORTS = 200
"""Gradient events in a run, about."""
PICTURES = (0.05, 0.1, 0.25, 0.5, 0.75)
"""The points of training at which the model is sampled, and at its end."""
SHOWN = 36
"""Samples in a picture."""
SUBSET = 20_000
"""Data that a model is prepared and initialised on."""
PATIENCE = 1.5
"""A run ends when it has taken this many times its budget."""


def train(model: Model, data: Dataset, plan: Plan) -> Iterator[Event]:
    """Train a model: gradient phases if it has any, then expectation maximisation if it has statistics.

    When the last event has been taken, the model holds the weights to sample and score with (the moving average where
    there is one) and is in evaluation mode.

    Args:
        model: A model of the data's domain; it is changed in place.
        data: What to learn from: the training split.
        plan: From ``plan``.

    Yields:
        ``Started``, then ``Stepped``, ``Iterated`` and ``Sampled`` as they come, then ``Finished``.

    Raises:
        BadInput: if the data are not of the model's domain, or it needs labels that they do not have.
        Diverged: if a loss or a statistic is not finite.
    """
    _check(model, data)
    device = torch.device(plan.device)
    model.to(device)
    batches = Batches(
        data.train, data.domain, plan.recipe.batch, plan.seed, device, conditional=model.given is not None
    )
    began = time.perf_counter()
    subset = batches.subset(SUBSET, plan.seed)
    if model.given is not None and data.train.y is not None:
        model.record_frequencies(data.train.y.to(device, torch.int64))
    with torch.no_grad():
        model.prepare(subset.x, subset.given, generator(plan.seed, "prepare", device=device))
    yield Started(plan.steps, plan.iterations)
    last = Finished("finished", 0, 0, 0, 0.0)
    for way in (_descend, _maximise):
        for event in way(model, batches, plan, began, last):
            if isinstance(event, Finished):
                last = event
            else:
                yield event
    model.eval()
    yield from _picture(model, plan, 1.0)
    yield last


def _check(model: Model, data: Dataset) -> None:
    if model.domain != data.domain:
        raise BadInput(f"The model is of {model.domain}, and {data.name} is not.", got=data.domain)
    if model.given is not None and model.given != data.given:
        raise BadInput(f"The model's condition is {model.given}, and that of {data.name} is not.", got=data.given)


def _descend(model: Model, batches: Batches, plan: Plan, began: float, last: Finished) -> Iterator[Event]:
    """The gradient steps of the plan."""
    if not plan.steps:
        yield last
        return
    stepper = Stepper(model, batches, plan.recipe, plan.seed, plan.arithmetic)
    every = max(1, plan.steps // REPORTS)
    sums: dict[str, list[Tensor]] = {}
    reason: Literal["finished", "cut by the clock"] = "finished"
    pictures = [round(point * plan.steps) for point in PICTURES]
    done = 0
    for number in range(plan.steps):
        for name, value in stepper.step(number, number / plan.steps).items():
            sums.setdefault(name, []).append(value)
        done = number + 1
        seconds = time.perf_counter() - began
        if done % every == 0 or done == plan.steps:
            means = {name: float(torch.stack(values).mean()) for name, values in sums.items()}
            yield Stepped(done, plan.steps, means, done * stepper.draws * batches.size, seconds)
            sums.clear()
        if done in pictures and not plan.iterations:  # codes have no density before its turn comes
            with stepper.average.applied() if stepper.average else nullcontext():
                yield from _picture(model, plan, done / plan.steps)
        if plan.budget is not None and seconds > PATIENCE * plan.budget:
            reason = "cut by the clock"
            break
    if stepper.average is not None:
        stepper.average.swap()
    yield Finished(reason, done, 0, done * stepper.draws * batches.size, time.perf_counter() - began)


def _picture(model: Any, plan: Plan, progress: float) -> Iterator[Event]:
    """A few samples of the model as it is, from the same noise each time."""
    if model.can("sample"):
        yield Sampled(progress, model.sample(SHOWN, generator=derive(plan.seed, "picture")))


def _maximise(model: Any, batches: Batches, plan: Plan, began: float, last: Finished) -> Iterator[Event]:
    """Passes over all data: one, or until the log-likelihood stands still."""
    if not plan.iterations:
        yield last
        return
    device = batches.device
    reason: Literal["finished", "converged", "cut by the clock"] = "finished"
    previous, iteration = -float("inf"), 0
    with torch.no_grad():
        model.initialise(batches.subset(SUBSET, plan.seed), generator(plan.seed, "initialise", device=device))
        for iteration in range(1, plan.iterations + 1 if model.iterative else 2):
            sums = _sums(model, batches, plan, iteration)
            mean = float(sums["log_prob"]) / len(batches) if "log_prob" in sums else None
            model.maximise(sums)
            seconds = time.perf_counter() - began
            images = last.images + iteration * len(batches)
            yield Iterated(iteration, plan.iterations if model.iterative else 1, mean, images, seconds)
            if mean is not None and mean - previous < plan.recipe.tolerance and iteration > 1:
                reason = "converged"
                break
            if plan.budget is not None and seconds * (iteration + 1) / iteration > plan.budget:
                reason = "cut by the clock"
                break
            previous = mean if mean is not None else previous
    seconds = time.perf_counter() - began
    yield Finished(reason, last.steps, iteration, last.images + iteration * len(batches), seconds)


def _sums(model: Any, batches: Batches, plan: Plan, iteration: int) -> Mapping[str, Tensor]:
    """The statistics of all data. The noise of a block is the same in every pass, so that the likelihood is monotone."""
    sums: dict[str, Tensor] = {}
    for number, batch in enumerate(batches.blocks()):
        noise = generator(plan.seed, "statistics", number, device=batches.device)
        for name, value in model.statistics(batch, noise).items():
            sums[name] = sums[name] + value if name in sums else value
    for name, value in sums.items():
        if not bool(value.isfinite().all()):
            raise Diverged(
                f"The statistic {name!r} is not finite in pass {iteration}.",
                hint="the data may have constant or duplicated columns: use fewer components, or more shrinkage",
            )
    return sums
