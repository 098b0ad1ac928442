"""One gradient step: every phase in turn, with its own optimiser, batch and noise."""

from __future__ import annotations

import math
import time
from typing import Any, final

import torch
from torch import Tensor, nn

from ..errors import Diverged
from ..learning import Batch, Loss, Phase, Recipe
from ..model import Model
from ..randomness import forked, generator
from .batches import Batches
from .ema import MovingAverage
from .precision import Arithmetic, Gradients

__all__ = ["Stepper", "learning_rate"]


@final
class Stepper:
    """A model with its optimisers and its moving average.

    Args:
        model: The model; its weights move.
        batches: Training data.
        recipe: Rates and so on.
        seed: Of the run: batches and noise are functions of it and of the step's number.
        arithmetic: Precision and layout.
    """

    def __init__(self, model: Model, batches: Batches, recipe: Recipe, seed: int, arithmetic: Arithmetic) -> None:
        self.model: Any = model
        model.train()
        arithmetic.laid_out(model)
        self.batches, self.recipe, self.seed, self.arithmetic = batches, recipe, seed, arithmetic
        self.phases: tuple[Phase, ...] = self.model.phases()
        self.draws = sum(phase.repeat for phase in self.phases)
        self.optimisers = {phase.name: self._optimiser(phase) for phase in self.phases}
        self.average = MovingAverage(model, recipe.ema) if recipe.ema else None

    def _optimiser(self, phase: Phase) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            phase.parameters, lr=self.recipe.rate, betas=self.recipe.betas, weight_decay=self.recipe.decay, fused=True
        )

    def step(self, number: int, progress: float) -> dict[str, Tensor]:
        """Move every phase that is on at this point of training.

        Returns:
            The losses, named ``phase.part``, detached.

        Raises:
            Diverged: if a loss or a gradient is not finite.
        """
        self.model.advance(progress)
        losses: dict[str, Tensor] = {}
        draw = number * self.draws
        for phase in self.phases:
            for repeat in range(phase.repeat):
                if phase.span[0] <= progress < phase.span[1]:
                    loss = self._loss(phase, self.batches[draw], number, repeat)
                    self._descend(phase, loss, number, progress)
                    parts = loss.parts or {"loss": loss.total}
                    losses.update({f"{phase.name}.{part}": value.detach() for part, value in parts.items()})
                draw += 1
        if self.average is not None:
            self.average.update()
        return losses

    def _loss(self, phase: Phase, batch: Batch, number: int, repeat: int) -> Loss:
        device = batch.x.device
        noise = generator(self.seed, "noise", number, phase.name, repeat, 0, device=device)
        with forked(self.seed, "layers", number, phase.name, repeat, 0), self.arithmetic.autocast(device):
            return phase.loss(batch, noise)

    def _descend(self, phase: Phase, loss: Loss, number: int, progress: float) -> None:
        if not bool(loss.total.isfinite()):
            raise _diverged("loss", phase, number, {k: float(v.detach()) for k, v in loss.parts.items()})
        optimiser = self.optimisers[phase.name]
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(self.recipe, progress)
        optimiser.zero_grad(set_to_none=True)
        loss.total.backward(inputs=list(phase.parameters))  # type: ignore[no-untyped-call]
        if self.recipe.clip:
            norm = nn.utils.clip_grad_norm_(phase.parameters, self.recipe.clip)
            if not bool(norm.isfinite()):
                raise _diverged("gradient", phase, number, {"norm": float(norm)})
        optimiser.step()

    def gradients(self, number: int) -> Gradients:
        """Each phase's loss and flat gradient on a batch, without a step."""
        found: Gradients = {}
        for phase in self.phases:
            loss = self._loss(phase, self.batches[number], number, 0)
            gradient = torch.autograd.grad(loss.total, phase.parameters, allow_unused=True)
            flat = [g.detach().float().flatten() for g in gradient if g is not None]
            found[phase.name] = (float(loss.total.detach()), torch.cat(flat))
        return found

    def seconds_a_step(self, most: float) -> float:
        """The median time of a step: up to 50 steps after two to warm up, in at most about so many seconds."""
        times: list[float] = []
        for number in range(52):
            began = time.perf_counter()
            self.step(number, 0.5)
            times.append(time.perf_counter() - began)
            if number >= 4 and sum(times) > most:
                break
        return sorted(times[2:])[len(times[2:]) // 2]


def learning_rate(recipe: Recipe, progress: float) -> float:
    """The rate at a point of training: a linear warm-up, then constant or half a cosine down to zero."""
    if progress < recipe.warmup:
        return recipe.rate * (progress + 1e-3) / (recipe.warmup + 1e-3)
    if recipe.schedule == "constant":
        return recipe.rate
    return recipe.rate * 0.5 * (1 + math.cos(math.pi * (progress - recipe.warmup) / (1 - recipe.warmup)))


def _diverged(what: str, phase: Phase, number: int, parts: dict[str, float]) -> Diverged:
    return Diverged(
        f"The {what} of phase {phase.name!r} is not finite at step {number}.",
        got=parts,
        hint="lower the rate (--set train.rate=…), clip gradients (--set train.clip=1), or use --precision float32",
    )
