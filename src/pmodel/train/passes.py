"""Passes over all data: expectation maximisation, or the one pass of a model that needs no more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import Diverged
from ..randomness import generator
from .events import Event, Iterated
from .preparation import SUBSET

if TYPE_CHECKING:
    from .loop import Training

__all__ = ["maximise"]


def maximise(training: Training) -> Iterator[Event]:
    """Passes until the plan's last, or until the log-likelihood stands still."""
    at, plan, model = training.position, training.plan, training.model
    model.eval()
    if at.iteration == 0 and not (plan.warm and not plan.steps):
        _initialise(training)
    most = plan.iterations if model.iterative else 1
    until = most if plan.passes is None else min(plan.passes, most)
    while at.iteration < until and not at.over:
        with torch.no_grad():
            sums = _sums(training)
            if sums is None:
                return  # halted within the pass: it is done again
            model.maximise(sums)
        mean = float(sums["log_prob"]) / len(training.batches) if "log_prob" in sums else None
        _note(training, mean)
        yield Iterated(at.iteration, most, mean, at.images, at.seconds)
        if training.halted:
            return
    at.stage = "end"


def _initialise(training: Training) -> None:
    """Set the starting point, the same in every process."""
    batches, seed = training.batches, training.plan.seed
    with torch.no_grad():
        start = generator(seed, "initialise", device=batches.device)
        training.model.initialise(batches.subset(SUBSET, seed), start)
    training.processes.share_(list(training.model.state_dict().values()))


def _note(training: Training, mean: float | None) -> None:
    """Take note of a pass, and decide whether there is another one."""
    at, plan = training.position, training.plan
    at.iteration += 1
    at.images += len(training.batches)
    at.seconds = training.elapsed
    each = (at.seconds - at.begun) / at.iteration
    late = plan.budget is not None and at.seconds + each > plan.budget
    if mean is not None and at.previous is not None and mean - at.previous < plan.recipe.tolerance:
        at.reason, at.over = "converged", True
    elif training.processes.any(late):
        at.reason, at.over = "cut by the clock", True
    at.previous = mean if mean is not None else at.previous
    training.halted = training.processes.any(training.asked)


def _sums(training: Training) -> Mapping[str, Tensor] | None:
    """The statistics of all data; None if the run was told to stop.

    The noise of a block is the same in every pass, so that the likelihood is monotone.
    """
    processes, batches = training.processes, training.batches
    sums: dict[str, Tensor] = {}
    for number, batch in batches.blocks(processes.rank, processes.world):
        if training.halted and processes.world == 1:
            return None
        noise = generator(training.plan.seed, "statistics", number, device=batches.device)
        for name, value in training.model.statistics(batch, noise).items():
            sums[name] = sums[name] + value if name in sums else value
    processes.sum_(list(sums.values()))
    for name, value in sums.items():
        if not bool(value.isfinite().all()):
            raise Diverged(
                f"The statistic {name!r} is not finite in pass {training.position.iteration + 1}.",
                hint="the data may have constant or duplicated columns: use fewer components, or more shrinkage",
            )
    return sums
