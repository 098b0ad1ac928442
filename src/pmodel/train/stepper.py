"""One gradient step: every phase in turn, with its own optimiser, batch and noise."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from ..errors import Diverged
from ..learning import Batch, Loss, Phase, Recipe
from ..model import Model
from ..randomness import forked, generator
from .batches import Batches
from .ema import MovingAverage
from .explanation import explain
from .memory import keep_memory
from .muon import Muon, matrices
from .precision import Arithmetic, Gradients
from .processes import ALONE, Processes

__all__ = ["SUBSET", "Stepper", "learning_rate"]

SUBSET = 20_000
"""Data that a model, or a phase in the middle of training, is prepared and initialised on."""


@final
class Stepper:
    """A model with its optimisers and its moving average.

    The gradient of a phase is the mean over the shards of its batch. Each shard has noise of its own and starts from the same
    buffers, so that the step does not depend on how the shards are dealt out to processes.

    Args:
        model: The model; its weights move.
        batches: Training data.
        recipe: Rates and so on.
        seed: Of the run: batches and noise are functions of it and of the step's number.
        arithmetic: Precision and layout.
        processes: Who shares the work.
    """

    def __init__(
        self,
        model: Model,
        batches: Batches,
        recipe: Recipe,
        seed: int,
        arithmetic: Arithmetic,
        processes: Processes = ALONE,
    ) -> None:
        self.model: Any = model
        model.train()
        keep_memory()
        arithmetic.laid_out(model)
        self.batches, self.recipe, self.seed, self.arithmetic = batches, recipe, seed, arithmetic
        self.processes = processes
        self.shards = range(processes.rank, batches.shards, processes.world)
        self.caution = 1.0  # what the rate is multiplied by
        self.phases: tuple[Phase, ...] = self.model.phases()
        self.openings = _openings(self.phases)
        self.draws = sum(phase.repeat for phase in self.phases)
        self.optimisers = {phase.name: self._optimiser(phase) for phase in self.phases}
        self.average = MovingAverage(model, recipe.ema, _spans(self.phases)) if recipe.ema else None

    def _optimiser(self, phase: Phase) -> torch.optim.Optimizer:
        rate, betas, decay = self.recipe.rate, self.recipe.betas, self.recipe.decay
        if self.recipe.optimiser == "adamw":
            return torch.optim.AdamW(phase.parameters, lr=rate, betas=betas, weight_decay=decay, fused=True)
        known = {id(weight) for weight in matrices(self.model)}
        sides = [[p for p in phase.parameters if (id(p) in known) == matrix] for matrix in (True, False)]
        return Muon(*sides, lr=rate, betas=betas, weight_decay=decay)

    def drawn(self, progress: float) -> int:
        """The batches that a step at this point of training draws."""
        return sum(phase.repeat for phase in self.phases if phase.on(progress))

    def step(self, number: int, progress: float) -> dict[str, Tensor]:
        """Move every phase that is on at this point of training.

        Returns:
            The losses of this process, named ``phase.part``, detached; of a phase that is repeated, the last ones.

        Raises:
            Diverged: if a loss or a gradient is not finite.
        """
        self.model.advance(progress)
        losses: dict[str, Tensor] = {}
        draw = number * self.draws
        for phase in self.phases:
            for repeat in range(phase.repeat if phase.on(progress) else 0):
                losses.update(self._descend(phase, draw + repeat, number, repeat, progress))
            draw += phase.repeat
        if self.average is not None:
            self.average.update(number, progress)
        return losses

    def turn(self, number: int, before: float, progress: float, *, warm: bool) -> bool:
        """What changes where phases end and begin, before the step at this point of training.

        What ends has its moving average put in place, so that what begins learns from the model that is kept.

        Args:
            number: Of the step.
            before: The progress of the step before.
            progress: Of this one.
            warm: Whether the model came with the weights of another run, and so with all that ``begin`` would set.

        Returns:
            Whether another stage of training begins.
        """
        starting = [phase for phase in self.phases if phase.starts(before, progress)]
        if self.average is not None:
            self.average.end(number, before, progress)
        for phase in starting:
            if phase.begin is not None and not warm:
                noise = generator(self.seed, "begin", phase.name, device=self.batches.device)
                with torch.no_grad(), forked(self.seed, "begin layers", phase.name):
                    phase.begin(self.batches.subset(SUBSET, self.seed), noise)
        if self.average is not None:
            self.average.start(before, progress)
        return any(phase.name in self.openings for phase in starting)

    def last_stage(self, progress: float) -> bool:
        """Whether no other stage of training is to begin at this point or after it."""
        return all(phase.span[0] < progress for phase in self.phases if phase.name in self.openings)

    def _descend(self, phase: Phase, draw: int, number: int, repeat: int, progress: float) -> dict[str, Tensor]:
        optimiser, parts = self.optimisers[phase.name], list[Mapping[str, Tensor]]()
        for group in optimiser.param_groups:
            group["lr"] = self.caution * phase.rate * learning_rate(self.recipe, phase.progress(progress))
        optimiser.zero_grad(set_to_none=True)
        for shard in self._equal_start():
            batch = self.batches.shard(draw, shard)
            loss = self._loss(phase, batch, number, repeat, shard)
            bad = not math.isfinite(loss.total.item())
            if self.processes.any(bad):
                raise self._diverged("loss", phase, batch, loss, number, repeat, shard) if bad else _elsewhere(number)
            mean = loss.total / self.batches.shards if self.batches.shards > 1 else loss.total
            mean.backward(inputs=list(phase.parameters))  # type: ignore[no-untyped-call]
            parts.append(loss.parts or {"loss": loss.total})
        gradients = [p.grad for p in phase.parameters if p.grad is not None]
        self.processes.sum_(gradients)
        if self.recipe.clip and not self._clipped(gradients):
            raise self._diverged("gradient", phase, batch, loss, number, repeat, shard)
        optimiser.step()
        return {f"{phase.name}.{part}": _mean([p[part].detach() for p in parts]) for part in parts[0]}

    def _clipped(self, gradients: Sequence[Tensor]) -> bool:
        """Shorten gradients that are longer than the recipe allows; whether they are finite."""
        norm = float(nn.utils.get_total_norm(gradients))
        if norm > self.recipe.clip:
            torch._foreach_mul_(list(gradients), self.recipe.clip / norm)
        return math.isfinite(norm)

    def _equal_start(self) -> Iterator[int]:
        """The shards of this process. Each starts from the same buffers; those that moved are averaged over all shards."""
        if self.batches.shards == 1:
            yield 0
            return
        buffers = list(self.model.buffers())
        before = [buffer.clone() for buffer in buffers]
        sums = [torch.zeros_like(buffer, dtype=torch.float64) for buffer in buffers]
        moved = torch.zeros(len(buffers))
        for shard in self.shards:
            yield shard
            for index, (buffer, start) in enumerate(zip(buffers, before, strict=True)):
                sums[index] += buffer
                if not torch.equal(buffer, start):  # batch norm moves its statistics without a trace in their version
                    moved[index] = 1
                    buffer.copy_(start)
        self.processes.sum_([moved])
        chosen = moved.nonzero()[:, 0].tolist()
        self.processes.sum_([sums[index] for index in chosen])
        for index in chosen:
            buffers[index].copy_(sums[index] / self.batches.shards)

    def _loss(self, phase: Phase, batch: Batch, number: int, repeat: int, shard: int) -> Loss:
        device = batch.x.device
        noise = generator(self.seed, "noise", number, phase.name, repeat, shard, device=device)
        with forked(self.seed, "layers", number, phase.name, repeat, shard), self.arithmetic.autocast(device):
            return phase.loss(batch, noise)

    def _diverged(
        self, what: Any, phase: Phase, batch: Batch, loss: Loss, number: int, repeat: int, shard: int
    ) -> Diverged:
        return explain(
            self.model,
            phase,
            batch,
            what,
            number,
            lambda: self._loss(phase, batch, number, repeat, shard),
            self.arithmetic.precision,
            {name: float(value.detach()) for name, value in loss.parts.items()},
            self.phases,
        )

    def gradients(self, number: int) -> Gradients:
        """Each phase's loss and flat gradient on a batch, without a step, in the middle of its span."""
        found: Gradients = {}
        for phase in self.phases:
            self.model.advance(sum(phase.span) / 2)
            loss = self._loss(phase, self.batches.shard(number, 0), number, 0, 0)
            gradient = torch.autograd.grad(loss.total, phase.parameters, allow_unused=True)
            flat = [g.detach().float().flatten() for g in gradient if g is not None]
            found[phase.name] = (float(loss.total.detach()), torch.cat(flat))
        return found

    def seconds_a_step(self, progress: float, most: float) -> float:
        """The median time of a step at a point of training: of up to 40, in at most so many seconds, but of one at least."""
        self.caution = 0.0  # nothing moves: what is timed cannot diverge
        first = self.processes.agreed(self.timed(0, progress))
        count = max(1, min(40, int(most / max(first, 1e-6)) - 1))  # agreed on: every process must take as many
        times = sorted(self.timed(1 + number, progress) for number in range(count))
        return float(self.processes.agreed(times[len(times) // 2]))

    def timed(self, number: int, progress: float) -> float:
        """The seconds of a step."""
        began = time.perf_counter()
        self.step(number, progress)
        if self.batches.device.type == "cuda":
            torch.cuda.synchronize()  # a GPU is still at work when the call returns
        return time.perf_counter() - began

    def moments(self) -> dict[str, Tensor]:
        """The state of the optimisers: ``phase.parameter's number.name``."""
        return {
            f"{phase.name}.{index}.{name}": value
            for phase in self.phases
            for index, parameter in enumerate(phase.parameters)
            for name, value in self.optimisers[phase.name].state.get(parameter, {}).items()
        }

    def restore_moments(self, moments: Mapping[str, Tensor]) -> None:
        """Copy the state of the optimisers back.

        The moments get the memory layout of their parameters: the fused update goes through both as they lie in memory, and
        from a channels-last parameter with contiguous moments it computes wrong weights without an error.
        """
        for phase in self.phases:
            state = self.optimisers[phase.name].state
            for index, parameter in enumerate(phase.parameters):
                prefix = f"{phase.name}.{index}."
                saved = {k.removeprefix(prefix): v for k, v in moments.items() if k.startswith(prefix)}
                if not saved:  # its phase has not begun
                    state.pop(parameter, None)
                    continue
                state[parameter] = {name: _restored(value, parameter, name) for name, value in saved.items()}


def _restored(value: Tensor, parameter: Tensor, name: str) -> Tensor:
    """A count as it is; a moment in the layout of its parameter."""
    return value.to(parameter.device, copy=True) if name == "step" else torch.zeros_like(parameter).copy_(value)


def _openings(phases: Sequence[Phase]) -> frozenset[str]:
    """The phases in the middle of training that begin another stage of it, by their names.

    They have something to do before their first step, or move what no phase has moved before: a model that grows. Weights from
    before a stage lack what is learned in it, and are not held against those from it.
    """
    spans = _spans(phases)
    later = [phase for phase in phases if phase.span[0] > 0]
    return frozenset(
        phase.name for phase in later if phase.begin or any(spans[p][0] == phase.span[0] for p in phase.parameters)
    )


def _spans(phases: Sequence[Phase]) -> dict[nn.Parameter, tuple[float, float]]:
    """From when to when each parameter learns."""
    found: dict[nn.Parameter, tuple[float, float]] = {}
    for phase in phases:
        for parameter in phase.parameters:
            start, end = found.get(parameter, phase.span)
            found[parameter] = min(start, phase.span[0]), max(end, phase.span[1])
    return found


def _mean(values: Sequence[Tensor]) -> Tensor:
    return values[0] if len(values) == 1 else torch.stack(list(values)).mean(0)


def _elsewhere(number: int) -> Diverged:
    return Diverged(f"The loss of another process is not finite at step {number}.", hint="its message names the cause")


def learning_rate(recipe: Recipe, progress: float) -> float:
    """The rate at a point of training: a linear warm-up, then constant or half a cosine down to zero."""
    if progress < recipe.warmup:
        return recipe.rate * (progress + 1e-3) / (recipe.warmup + 1e-3)
    if recipe.schedule == "constant":
        return recipe.rate
    return recipe.rate * 0.5 * (1 + math.cos(math.pi * (progress - recipe.warmup) / (1 - recipe.warmup)))
